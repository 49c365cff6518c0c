"""What is refused before JAX meets it, where nothing has checked the annotations before: as users run it."""

from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import pytest

import jaxals
from jaxals import Cholesky, Objective, Sides, als
from jaxals.als.half_steps import half_step
from jaxals.als.solver.equations import require_solver
from jaxals.errors import ConfigurationError, DataError
from jaxals.training.loop import choose_devices

DATA = jaxals.datasets.synthetic(n_users=12, n_items=8, n_interactions=48, n_groups=2, seed=0)
USERS, ITEMS = jaxals.ALS(factors=2).cut(DATA, None)
TABLE = jnp.ones((8, 2), jnp.float32)
FACTORS = jaxals.Factors(jnp.ones((12, 2), jnp.float32), TABLE)
COLUMN, VALUE, TARGET = jnp.arange(2), jnp.ones(2, jnp.float32), jnp.array(0)
MATRIX, VECTOR = jnp.ones((3, 2, 2)), jnp.ones((3, 2))


class OwnSolver:
    def gram_size(self, factors: int) -> int:
        return factors

    def solve(self, equations: Any) -> Any:
        return equations.start, None


def step(other=TABLE, objective=None, **settings):
    return half_step(USERS, other, objective or Objective.hkv(), Cholesky(), **settings)


def explain(other=TABLE, column=COLUMN, value=VALUE):
    return als.contributions(other, column, value, TARGET, Objective.hkv())


REFUSED = {
    "a table of half precision": (lambda: step(TABLE.astype("float16")), DataError, "`other` must be of float32 or fl"),
    "a start of other rows": (lambda: step(start=TABLE), DataError, "`start` must be of shape (12, 2); got (8, 2)."),
    "ridges of both sides": (lambda: step(objective=Objective.hkv(1.0, Sides(0.1, 0.2))), ConfigurationError, ""),
    "tiles that are not transposed": (
        lambda: step(transposed=USERS),
        DataError,
        "`transposed` must have the 8 columns of the tiles as rows, and their 12 ",
    ),
    "a sweep over one side twice": (
        lambda: jaxals.sweep(USERS, USERS, jaxals.Factors(FACTORS.user, FACTORS.user), Objective.hkv(), Cholesky()),
        DataError,
        "`user_tiles` and `item_tiles` must be of the same interactions; got 12 x 8 and ",
    ),
    "entries without values": (
        lambda: explain(value=VALUE[:1]),
        DataError,
        "`column` and `value` must have one length; got 2 and 1.",
    ),
    "no rows": (lambda: explain(TABLE[:0]), DataError, "`other` must have a row and a factor; got float32[0,2]."),
    "values of another type": (
        lambda: explain(value=VALUE.astype("float64")),
        DataError,
        "`value` must be of the dtype of `other`, float32; got float64.",
    ),
    "a vector too few": (
        lambda: als.solve_symmetric(MATRIX, VECTOR, VECTOR[:2]),
        DataError,
        "`matrix` must be of shape [batch, size, size], and `diagonal`, `target` and `sign` of [batch, size]; got ",
    ),
    "a solver that is a leaf": (
        lambda: require_solver("solver", OwnSolver()),
        ConfigurationError,
        "`solver` must be a pytree; decorate the class OwnSolver with `jaxals.pytree`.",
    ),
    "tiles of one side": (
        lambda: begin([USERS]),
        DataError,
        "`tiles` must be a pair, with users and with items as rows; got [a RowTiles].",
    ),
    "tiles in another order": (
        lambda: begin((ITEMS, USERS)),
        DataError,
        "`tiles` must be of 12 rows and 8 columns; got 8 and 12.",
    ),
    "another word for devices": (
        lambda: choose_devices("gpu"),  # type: ignore[arg-type]
        ConfigurationError,
        "`mesh` must be \"all\", a mesh from `make_mesh` or None; got 'gpu'.",
    ),
}


def begin(tiles):
    return jaxals.ALS(factors=2).begin(DATA, Objective.hkv(), jax.random.key(0), None, None, tiles=tiles)


@pytest.mark.parametrize(("call", "error", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_belong_together_is_refused(call, error, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error) as refused:
        call()
    assert str(refused.value).startswith(said)
    assert str(refused.value).endswith(".")
