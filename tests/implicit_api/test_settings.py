import types

import numpy as np
import pytest

from jaxals.errors import ConfigurationError
from jaxals.implicit_api import AlternatingLeastSquares
from jaxals.implicit_api._settings import device_of, flag_of, generator_of, require_callable, require_settings

GOOD = vars(AlternatingLeastSquares())

WRONG = [
    *(("factors", value) for value in (0, -1, 2.0, True, "4", None)),
    *(("iterations", value) for value in (-1, 2.5, None, np.nan)),
    *(("cg_steps", value) for value in (0, 1.5)),
    *(("alpha", value) for value in (None, np.nan, np.inf, 0, -1.0, "1", True, [1.0], np.ones(3), 1e300, 1j)),
    *(("regularization", value) for value in (None, np.nan, np.inf, -0.1, "1", 10**60, b"1")),
    *(("dtype", value) for value in (np.dtype(np.float16), np.dtype(int), None)),
    *(("use_cg", value) for value in ("no", None, 2.0)),
    ("calculate_training_loss", "yes"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_settings_are_named_and_not_the_regularisation(name, value):
    require_settings(types.SimpleNamespace(**GOOD))
    with pytest.raises(ConfigurationError, match=f"^`{name}` must be ") as caught:
        require_settings(types.SimpleNamespace(**(GOOD | {name: value})))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [None, "float16", int, "no", [1], np.complex64], ids=str)
def test_dtypes(dtype):
    with pytest.raises(ConfigurationError, match="`dtype` must be float32 or float64; got "):
        AlternatingLeastSquares(dtype=dtype)


@pytest.mark.parametrize("use_gpu", ["yes", 1.5, [True]], ids=str)
def test_devices(use_gpu):
    with pytest.raises(ConfigurationError, match="`use_gpu` must be True, False or None; got "):
        device_of(use_gpu)


@pytest.mark.parametrize("seed", [-1, 1.5, "a", np.ones((1, 1), int).view(np.matrix)], ids=repr)
def test_seeds(seed):
    with pytest.raises(ConfigurationError, match="`random_state` must be None, an integer >= 0"):
        generator_of(seed)


def test_callbacks():
    require_callable("callback", print)
    with pytest.raises(ConfigurationError, match="`callback` must be None or a function; got 3"):
        require_callable("callback", 3)


def test_flags():
    assert [flag_of("use", value) for value in (True, np.True_, 1, 0, None)] == [True, True, True, False, False]
    for wrong in ("no", 1.0, np.ones(3)):
        with pytest.raises(ConfigurationError, match="`use` must be True or False; got "):
            flag_of("use", wrong)
