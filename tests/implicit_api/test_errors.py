import sys
import types
import warnings

import pytest

import jaxals.implicit_api
from jaxals.errors import NumericalError
from jaxals.implicit_api import ModelFitError, ParameterWarning
from jaxals.implicit_api._errors import not_finite, warn_of_parameter


class TheirWarning(Warning):
    pass


class TheirError(Exception):
    pass


@pytest.fixture
def implicit(monkeypatch):
    modules = {
        "implicit.utils": types.SimpleNamespace(ParameterWarning=TheirWarning),
        "implicit.recommender_base": types.SimpleNamespace(ModelFitError=TheirError),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_filters_and_handlers_of_implicit_catch_ours(implicit):
    for category in (ParameterWarning, TheirWarning):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", category)
            warn_of_parameter("converted")
        assert [str(one.message) for one in caught] == ["converted"]
    for kind in (ModelFitError, TheirError, NumericalError, ValueError):
        with pytest.raises(kind, match="NaN"):
            raise not_finite("NaN")


@pytest.mark.parametrize("put", [None, jaxals.implicit_api], ids=["no implicit", "this package in its place"])
def test_without_implicit_they_are_ours_alone(put, monkeypatch):
    for name in ("implicit.utils", "implicit.recommender_base"):
        if put is None:
            monkeypatch.delitem(sys.modules, name, raising=False)
        else:
            monkeypatch.setitem(sys.modules, name, put)
    with pytest.warns(ParameterWarning, match="converted") as caught:
        warn_of_parameter("converted")
    assert caught[0].category is ParameterWarning
    assert type(not_finite("NaN")) is ModelFitError
