import jax
import jax.numpy as jnp
import pytest

from jaxals._base.pytree import pytree, static


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
