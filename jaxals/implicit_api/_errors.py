"""Errors and warnings that are what implicit raises as well as what jaxals raises. Host side."""

from jaxals.errors import DataError, NotFittedError, NumericalError


class ModelFitError(NumericalError, ValueError):
    """Solving gave factors that are not finite.

    Example:
        >>> import numpy as np
        >>> import scipy
        >>> from jaxals.implicit_api import AlternatingLeastSquares, ModelFitError
        >>> likes = scipy.sparse.csr_matrix([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [0, 1, 1, np.nan]])
        >>> try:
        ...     AlternatingLeastSquares(factors=2).fit(likes, show_progress=False)
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
        Some itemids in the items parameter are not in the model
    """


class ParameterWarning(Warning):
    """An argument had to be converted.

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
