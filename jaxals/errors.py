"""Every error that jaxals raises on purpose. Host side.

Each message is one sentence that says what is wrong, where, and what would be right.
"""


class JaxalsError(Exception):
    """Base of all errors that jaxals raises on purpose.

    Example:
        >>> import jaxals
        >>> try:
        ...     jaxals.ALS(factors=0)
        ... except jaxals.errors.JaxalsError as error:
        ...     print(error)
        `factors` must be an integer >= 1; got 0.
    """


class DataError(JaxalsError, ValueError):
    """The interactions, ids or files given cannot be used as they are.

    Example:
        >>> import jaxals
        >>> jaxals.Interactions.from_arrays(user=[0, 1], item=[0])
        Traceback (most recent call last):
            ...
        jaxals.errors.DataError: `user`, `item` and `value` must have one length; got 2, 1 and 2.
    """


class UnknownIdError(DataError):
    """A raw id is not in the catalog.

    Example:
        >>> import jaxals
        >>> jaxals.Catalog(users=["ann", "bob"], items=["Air"]).user_indices(["anne"])
        Traceback (most recent call last):
            ...
        jaxals.errors.UnknownIdError: There is no user 'anne' in the catalog of 2 users; the nearest known are 'ann'.
    """


class ConfigurationError(JaxalsError, ValueError):
    """A setting lies outside the range it may have, or two settings contradict each other.

    Example:
        >>> import jaxals
        >>> jaxals.ALS(factors=0)
        Traceback (most recent call last):
            ...
        jaxals.errors.ConfigurationError: `factors` must be an integer >= 1; got 0.
    """


class CheckpointError(JaxalsError):
    """A saved model or checkpoint is missing, damaged, or made by something else.

    Example:
        >>> import jaxals
        >>> jaxals.Recommender.load("no/such/folder")
        Traceback (most recent call last):
            ...
        jaxals.errors.CheckpointError: There is no model folder no/such/folder.
    """


class DamageError(CheckpointError):
    """The files of a saved model or checkpoint are not what was written.

    Example:
        >>> import pathlib, tempfile
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> folder = pathlib.Path(tempfile.mkdtemp(), "model")
        >>> data = jaxals.Interactions.from_arrays([0, 1], [0, 0])
        >>> jaxals.Recommender(jaxals.Factors(jnp.ones((2, 3)), jnp.ones((1, 3))), data).save(folder)
        >>> _ = (folder / "arrays" / "user" / "0").write_bytes(b"")
        >>> jaxals.Recommender.load(folder)
        Traceback (most recent call last):
            ...
        jaxals.errors.DamageError: ...model is damaged: arrays/user/0 is not what was written.
    """


class NotFittedError(JaxalsError):
    """A model was asked for what it only knows after training.

    Example:
        >>> import jaxals
        >>> try:
        ...     jaxals.implicit_api.AlternatingLeastSquares().similar_items(0)
        ... except jaxals.errors.NotFittedError as error:
        ...     print(error)
        This model has no `item_factors` yet; call `fit` or `load` first.
    """


class MissingDependencyError(JaxalsError, ImportError):
    """An optional package is needed for what was asked.

    Example:
        >>> import sys
        >>> from unittest import mock
        >>> import pandas as pd
        >>> import jaxals
        >>> with mock.patch.dict(sys.modules, {"matplotlib.figure": None}):  # as if it were not installed
        ...     jaxals.plots.plot_spectrum(pd.DataFrame({"ALS": [3.0, 1.0]}))
        Traceback (most recent call last):
            ...
        jaxals.errors.MissingDependencyError: Plots need matplotlib: pip install 'jaxals[plots]'.
    """


class NumericalError(JaxalsError, ArithmeticError):
    """Training produced numbers that are not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> @jaxals.pytree
        ... class Negative:
        ...     def __call__(self, value):
        ...         return jnp.full_like(value, -2), jnp.ones_like(value)
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> try:
        ...     jaxals.fit(data, jaxals.Objective(Negative()), jaxals.ALS(factors=4, sweeps=3), progress=False)
        ... except jaxals.errors.NumericalError as error:
        ...     print(error)
        After sweep 1, ... rows are not finite, ... the confidence of a value of ... lies below zero, ...
    """
