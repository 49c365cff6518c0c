"""Errors and warnings that are what implicit raises as well as what jaxals raises. Host side."""

import functools
import sys
import warnings
from typing import Any

from jaxals._base.settings import shown
from jaxals.errors import ConfigurationError, DataError, NotFittedError, NumericalError


class ModelFitError(NumericalError, ValueError):
    """Solving gave factors that are not finite.

    Example:
        >>> import numpy as np
        >>> import scipy
        >>> from jaxals.implicit_api import AlternatingLeastSquares, ModelFitError
        >>> likes = scipy.sparse.csr_matrix(np.eye(4))
        >>> try:
        ...     AlternatingLeastSquares(factors=40, regularization=0, use_cg=False).fit(likes, show_progress=False)
        ... except ModelFitError as error:
        ...     print(error)
        NaN encountered in factors, in ... rows. Try increasing the regularization parameter.
    """


class UnfittedModelError(NotFittedError, TypeError):
    """A model without factors was asked for what needs them.

    Example:
        >>> from jaxals.implicit_api import AlternatingLeastSquares, UnfittedModelError
        >>> try:
        ...     AlternatingLeastSquares().similar_items(0)
        ... except UnfittedModelError as error:
        ...     print(error)
        This model has no `item_factors` yet; call `fit` or `load` first.
    """


class MissingRowError(DataError, IndexError):
    """An id is not in the model.

    Example:
        >>> import numpy as np
        >>> from jaxals.implicit_api import AlternatingLeastSquares, MissingRowError
        >>> model = AlternatingLeastSquares(factors=2)
        >>> model.item_factors = np.eye(2, dtype=np.float32)
        >>> try:
        ...     model.similar_items(0, items=[-1])
        ... except MissingRowError as error:
        ...     print(error)
        Some itemids in the `items` parameter are not in the model: -1 is out of bounds for its 2 items, 0 to 1.
    """


class MissingFileError(DataError, FileNotFoundError):
    """There is no file of that name.

    Example:
        >>> from jaxals.implicit_api import AlternatingLeastSquares, MissingFileError
        >>> try:
        ...     AlternatingLeastSquares.load("no-such-model.npz")
        ... except MissingFileError as error:
        ...     print(error)
        There is no file 'no-such-model.npz'.
    """


class NotOfferedError(ConfigurationError, NotImplementedError):
    """A model was asked for what models of its kind do not have.

    Example:
        >>> from jaxals.implicit_api import NotOfferedError
        >>> from jaxals.implicit_api.nearest_neighbours import CosineRecommender
        >>> try:
        ...     CosineRecommender().similar_users(0)
        ... except NotOfferedError as error:
        ...     print(error)
        `similar_users` is not there for item-item recommenders, which know nothing of users.
    """


class ParameterWarning(Warning):
    """An argument had to be converted, or is probably not what was meant.

    Example:
        >>> import warnings
        >>> import numpy as np
        >>> import scipy
        >>> from jaxals.implicit_api import AlternatingLeastSquares
        >>> model = AlternatingLeastSquares(factors=2)
        >>> model.item_factors = np.eye(2, dtype=np.float32)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     row = model.recalculate_user(0, scipy.sparse.coo_matrix([[1.0, 0.0]]))
        >>> caught[0].category.__name__, str(caught[0].message)
        ('ParameterWarning', 'Method expects CSR input, and was passed coo_matrix instead. Converting to CSR took ...')
    """


def brief(value: Any) -> str:
    """Print a wrong argument on one line, for a message.

    Example:
        >>> from jaxals.implicit_api._errors import brief
        >>> brief(["a", 1])
        "['a', 1]"
    """
    return " ".join(shown(value).split())[:80]


def not_finite(message: str) -> ModelFitError:
    """Return a `ModelFitError` that handlers of implicit's catch, too."""
    kind: type[ModelFitError] = _also(ModelFitError, "implicit.recommender_base")
    return kind(message)


def warn_of_parameter(message: str) -> None:
    """Warn whoever called a method of a model, by a category that filters of implicit's catch, too."""
    # Past every frame of ours, however deep: the line that gave the argument is what a person looks for.
    depth, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("jaxals."):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, _also(ParameterWarning, "implicit.utils"), stacklevel=depth)


def _also(ours: type, module: str) -> type:
    # Whoever names implicit's class has imported it; importing it here would load its compiled modules for nothing.
    theirs = getattr(sys.modules.get(module), ours.__name__, None)
    # It is ours where a script has put this package in the place of implicit.
    return ours if theirs is None or issubclass(ours, theirs) else _both(ours, theirs)


@functools.cache
def _both(ours: type, theirs: type) -> type:
    return type(ours.__name__, (ours, theirs), {"__doc__": ours.__doc__, "__module__": ours.__module__})
