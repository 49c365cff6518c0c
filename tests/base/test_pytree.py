import re

import jax
import jax.numpy as jnp
import pytest

from jaxals._base.pytree import pytree, static
from jaxals.errors import ConfigurationError


@pytree
class Node:
    weight: jax.Array
    name: str = static(default="a")

    def __post_init__(self) -> None:
        if isinstance(self.weight, str):
            raise TypeError("no strings")


def test_leaves_and_static_fields():
    assert len(jax.tree.leaves(Node(jnp.ones(2), "b"))) == 1
    structures = {jax.tree.structure(Node(jnp.ones(2), name)) for name in ("b", "b", "c")}
    assert len(structures) == 2


def test_rebuilding_skips_validation():
    assert jax.tree.map(lambda _: "a placeholder", Node(jnp.ones(2))).weight == "a placeholder"
    with pytest.raises(TypeError):
        Node("text")  # type: ignore[arg-type]


def test_through_jit_and_grad():
    gradient = jax.jit(jax.grad(lambda node: jnp.sum(node.weight**2)))(Node(jnp.arange(3.0)))
    assert gradient.weight.tolist() == [0.0, 2.0, 4.0]
    assert gradient.name == "a"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"defualt": 1}, "`defualt` must be one of compare, default, default_factory, hash, init, kw_only, repr"),
        ({"default_factory": [1]}, r"`default_factory` must be a function of nothing; got \[1\]\."),
        ({"default": 1, "default_factory": list}, "`default` and `default_factory` must not both be given"),
    ],
)
def test_wrong_settings_of_a_static_field_are_named(settings, said):
    with pytest.raises(ConfigurationError, match=f"^{said}"):
        static(**settings)


def test_a_static_field_may_be_made_anew_by_a_class_of_python():
    @pytree
    class Named:
        names: tuple = static(default_factory=tuple)

    assert Named().names == ()


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (int, "`cls` must be a class of your own; got the class int."),
        (Node, "`cls` must be a plain class; Node is a dataclass already."),
        (type("Own", (), {"alpha": 1}), "`alpha` of the class Own must be annotated"),
        (type("Own", (), {"alpha": static(default="a")}), "`alpha` of the class Own must be annotated"),
    ],
)
def test_what_cannot_become_a_pytree_is_refused(cls, said):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(said)}"):
        pytree(cls)
