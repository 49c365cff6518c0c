import sys
import types
import warnings

import pytest

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


def test_without_implicit_they_are_ours_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "implicit.utils", raising=False)
    monkeypatch.delitem(sys.modules, "implicit.recommender_base", raising=False)
    with pytest.warns(ParameterWarning, match="converted") as caught:
        warn_of_parameter("converted")
    assert caught[0].category is ParameterWarning
    assert type(not_finite("NaN")) is ModelFitError
