import jax
import numpy as np
import pytest

from jaxals import ALS, Objective, Sides
from jaxals.errors import ConfigurationError
from jaxals.hyper.grid import expand, stack


def test_a_function_of_ones_own_takes_what_the_space_names():
    models = expand(lambda alpha: Objective.hkv(alpha, 0.5), ALS(), {"alpha": np.array([1.0, 2.0])}, [0])
    assert [model.objective for model in models] == [Objective.hkv(1.0, 0.5), Objective.hkv(2.0, 0.5)]


def test_settings_of_the_confidence_leave_the_rest_of_the_objective():
    models = expand(Objective.log(1.0, 2.0, 0.5), ALS(), {"epsilon": [3.0, 4.0], "factors": [8]}, [0])
    assert [model.objective for model in models] == [Objective.log(1.0, 3.0, 0.5), Objective.log(1.0, 4.0, 0.5)]
    assert models[0].trainer == ALS(factors=8)


@pytest.mark.parametrize(
    ("objective", "space", "message"),
    [
        (
            lambda alpha, beta: Objective.hkv(alpha),
            {"alpha": [1.0]},
            r"a function of what `space` names; .*: 'beta'\.$",
        ),
        (max, {"alpha": [1.0]}, r"an `Objective` or a function of settings by name; got the function max\.$"),
    ],
)
def test_what_makes_no_objective_is_refused(objective, space, message):
    with pytest.raises(ConfigurationError, match=f"^`objective` must be {message}"):
        expand(objective, ALS(), space, [0])


def test_settings_of_several_shapes_are_not_stacked():
    ridges = [Objective.hkv(regularization=Sides(0.1, np.full(n, 0.2))) for n in (2, 3)]
    assert stack(ridges[:1], "float32").regularization.item.shape == (1, 2)
    with pytest.raises(ConfigurationError, match=r"must be of one shape; got \[\(2,\), \(3,\)\]"):
        stack(ridges, "float32")
    assert jax.tree.leaves(stack([Objective.hkv(2.0)], "float64"))[0].dtype == np.float64
