"""A model that grows by rows that were not seen in training, nothing of it being copied. Host side."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxals._base.forks import refuse_forked_process
from jaxals.als.half_steps import half_step
from jaxals.als.layout.tiles import build_tiles
from jaxals.als.solver.cholesky import Cholesky
from jaxals.als.solver.non_negative import NonNegative
from jaxals.data.catalog import Catalog, Side
from jaxals.data.interactions import Interactions
from jaxals.errors import DataError
from jaxals.objective.factors import Factors
from jaxals.objective.objective import Objective
from jaxals.recommend.evidence import Evidence
from jaxals.recommend.histories import Histories
from jaxals.recommend.ids import Ids
from jaxals.recommend.ranking import Ranked, checked_indices, nearest_rows
from jaxals.recommend.rows import are_few, objective_of, singular, solve_rows
from jaxals.recommend.tables import Table

# As many passes from zero as bring rows within rounding in float32, or near it; training goes on from where it was.
_SETTLED = NonNegative(passes=200)


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """What recommendations are made of; models that grew from one another share what they have in common.

    Attributes:
        user: The users' table.
        item: The items' table.
        histories: What each user did.
        user_ids: Raw user ids.
        item_ids: Raw item ids.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxals
        >>> from jaxals.recommend.fold_in import Model
        >>> known = jaxals.Interactions.from_arrays([0, 1], [0, 1], shape=(2, 2))
        >>> model = Model.of(jaxals.Factors(jnp.ones((2, 3)), jnp.eye(2, 3)), known)
        >>> new = jaxals.Interactions.from_arrays([0, 0], [0, 1], catalog=jaxals.Catalog(["c"], [0, 1]))
        >>> grown = model.grown(new, "user", jaxals.Objective.hkv())
        >>> grown.factors().user.shape, len(grown.interactions()), grown.catalog.users.tolist(), len(model.user)
        ((3, 3), 4, [0, 1, 'c'], 2)
    """

    user: Table
    item: Table
    histories: Histories
    user_ids: Ids
    item_ids: Ids

    @classmethod
    def of(cls, factors: Factors, interactions: Interactions) -> "Model":
        """Begin with what was trained."""
        ids = Ids.of(interactions.catalog, "user"), Ids.of(interactions.catalog, "item")
        return cls(Table.of(factors.user), Table.of(factors.item), Histories.of(interactions), *ids)

    def factors(self) -> Factors:
        """Put both tables together."""
        return Factors(self.user.whole(), self.item.whole())

    @functools.cached_property
    def catalog(self) -> Catalog:
        """All raw ids."""
        known = self.user_ids.catalog
        is_all = known is self.item_ids.catalog and not (len(self.user_ids.late) or len(self.item_ids.late))
        return known if is_all else Catalog(self.user_ids.whole(), self.item_ids.whole())

    def nearest(self, side: Side, rows: Any, n: int, shrinkage: float | None) -> Ranked:
        """Rank the rows of a side by shrunk cosines with given ones, or by dot products where there is no shrinkage.

        Raises:
            DataError: An index lies outside the table.
        """
        table = self.user if side == "user" else self.item
        rows = checked_indices("rows", rows, len(table))
        if shrinkage is None:
            return nearest_rows(table, rows, n, None)
        if (side, shrinkage) not in self._evidence:
            counts = self.histories.counts(side, len(table))
            self._evidence[side, shrinkage] = Evidence.of(table, counts, shrinkage)
        return nearest_rows(table, rows, n, self._evidence[side, shrinkage])

    @functools.cached_property
    def _evidence(self) -> dict[tuple[Side, float], Evidence]:
        return {}

    def interactions(self) -> Interactions:
        """Put all entries together."""
        return self.histories.whole(self.catalog)

    def grown(self, new: Interactions, side: Side, objective: Objective, is_non_negative: bool = False) -> "Model":
        """Solve rows for new entries, which replace all that the model had of these rows.

        Args:
            new: Entries of the rows; the other side is looked up by raw id.
            side: "user" or "item": which rows.
            objective: What they minimise.
            is_non_negative: Whether no factor may be below 0.

        Returns:
            A model of the known and the new rows, the new ones last.

        Raises:
            UnknownIdError: The other side of an entry is not in the catalog.
            DataError: There are no entries, or a value is 0 or infinite in the dtype of the factors.
            NumericalError: A row's system is singular.
        """
        user, user_row = np.unique(new.user, return_inverse=True)
        item, item_row = np.unique(new.item, return_inverse=True)
        asked_users, asked_items = new.catalog.users[user], new.catalog.items[item]
        user_ids, item_ids = self.user_ids, self.item_ids
        if side == "user":
            user_ids, user = user_ids.extended(asked_users)
            item = item_ids.indices(asked_items)
        else:
            user = user_ids.indices(asked_users)
            item_ids, item = item_ids.extended(asked_items)
        shape = len(user_ids), len(item_ids)
        alone = Interactions.from_arrays(user[user_row], item[item_row], new.value, shape=shape)
        changed = np.unique(user if side == "user" else item)
        table, n_rows = (self.user, shape[0]) if side == "user" else (self.item, shape[1])
        other = self.item if side == "user" else self.user
        rows = solve_rows_of(alone, side, changed, other, objective, is_non_negative)
        require_regular(rows, side, objective)
        histories = self.histories.replaced(side, changed, alone, n_known=len(table))
        grown = {side: table.replaced(changed, rows, n_rows)}
        return dataclasses.replace(self, **grown, histories=histories, user_ids=user_ids, item_ids=item_ids)


def require_regular(rows: Float[np.ndarray, "rows factors"], side: Side, objective: Objective) -> None:
    """Refuse rows that came out not finite; raises `NumericalError`."""
    if bad := int((~np.isfinite(rows).all(axis=1)).sum()):
        raise singular(f"{bad:,} of {len(rows):,} {side} rows came out not finite: their systems are", objective)


def solve_rows_of(
    alone: Interactions,
    side: Side,
    changed: Int[np.ndarray, " changed"],
    other: Table,
    objective: Objective,
    is_non_negative: bool = False,
) -> Float[np.ndarray, "changed factors"]:
    """Solve the rows that have entries, and no others, against the other side's table; NaN where one is singular.

    Args:
        alone: Entries of these rows alone.
        side: "user" or "item": which side the rows are.
        changed: Their indices, ascending.
        other: The other side's table.
        objective: What they minimise.
        is_non_negative: Whether no factor may be below 0.

    Returns:
        One row for each index, in the other table's dtype.
    """
    objective = objective_of(objective, side, changed, alone.shape[side == "item"])
    row, column = (alone.user, alone.item) if side == "user" else (alone.item, alone.user)
    row = np.searchsorted(changed, row).astype(np.int32)
    if are_few(len(changed), len(alone), other.factors):
        order = np.argsort(row, kind="stable")
        entries = np.bincount(row, minlength=len(changed)), column[order], alone.value[order]
        return solve_rows(other, *entries, objective, is_non_negative)
    cells, shape = (row, column), (len(changed), len(other))
    if side == "item":
        cells, shape = cells[::-1], shape[::-1]
    compact = Interactions(*cells, alone.value, Catalog(*map(range, shape)))
    tiles = build_tiles(compact, side, factors=other.factors, dtype=other.dtype)
    solver = _SETTLED if is_non_negative else Cholesky()
    return np.asarray(half_step(tiles, jnp.asarray(other.whole()), objective, solver)[0])


def solve_side(
    interactions: Interactions, side: Side, factors: Factors, objective: Objective, is_non_negative: bool = False
) -> Array:
    """Solve all rows of one side of interactions exactly against the other side's table, on the device.

    Raises:
        DataError: The other side has another length.
        NumericalError: A row's system is singular.
    """
    refuse_forked_process()
    other = jnp.asarray(factors.item if side == "user" else factors.user)
    if (given := interactions.shape[side == "user"]) != len(other):
        raise DataError(f"`interactions` have {given:,} columns of the other side, the model {len(other):,}.")
    tiles = build_tiles(interactions, side, factors=other.shape[1], dtype=other.dtype)
    rows, info = half_step(tiles, other, objective.of(side), _SETTLED if is_non_negative else Cholesky())
    if bad := int(info.non_finite_rows):
        raise singular(f"{bad:,} of {len(rows):,} {side} rows came out not finite: their systems are", objective)
    return rows
