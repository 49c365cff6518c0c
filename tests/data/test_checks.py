import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from jaxals import ALS, Factors, Gradient, Interactions, Objective, Recommender, build_tiles, fit
from jaxals.data.checks import require_held
from jaxals.errors import DataError
from jaxals.gradient.user_batches import build_batches
from jaxals.implicit_api._inputs import interactions_of
from jaxals.implicit_api._matrices import confidences_of

TINY = r"A value of 3.72008e-44 is too small for float32, where it becomes 0, which is no entry; scale the values up, "
HUGE = r"A value of 1e\+39 is too large for float32, where it becomes infinite; scale the values down, "


def plays(value: float) -> Interactions:
    return Interactions.from_arrays([0, 0, 1, 1], [0, 1, 0, 1], [1.0, 1.0, 1.0, value])


def recommender(data: Interactions) -> Recommender:
    return Recommender(Factors(jnp.ones((2, 3), jnp.float32), jnp.eye(2, 3, dtype=jnp.float32)), data, Objective.hkv())


@pytest.mark.parametrize(
    "use",
    [
        lambda data: fit(data, Objective.hkv(), ALS(factors=2, sweeps=1), progress=False),
        lambda data: fit(data, Objective.hkv(), Gradient(factors=2, steps=1), progress=False),
        lambda data: Objective.hkv().loss(Factors(jnp.ones((2, 3), jnp.float32), jnp.ones((2, 3), jnp.float32)), data),
        lambda data: data.to_coo(),
        lambda data: build_tiles(data, "item", factors=2),
        lambda data: build_batches(data, size=1, factors=2, dtype="float32"),
        lambda data: recommender(data).explain(1, 0),
        lambda data: recommender(data).settled(),
        lambda data: recommender(plays(1.0)).fold_in(data),
    ],
    ids=["ALS", "Gradient", "loss", "entries", "tiles", "batches", "explain", "settled", "fold in"],
)
@pytest.mark.parametrize(("value", "message"), [(np.exp(-100), TINY), (1e39, HUGE)], ids=["tiny", "huge"])
def test_values_that_a_device_would_not_hold_are_refused(use, value, message):
    with pytest.raises(DataError, match=message + 'leave such entries out, or compute in "float64"'):
        use(plays(value))


@pytest.mark.parametrize("value", [1e-40, -1e-40, -(2.0**-149)])
def test_values_below_normal_numbers_count_as_0(value):
    with pytest.raises(DataError, match="too small for float32"):
        plays(value).to_coo()
    with pytest.raises(DataError, match=r"too small for float64, .*, leave such entries out\.$"):
        require_held(np.array([2.0, np.sign(value) * 1e-310]), np.float64)


def test_float64_and_the_smallest_normal_number_hold():
    assert plays(np.exp(-100)).to_coo("float64").value.tolist()[3] == np.exp(-100)
    smallest = float(np.finfo(np.float32).tiny)
    for value in (smallest, -smallest, float(np.finfo(np.float32).max)):
        assert plays(value).to_coo().value.tolist()[3] == value


def test_a_decayed_history_is_refused_before_training():
    decayed = np.exp(-np.array([0, 50, 60, 87, 88, 100.0]))
    frame = pd.DataFrame({"user": list("aabbcd"), "item": list("xyxyxy"), "value": decayed})
    with pytest.raises(DataError, match="too small for float32"):
        fit(Interactions.from_frame(frame), Objective.ials(), ALS(factors=2, sweeps=5), progress=False)


def test_implicit_takes_them_for_no_confidence():
    # As the library itself does: beside 1 such a confidence is none, but the pair was seen.
    matrix = scipy.sparse.csr_matrix(np.array([[1e-40, 2.0], [-1e-40, 1.0]], np.float32))
    values = interactions_of(confidences_of("user_items", matrix, 1.0), 2).value
    np.testing.assert_array_equal(values, np.array([-1e-30, 2, -1e-30, 1], np.float32))
