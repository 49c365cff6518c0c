"""A solver that a user wrote: it trains, its long rows too, and is differentiated or refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxals
from jaxals import ALS, Cholesky, Interactions, Objective, build_tiles, half_step, pytree
from jaxals.als import solve_symmetric
from jaxals.als.layout import row_classes
from jaxals.als.solver.equations import NormalEquations, Solution
from jaxals.errors import ConfigurationError
from tests import oracles
from tests.machines import cut_for


@pytree
class Direct:
    """The matrices formed whole, and solved."""

    def gram_size(self, factors: int) -> int:
        return factors

    def solve(self, equations: NormalEquations) -> Solution:
        matrix, target = equations.matrices()
        rows = solve_symmetric(matrix, jnp.zeros_like(target), target)
        return rows, jnp.zeros(len(rows), bool)


@pytree
class Differentiable:
    def gram_size(self, factors: int) -> int:
        return factors

    def solve(self, equations: NormalEquations) -> Solution:
        return Direct().solve(equations)

    def adjoint(self, dtype: Any) -> Direct:
        return Direct()


@pytree
class Halved:
    """Not the solution of the equations: half of it, to see whose rows come out."""

    def gram_size(self, factors: int) -> int:
        return factors

    def solve(self, equations: NormalEquations) -> Solution:
        rows, is_unconverged = Direct().solve(equations)
        return rows / 2, ~is_unconverged


@pytest.fixture
def with_long_rows(monkeypatch) -> Interactions:
    """One item that everybody has, in more entries than a chunk holds."""
    monkeypatch.setattr(row_classes, "_MIDDLE_ROW_ENTRIES", 8)
    cut_for(monkeypatch, longest_row=8)
    monkeypatch.setattr(row_classes, "_WIDTHS", (4,))
    generator = np.random.default_rng(0)
    user, item = np.concatenate([np.arange(90), generator.integers(0, 90, 300)]), np.zeros(390, int)
    item[90:] = generator.integers(1, 12, 300)
    return Interactions.from_arrays(user, item, generator.random(390) + 0.2, shape=(90, 12), duplicates="last")


@pytest.mark.parametrize("objective", [Objective.hkv(3.0, 0.5), Objective.implicit(2.0, 0.5)], ids=["hkv", "implicit"])
def test_long_rows_are_solved_by_it(objective, with_long_rows):
    tiles = build_tiles(with_long_rows, "item", factors=6, dtype=jnp.float64)
    assert tiles.long is not None
    other = jnp.asarray(np.random.default_rng(1).normal(size=(90, 6)))
    exact, _ = half_step(tiles, other, objective, Cholesky())
    own, info = half_step(tiles, other, objective, Direct())
    np.testing.assert_allclose(own, exact, rtol=1e-9)
    assert int(info.unconverged_rows) == 0
    halved, info = half_step(tiles, other, objective, Halved())
    np.testing.assert_allclose(halved, exact / 2, rtol=1e-9)
    assert int(info.unconverged_rows) == 12


@pytree
class Clipped:
    """Coordinates of the factors without those below 0, whichever basis it asks for."""

    in_eigenbasis: bool = jaxals.static(default=False)

    def gram_size(self, factors: int) -> int:
        return factors

    def solve(self, equations: NormalEquations) -> Solution:
        rows, is_unconverged = Direct().solve(equations)
        return jnp.maximum(rows, 0), is_unconverged


@pytree
class Steps:
    """What `multiply` and `combine` say of the equations: a step of Richardson's, from anywhere."""

    in_eigenbasis: bool = jaxals.static()

    def gram_size(self, factors: int) -> int:
        return 0

    def solve(self, equations: NormalEquations) -> Solution:
        rows = equations.start + equations.combine(equations.target_weight) - equations.multiply(equations.start)
        return rows, jnp.zeros(len(rows), bool)


@pytree
class AsksForTheDiagonal:
    def gram_size(self, factors: int) -> int:
        return 0

    def solve(self, equations: NormalEquations) -> Solution:
        return equations.start / equations.shared, jnp.zeros(len(equations.start), bool)


def test_equations_are_in_the_coordinates_of_the_factors(with_long_rows):
    tiles = build_tiles(with_long_rows, "item", factors=6, dtype=jnp.float64)
    other = jnp.asarray(np.random.default_rng(1).normal(size=(90, 6)))
    exact, clipped, turned = (
        half_step(tiles, other, Objective.hkv(3.0, 0.5), solver)[0] for solver in (Cholesky(), Clipped(), Clipped(True))
    )
    assert float(exact.min()) < -1e-2
    np.testing.assert_allclose(clipped, jnp.maximum(exact, 0), rtol=1e-9, atol=1e-12)
    assert float(turned.min()) < 0


@pytest.mark.parametrize("in_eigenbasis", [False, True])
def test_products_are_those_of_the_matrices(in_eigenbasis):
    r = oracles.random_values(0, 23, 17)
    user, item = np.nonzero(r)
    data = Interactions.from_arrays(user, item, r[user, item], shape=r.shape)
    rng = np.random.default_rng(1)
    other, start = rng.normal(size=(17, 4)), rng.normal(size=(23, 4))
    weight, target, ridge = oracles.cells("hkv", r, oracles.PRESETS["hkv"][1])
    systems = [other.T @ (c[:, None] * other) + of_row * np.eye(4) for c, of_row in zip(weight, ridge, strict=True)]
    expected = start + (weight * target) @ other - np.einsum("rfg,rg->rf", systems, start)
    tiles = build_tiles(data, factors=4, dtype=jnp.float64, gram_size=0)
    found, _ = half_step(tiles, jnp.asarray(other), oracles.PRESETS["hkv"][0], Steps(in_eigenbasis), jnp.asarray(start))
    is_active = (r != 0).any(1)
    np.testing.assert_allclose(found[is_active], expected[is_active], rtol=1e-9, atol=1e-9)


def test_the_diagonal_is_refused_where_there_is_none():
    data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
    with pytest.raises(ConfigurationError, match=r"take `equations.matrices\(\)`"):
        jaxals.fit(data, Objective.hkv(), ALS(4, 3, AsksForTheDiagonal()), progress=False)


@pytree
class Leaf:
    in_eigenbasis: bool = True

    def gram_size(self, factors: int) -> int:
        return factors

    def solve(self, equations: NormalEquations) -> Solution:
        return Direct().solve(equations)


def test_what_a_solver_says_of_itself_is_no_leaf():
    with pytest.raises(ConfigurationError, match="`in_eigenbasis` of the solver Leaf must be True or False"):
        ALS(solver=Leaf())


@pytree
class FromSums:
    """Long rows from their sums, in the coordinates of the factors."""

    def gram_size(self, factors: int) -> int:
        return factors

    def solve(self, equations: NormalEquations) -> Solution:
        return Direct().solve(equations)

    def solve_gram(self, gram: jax.Array, shared: jax.Array, target: jax.Array) -> Solution:
        return Cholesky().solve_gram(gram, shared, target)


def test_long_rows_come_with_all_that_is_not_on_the_diagonal(with_long_rows):
    tiles = build_tiles(with_long_rows, "item", factors=6, dtype=jnp.float64)
    other = jnp.asarray(np.random.default_rng(1).normal(size=(90, 6)))
    exact, own = (half_step(tiles, other, Objective.hkv(3.0, 0.5), one)[0] for one in (Cholesky(), FromSums()))
    np.testing.assert_allclose(own, exact, rtol=1e-9)


def test_it_trains_and_is_measured_by_the_same_loss():
    data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
    own, exact = (
        jaxals.fit(data, Objective.hkv(), ALS(4, 3, solver, None, dtype="float64"), progress=False)
        for solver in (Direct(), Cholesky())
    )
    np.testing.assert_allclose(own.history["loss"], exact.history["loss"], rtol=1e-9)
    assert own.trainer == ALS(4, 3, Direct(), None, dtype="float64")


def test_its_adjoint_differentiates_it_and_without_one_it_is_refused(with_long_rows):
    tiles = build_tiles(with_long_rows, "item", factors=3, dtype=jnp.float64)
    other = jnp.asarray(np.random.default_rng(1).normal(size=(90, 3)))

    def size(alpha: float, solver: Any) -> jax.Array:
        return jnp.sum(half_step(tiles, other, Objective.hkv(alpha, 0.5), solver)[0] ** 2)

    slopes = [jax.grad(size)(2.0, solver) for solver in (Cholesky(), Differentiable())]
    np.testing.assert_allclose(slopes[1], slopes[0], rtol=1e-9)
    with pytest.raises(ConfigurationError, match=r"Rows of Direct\(\) cannot be differentiated: .* `adjoint\(dtype\)`"):
        jax.grad(size)(2.0, Direct())
