"""ALS as an estimator of scikit-learn: pipelines, grids of settings and cross-validation over users. Host side.

The rows of `X` are users and its columns items, sparse or dense; a zero is no entry. Whoever is asked about need not
have been trained on: rows are folded in, so that cross-validation, which holds out rows, holds out whole users. Needs
scikit-learn, the extra `sklearn`, and is not imported by `import jaxals`.
"""

import inspect
import numbers
import textwrap
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from jaxals._base.arguments import first_line, require_flag, require_kind, told
from jaxals._base.checks import require_fraction, require_integer, require_one_of
from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.equations import is_non_negative
from jaxals.data.catalog import Catalog
from jaxals.data.interactions import Interactions
from jaxals.errors import ConfigurationError, DataError, JaxalsError, MissingDependencyError, NotFittedError
from jaxals.evaluation.ranking import evaluate
from jaxals.evaluation.splits import hold_out_of_each
from jaxals.objective.default import DEFAULT_PRESET, default_numbers
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective
from jaxals.recommend.fold_in import require_regular, solve_rows_of
from jaxals.recommend.recommender import Recommender
from jaxals.recommend.tables import Table
from jaxals.training.loop import fit
from jaxals.training.trainers import ALS

try:
    import sklearn.base
    import sklearn.exceptions
    import sklearn.utils
    import sklearn.utils.validation
except ImportError:
    raise MissingDependencyError("`jaxals.sklearn` needs scikit-learn: pip install 'jaxals[sklearn]'.") from None

_PRESETS = ("hkv", "implicit", "log", "ials", "spark")
# Messages of others about a text hold all of it.
_MOST_CHARACTERS = 200
# Settings of presets, which one or the other has.
_OF_PRESETS = ("alpha", "epsilon", "unobserved_weight", "regularization", "frequency_exponent")


class UnfittedEstimatorError(NotFittedError, sklearn.exceptions.NotFittedError):
    """An estimator was asked for what it only knows after `fit`; an error of scikit-learn's, too.

    Example:
        >>> from jaxals.sklearn import ALSRecommender, UnfittedEstimatorError
        >>> try:
        ...     ALSRecommender().recommend([[1, 0]])
        ... except UnfittedEstimatorError as error:
        ...     print(error)
        This ALSRecommender is not fitted yet; call `fit` first.
    """


class InputTypeError(DataError, TypeError):
    """What was given for `X` holds objects that are no numbers.

    Example:
        >>> import numpy as np
        >>> from jaxals.sklearn import ALSRecommender, InputTypeError
        >>> try:
        ...     ALSRecommender().fit(np.array([[{}, 1]]))
        ... except InputTypeError as error:
        ...     print(error)
        `X` cannot be used: float() argument must be a string or a real number, not 'dict'.
    """


class ALSRecommender(
    sklearn.base.ClassNamePrefixFeaturesOutMixin, sklearn.base.TransformerMixin, sklearn.base.BaseEstimator
):
    """Alternating least squares on a matrix of users x items, with the manners of scikit-learn.

    A search over settings holds out rows, which are users: each is folded in from most of its items and is to find the
    rest, as in Liang et al. 2018. Splits by time, or of each user's items, are those of `jaxals.evaluation`.

    Args:
        objective: A preset of `jaxals.Objective` by name ("ials", "hkv", "log", "implicit", "spark"), or an
            `Objective`, which has all its settings itself; None for "ials" with numbers that suit the data, unless they
            are given.
        alpha: α of the presets that have it; None for the preset's own default, and so with the next four.
        epsilon: ε of "log".
        unobserved_weight: w0 of "ials".
        regularization: λ.
        frequency_exponent: ν of "ials".
        factors: Length of the vectors that are learned.
        sweeps: How many times users and items are solved.
        solver: How a row is solved; None for `Cholesky()`.
        metric: What `score` measures, such as "ndcg@10".
        given: Share of a row's positive entries that `score` folds in, above 0 and below 1; the rest is to be found.
        random_state: Seed of the first factors and of what `score` hides: an integer, None for another one each time,
            or a `numpy.random.RandomState`.

    Attributes:
        components_: The items' vectors, float32 of factors x items.
        objective_: What they minimise.
        is_non_negative_: Whether the solver made no factor below 0.
        history_: The loss after each sweep, a DataFrame.
        n_features_in_: How many items there are.
        feature_names_in_: Their names, where `X` was a DataFrame with names.

    Example:
        >>> import jaxals
        >>> from jaxals.sklearn import ALSRecommender
        >>> X = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0).to_scipy()
        >>> model = ALSRecommender(factors=4, sweeps=3).fit(X[:40])
        >>> items, scores = model.recommend(X[40:], n=3)  # of users who are new
        >>> items.shape, model.set_params(metric="recall@10").score(X[40:]) > 0.3
        ((10, 3), True)
    """

    def __init__(
        self,
        objective: Any = None,
        *,
        alpha: Any = None,
        epsilon: Any = None,
        unobserved_weight: Any = None,
        regularization: Any = None,
        frequency_exponent: Any = None,
        factors: Any = 64,
        sweeps: Any = 15,
        solver: Any = None,
        metric: Any = "ndcg@10",
        given: Any = 0.8,
        random_state: Any = 0,
    ):
        self.objective = objective
        self.alpha = alpha
        self.epsilon = epsilon
        self.unobserved_weight = unobserved_weight
        self.regularization = regularization
        self.frequency_exponent = frequency_exponent
        self.factors = factors
        self.sweeps = sweeps
        self.solver = solver
        self.metric = metric
        self.given = given
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "ALSRecommender":
        """Learn vectors of items, and of the users that are there.

        Args:
            X: Users x items: a scipy sparse matrix, an array, or a DataFrame; values below zero are dislikes.
            y: Ignored.

        Returns:
            The estimator itself.

        Raises:
            ConfigurationError: A setting lies outside its range, or is none of the preset's.
            DataError: `X` is no matrix of finite numbers, or all zero.
            NumericalError: A sweep gave numbers that are not finite.
        """
        solver = Cholesky() if self.solver is None else self.solver
        trainer = ALS(factors=self.factors, sweeps=self.sweeps, solver=solver)
        data = _entries(self._matrix(X, is_new=True))
        if not len(data):
            raise DataError("`X` must have entries to train on; all of it is zero.")
        objective = self._objective(data)
        run = fit(data, objective, trainer, seed=_seed(self.random_state), progress=False)
        self.components_ = np.asarray(run.factors.item).T.copy()
        self.objective_ = objective
        self.is_non_negative_ = is_non_negative(solver)
        self.history_ = run.history
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "rows factors"]:
        """Fold users in: the vector of each row, solved exactly against the items.

        Args:
            X: Users x items, as in `fit`; rows need not have been trained on.

        Returns:
            One vector per row, float32; zero for a row without entries.

        Raises:
            UnfittedEstimatorError: `fit` was not called.
            DataError: `X` is no matrix of finite numbers with as many columns as there are items.
            NumericalError: A row's system is singular.
        """
        self._require_fitted()
        return self._rows(_entries(self._matrix(X)))

    def recommend(
        self, X: Any, n: int = 10, exclude_seen: bool = True
    ) -> tuple[Int[np.ndarray, "rows n"], Float[np.ndarray, "rows n"]]:
        """Rank the items that each row's user is most likely to want next.

        Args:
            X: Users x items, as in `transform`.
            n: How many items each.
            exclude_seen: Leave out items that the row has an entry for.

        Returns:
            Columns of `X` (int32) and scores (float32), best first; column -1 and score -inf where nothing is left.

        Raises:
            UnfittedEstimatorError: `fit` was not called.
            ConfigurationError: `n` is no integer of 1 or more, or `exclude_seen` is neither True nor False.
            DataError: As in `transform`.
            NumericalError: A row's system is singular.
        """
        self._require_fitted()
        require_integer("n", n, 1)
        require_flag("exclude_seen", exclude_seen)
        data = _entries(self._matrix(X))
        recommender = Recommender(self._factors(self._rows(data)), data)
        return recommender.top_items(np.arange(data.n_users, dtype=np.int32), n, exclude_seen)

    def score(self, X: Any, y: Any = None) -> float:
        """Fold rows in from a part of their items, and measure how well the rest is found.

        Args:
            X: Users x items, as in `transform`. Rows with fewer than two entries above zero are left out.
            y: Ignored.

        Returns:
            The mean of `metric` over the rows; more is better, but for "gini" and "novelty", which are neither.

        Raises:
            UnfittedEstimatorError: `fit` was not called.
            ConfigurationError: `metric` or `given` is not what it may be.
            DataError: No row has two entries above zero, or as in `transform`.
            NumericalError: A row's system is singular.
        """
        self._require_fitted()
        require_fraction("given", self.given)
        data = _entries(self._matrix(X))
        is_test = hold_out_of_each(data, self.given, np.random.default_rng(_seed(self.random_state)))
        if not is_test.any():
            raise DataError("No row of `X` has two or more entries above zero, so that one could be found again.")
        given, test = data.select(~is_test), data.select(is_test)
        return evaluate(self._factors(self._rows(given)), given, test, [self.metric])[self.metric]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def _objective(self, data: Interactions) -> Objective:
        given = {name: value for name in _OF_PRESETS if (value := getattr(self, name)) is not None}
        if isinstance(self.objective, Objective):
            if given:
                name, value = next(iter(given.items()))
                raise ConfigurationError(f"`{name}` must be None beside an `Objective`; got {told(value)}.")
            return self.objective
        if self.objective is not None:
            require_one_of("objective", self.objective, *_PRESETS)
        preset, suited = (DEFAULT_PRESET, default_numbers(data)) if self.objective is None else (self.objective, {})
        make = getattr(Objective, preset)
        known = list(inspect.signature(make).parameters)
        if other := [name for name in given if name not in known]:
            raise ConfigurationError(
                f"`{other[0]}` must be None, for `Objective.{preset}` has {', '.join(known)} alone; "
                f"got {told(given[other[0]])}."
            )
        return make(**(suited | given))

    def _require_fitted(self) -> None:
        if not hasattr(self, "components_"):
            raise UnfittedEstimatorError(f"This {type(self).__name__} is not fitted yet; call `fit` first.")

    def _matrix(self, X: Any, is_new: bool = False) -> scipy.sparse.csr_array:
        if isinstance(X, Interactions):
            raise DataError("`X` must be a matrix of users x items; of `Interactions` pass `X.to_scipy()`.")
        if {"user", "item"} <= set(map(str, getattr(X, "columns", ()))):  # whose ids would be taken for values
            way = "of a table of pairs pass `Interactions.from_frame(X).to_scipy()`"
            raise DataError(f"`X` must be a matrix of users x items; {way}.")
        try:
            checked = sklearn.utils.validation.validate_data(
                self, X, reset=is_new, accept_sparse="csr", dtype=(np.float64, np.float32)
            )
            return scipy.sparse.csr_array(checked)
        except JaxalsError:
            raise
        except Exception as error:  # of whatever `X` is made of, or of scikit-learn, over several lines
            if "Reshape your data" in str(error):
                what = "Reshape your data, that of one user by `X.reshape(1, -1)`"
                raise DataError(f"`X` must be 2-D, users x items; got {told(X)}; {what}.") from None
            kind = InputTypeError if isinstance(error, TypeError) else DataError
            what = textwrap.shorten(first_line(error), _MOST_CHARACTERS, placeholder=" ...")
            raise kind(f"`X` cannot be used: {what}.") from None

    def _factors(self, rows: Float[np.ndarray, "rows factors"]) -> Factors:
        return Factors(jnp.asarray(rows), jnp.asarray(self.components_.T))

    def _rows(self, data: Interactions) -> Float[np.ndarray, "rows factors"]:
        rows = np.zeros((data.n_users, len(self.components_)), self.components_.dtype)
        present = np.unique(data.user)
        if len(present):
            table = Table.of(jnp.asarray(self.components_.T))
            rows[present] = solve_rows_of(data, "user", present, table, self.objective_, self.is_non_negative_)
            require_regular(rows, "user", self.objective_)
        return rows


def _entries(matrix: scipy.sparse.csr_array) -> Interactions:
    """Read a matrix that may have no entry at all, which is none to train on, but one to be asked about."""
    if np.count_nonzero(matrix.data):
        return Interactions.from_scipy(matrix)
    index = np.zeros(0, np.int32)
    catalog = Catalog(range(matrix.shape[0]), range(matrix.shape[1]))
    return Interactions(index, index, np.zeros(0, np.float32), catalog)


def _seed(random_state: Any) -> int:
    if isinstance(random_state, numbers.Integral) and not isinstance(random_state, bool):
        require_integer("random_state", random_state, 0)
        return int(random_state)
    what = "an integer, a `numpy.random.RandomState` or None"
    require_kind("random_state", random_state, (np.random.RandomState, type(None)), what)
    return int(sklearn.utils.check_random_state(random_state).randint(2**31 - 1))
