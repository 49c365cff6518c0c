import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from jaxals import Cholesky, Factors, Interactions, Objective, Sides, build_tiles, half_step, pytree
from jaxals.errors import ConfigurationError, DataError
from jaxals.objective import objective as objective_module
from jaxals.objective.factors import require_shape
from tests import oracles


def tables(dtype) -> Factors:
    rng = np.random.default_rng(7)
    return Factors(jnp.asarray(rng.normal(size=(9, 4)), dtype), jnp.asarray(rng.normal(size=(14, 4)), dtype))


@pytest.mark.parametrize("preset", oracles.PRESETS)
# float32: a sum of some hundred terms of one sign and a few of the other.
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-10), (jnp.float32, 1e-4)])
def test_loss_agrees_with_the_dense_oracle(preset, dtype, tolerance):
    r = oracles.random_values(1, 9, 14)
    factors = tables(dtype)
    objective, parameters = oracles.PRESETS[preset]
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(r))
    expected = oracles.loss(preset, r, np.asarray(factors.user, float), np.asarray(factors.item, float), parameters)
    loss = objective.loss(factors, data)
    assert loss.dtype == dtype
    assert float(loss) == pytest.approx(expected, rel=tolerance)
    assert float(objective.loss(factors, data.to_coo(dtype))) == float(loss)


def test_loss_over_several_steps_of_entries(monkeypatch):
    r = oracles.random_values(2, 9, 14)
    objective, parameters = oracles.PRESETS["hkv"]
    monkeypatch.setattr(objective_module, "_ENTRIES_PER_STEP", 7)
    jax.clear_caches()
    factors = tables(jnp.float64)
    loss = objective.loss(factors, Interactions.from_scipy(scipy.sparse.csr_matrix(r)))
    jax.clear_caches()
    expected = oracles.loss("hkv", r, np.asarray(factors.user), np.asarray(factors.item), parameters)
    assert float(loss) == pytest.approx(expected, rel=1e-10)


def test_a_user_written_confidence_is_differentiable():
    @jax.tree_util.Partial
    def confidence(r):
        return 2.0 * jnp.abs(r), jnp.where(r > 0, 1 + 2.0 * r, jnp.zeros_like(r))

    r = np.abs(oracles.random_values(1, 9, 14))
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(r))
    factors = tables(jnp.float64)
    own = Objective(confidence, 1.0, 0.2).loss(factors, data)
    assert float(own) == pytest.approx(float(Objective.hkv(2.0, 0.2).loss(factors, data)), rel=1e-12)

    loss = lambda alpha: Objective.hkv(alpha, 0.2).loss(factors, data.to_coo(jnp.float64))
    step = 1e-5  # central differences of a quadratic are exact up to rounding
    slope = (loss(2.0 + step) - loss(2.0 - step)) / (2 * step)
    assert float(jax.grad(loss)(2.0)) == pytest.approx(float(slope), rel=1e-6)


@pytree
class Logarithmic:
    """g = α ln r, of which neither the value nor the slope is finite at 0, where there is no entry."""

    alpha: float

    def __call__(self, value):
        gram_weight = self.alpha * jnp.log(value)
        return gram_weight, 1 + gram_weight


def test_a_confidence_is_not_asked_about_what_is_no_entry():
    values = np.abs(oracles.random_values(0, 9, 7))
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(values))
    user, item = (jnp.asarray(np.random.default_rng(seed).normal(size=(n, 3))) for seed, n in enumerate((9, 7)))
    loss = lambda alpha: Objective(Logarithmic(alpha), 0.5).loss(Factors(user, item), data)
    scores = (user @ item.T)[values != 0]
    # c (p - s)² = c s² - 2 b s + b² / c with c = α ln r + w0 and b = 1 + α ln r, by α.
    log, c, b = np.log(values[values != 0]), 2 * np.log(values[values != 0]) + 0.5, 1 + 2 * np.log(values[values != 0])
    expected = np.sum(log * (scores**2 - 2 * scores + 2 * b / c - (b / c) ** 2))
    assert float(jax.grad(loss)(2.0)) == pytest.approx(float(expected), rel=1e-10)
    tiles = build_tiles(data, "user", factors=3, dtype=jnp.float64)
    rows = lambda alpha: half_step(tiles, item, Objective(Logarithmic(alpha), 0.5), Cholesky())[0].sum()
    difference = (rows(2.0 + 1e-5) - rows(2.0 - 1e-5)) / 2e-5
    assert float(jax.jit(jax.grad(rows))(2.0)) == pytest.approx(float(difference), rel=1e-6)


def test_transposed_factors_are_refused():
    data = Interactions.from_scipy(scipy.sparse.csr_matrix(oracles.random_values(1, 14, 9)))
    with pytest.raises(DataError, match=r"\(9, 14\).*\(14, 9\).*swapped"):
        Objective.hkv().loss(tables(jnp.float64), data)


def test_tables_of_different_widths_are_refused():
    factors = tables(jnp.float64)
    uneven = jax.tree.unflatten(jax.tree.structure(factors), [factors.user[:, :3], factors.item])
    with pytest.raises(DataError, match="one width; got 3 factors a user and 4 an item"):
        require_shape(uneven, (9, 14))


RIDGES = Objective.hkv(regularization=Sides(0.1, 0.2))


def weights_of(confidence):
    return Objective(jax.tree_util.Partial(confidence)).weights(jnp.ones(3))


def test_counts_of_other_rows_are_refused():
    with pytest.raises(DataError, match="`item_count` must have one number for each of 14 rows; got 9"):
        RIDGES.ridge_loss(tables(jnp.float64), jnp.arange(9), jnp.arange(9))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Objective.hkv(regularization=-0.1), "`regularization` must be >= 0; got -0.1"),
        (lambda: Objective.hkv(alpha=0.0), "`alpha` must be > 0; got 0.0"),
        (
            lambda: Objective(lambda r: (r, r)),
            "`confidence` must be a pytree that can be called.*got the function <lam",
        ),
        (lambda: RIDGES.ridge(jnp.arange(3), 4, "float32"), r'has two sides; take `objective.of\("user"\)`'),
        (lambda: weights_of(lambda r: r), r"`confidence` must return two arrays .* made float64\[3\]"),
        (
            lambda: weights_of(lambda r: (r, 1.0)),
            r"`confidence` must return two arrays .* made 2 of shapes \[\(3,\), \(\)\]",
        ),
        (lambda: Objective.log(epsilon=-1), "`epsilon` must be > 0; got -1"),
        (lambda: Objective.hkv(regularization=float("inf")), "`regularization` must be finite; got inf"),
        (lambda: Objective.ials(frequency_exponent=float("nan")), "`frequency_exponent` must be finite; got nan"),
        (lambda: Objective.ials(unobserved_weight=float("nan")), "`unobserved_weight` must be >= 0; got nan"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_counts_and_scores_of_other_shapes_are_refused():
    objective, factors = Objective.hkv(regularization=0.5), tables(jnp.float64)
    ridge = objective.ridge_loss(factors, jnp.ones(9, jnp.int32), jnp.ones(14, jnp.int32))
    assert ridge == pytest.approx(0.5 * sum(float(jnp.sum(table**2)) for table in (factors.user, factors.item)))
    with pytest.raises(DataError, match="`item_count` must have one number for each of 14 rows; got 9"):
        objective.ridge_loss(factors, jnp.ones(9, jnp.int32), jnp.ones(9, jnp.int32))
