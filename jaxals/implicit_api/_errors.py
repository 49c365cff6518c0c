"""Errors and warnings that are what implicit raises as well as what jaxals raises. Host side."""

from jaxals.errors import DataError, NotFittedError, NumericalError


class ModelFitError(NumericalError, ValueError):
    """Solving gave factors that are not finite."""


class UnfittedModelError(NotFittedError, TypeError):
    """A model without factors was asked for what needs them."""


class MissingRowError(DataError, IndexError):
    """An id is not in the model."""


class ParameterWarning(Warning):
    """An argument had to be converted."""
