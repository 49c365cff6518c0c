"""A trained model at work: recommendations, similar rows, explanations and fold-in. Host side."""

import dataclasses
import os
from collections.abc import Hashable, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from jaxals import checkpoint
from jaxals.als import contributions, half_step
from jaxals.catalog import Catalog, Side
from jaxals.errors import ConfigurationError, DataError
from jaxals.interactions import Interactions
from jaxals.objective import Factors, Objective, require_at_least
from jaxals.serving import nearest_rows, rank_columns
from jaxals.solvers import Cholesky
from jaxals.tiles import build_tiles

Ids = Hashable | Sequence[Hashable] | np.ndarray | pd.Series | pd.Index
Measure = Literal["cosine", "dot"]
Scale = Literal["raw", "unit"]


@dataclasses.dataclass(frozen=True, eq=False)
class Recommender:
    """Factors, the interactions they were trained on, and the ids of both.

    Methods named after what a person asks take raw ids (one, or a list of them) and return DataFrames; `top_items`,
    `nearest`, `contributions` and `solve` are the same by index, on arrays. Users without interactions get empty
    recommendations.

    Attributes:
        factors: Both tables.
        interactions: What was seen in training, with the catalog of raw ids.
        objective: What the factors minimise; `explain` and `fold_in` need it.

    Raises:
        DataError: Factors and interactions are not of one shape.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(), jaxals.ALS(factors=4, sweeps=3), progress=False)
        >>> recommender = Recommender(run.factors, data, run.objective)
        >>> list(recommender.recommend(7, n=3).columns)
        ['user', 'item', 'score', 'rank']
    """

    factors: Factors
    interactions: Interactions
    objective: Objective | None = None

    def __post_init__(self) -> None:
        shape = (len(self.factors.user), len(self.factors.item))
        if shape != self.interactions.shape:
            turned = " Users and items look swapped." if shape == self.interactions.shape[::-1] else ""
            raise DataError(
                f"The factors are for {shape} users and items, the interactions for {self.interactions.shape}.{turned}"
            )

    @property
    def catalog(self) -> Catalog:
        """Raw ids of users and items."""
        return self.interactions.catalog

    # By raw id

    def recommend(
        self,
        users: Ids,
        n: int = 10,
        exclude_seen: bool = True,
        items: Ids | None = None,
        exclude: Ids = (),
        scale: Scale = "raw",
    ) -> pd.DataFrame:
        """Rank the items that users are most likely to want next.

        Args:
            users: One raw user id, or a list, array or Series of them.
            n: How many items each; fewer where fewer are left.
            exclude_seen: Leave out what a user already interacted with.
            items: Raw ids of the only items to consider, by default all.
            exclude: Raw ids of items to leave out.
            scale: "raw" scores, or "unit": a user's scores stretched so that the best candidate has 1 and the worst 0.

        Returns:
            Columns user, item, score and rank (from 1), best first within each user.

        Raises:
            UnknownIdError: A user or item is not in the catalog.
        """
        indices = self.catalog.user_indices(_as_list(users))
        allowed = None if items is None else self.catalog.item_indices(_as_list(items))
        found, scores = self.top_items(
            indices,
            min(n, self.interactions.n_items),
            exclude_seen,
            items=allowed,
            exclude=self.catalog.item_indices(_as_list(exclude)),
            scale=scale,
        )
        return _ranking(indices, found, scores, self.catalog.users, self.catalog.items, ("user", "item"))

    def similar_items(self, items: Ids, n: int = 10, measure: Measure = "cosine") -> pd.DataFrame:
        """Rank the items most alike to each of `items`, itself left out.

        Args:
            items: One raw item id, or a list, array or Series of them.
            n: How many each.
            measure: "cosine" of the vectors, or their "dot" product, which favours popular items.

        Returns:
            Columns item, similar_item, score and rank (from 1).

        Raises:
            UnknownIdError: An item is not in the catalog.
        """
        indices = self.catalog.item_indices(_as_list(items))
        found, scores = self.nearest(indices, min(n, self.interactions.n_items), "item", measure)
        return _ranking(indices, found, scores, self.catalog.items, self.catalog.items, ("item", "similar_item"))

    def similar_users(self, users: Ids, n: int = 10, measure: Measure = "cosine") -> pd.DataFrame:
        """Rank the users most alike to each of `users`; as `similar_items`, with columns user and similar_user."""
        indices = self.catalog.user_indices(_as_list(users))
        found, scores = self.nearest(indices, min(n, self.interactions.n_users), "user", measure)
        return _ranking(indices, found, scores, self.catalog.users, self.catalog.users, ("user", "similar_user"))

    def explain(self, user: Hashable, item: Hashable) -> pd.DataFrame:
        """Split the score of an item into what each item that the user has seen contributes.

        With A_u the user's matrix, the score is Σ_i b_ui y_jᵀ A_u⁻¹ y_i over the items i that were seen (Hu, Koren and
        Volinsky 2008, section 5).

        Args:
            user: Raw user id.
            item: Raw id of the item whose score is explained.

        Returns:
            Columns item, value and contribution, largest first. `attrs["score"]` is the sum of the contributions: the
            score under the user's exact solution for the current items. `attrs["unsettled"]` is how much the score
            that `recommend` reports lies above it: nothing after `settled()`, little after enough sweeps.

        Raises:
            UnknownIdError: The user or item is not in the catalog.
            ConfigurationError: There is no objective.
        """
        row = int(self.catalog.user_indices([user])[0])
        column = int(self.catalog.item_indices([item])[0])
        seen, parts = self.contributions(row, column)
        frame = pd.DataFrame(
            {
                "item": self.catalog.items[self.interactions.item[seen]],
                "value": self.interactions.value[seen],
                "contribution": parts,
            }
        ).sort_values("contribution", ascending=False, ignore_index=True, kind="stable")
        reported = float(jnp.dot(self.factors.user[row], self.factors.item[column], precision="highest"))
        frame.attrs = {"score": float(parts.sum()), "unsettled": reported - float(parts.sum())}
        return frame

    def fold_in(self, interactions: Interactions, side: Side = "user") -> "Recommender":
        """Add users (or items) that were not seen in training, each solved exactly against the other table.

        Args:
            interactions: What the new users did. Their items are looked up by raw id; users already known are solved
                anew, and these interactions replace theirs.
            side: Which side is new.

        Returns:
            A recommender over the known and the new ones, the new ones last.

        Raises:
            UnknownIdError: An interaction's other side is not in the catalog.
            ConfigurationError: There is no objective.
        """
        known = self.catalog.users if side == "user" else self.catalog.items
        given = interactions.catalog.users if side == "user" else interactions.catalog.items
        new_ids = known.append(given[~given.isin(known)])
        catalog = Catalog(new_ids, self.catalog.items) if side == "user" else Catalog(self.catalog.users, new_ids)
        user = catalog.user_indices(interactions.catalog.users)[interactions.user]
        item = catalog.item_indices(interactions.catalog.items)[interactions.item]
        folded = Interactions.from_arrays(user, item, interactions.value, catalog=catalog)
        changed = new_ids.get_indexer(given)

        old = self.interactions
        keep = ~np.isin(old.user if side == "user" else old.item, changed)
        merged = Interactions.from_arrays(
            np.concatenate([old.user[keep], folded.user]),
            np.concatenate([old.item[keep], folded.item]),
            np.concatenate([old.value[keep], folded.value]),
            catalog=catalog,
        )
        before = self.factors.user if side == "user" else self.factors.item
        table = jnp.pad(before, ((0, len(new_ids) - len(before)), (0, 0)))
        table = table.at[changed].set(self.solve(folded, side)[changed])
        factors = dataclasses.replace(self.factors, **{side: table})
        return Recommender(factors, merged, self.objective)

    def settled(self) -> "Recommender":
        """Solve every user exactly against the current items.

        A sweep ends with the items, so users lag half a sweep behind; settled ones score as their fold-in would, and
        `explain` accounts for all of it.
        """
        return dataclasses.replace(
            self, factors=dataclasses.replace(self.factors, user=self.solve(self.interactions, "user"))
        )

    # By index

    def top_items(
        self,
        users: Int[np.ndarray, " batch"],
        n: int = 10,
        exclude_seen: bool = True,
        items: Int[np.ndarray, " candidates"] | None = None,
        exclude: Int[np.ndarray, " excluded"] | None = None,
        scale: Scale = "raw",
    ) -> tuple[Int[np.ndarray, "batch n"], Float[np.ndarray, "batch n"]]:
        """Rank items for user indices: `recommend` on arrays.

        Returns:
            Item indices and scores, best first, ties by lower index; index -1 and score -inf where nothing is left.
        """
        require_at_least("n", n, 1)
        if scale not in ("raw", "unit"):
            raise ConfigurationError(f'`scale` must be "raw" or "unit"; got {scale!r}.')
        allowed = np.full(self.interactions.n_items, items is None)
        if items is not None:
            allowed[items] = True
        if exclude is not None:
            allowed[exclude] = False
        return rank_columns(
            self.factors, np.asarray(users), n, allowed, self.interactions if exclude_seen else None, scale == "unit"
        )

    def nearest(
        self, rows: Int[np.ndarray, " batch"], n: int = 10, side: Side = "item", measure: Measure = "cosine"
    ) -> tuple[Int[np.ndarray, "batch n"], Float[np.ndarray, "batch n"]]:
        """Rank the rows of a table most alike to the given ones, themselves left out; padded like `top_items`."""
        require_at_least("n", n, 1)
        if measure not in ("cosine", "dot"):
            raise ConfigurationError(f'`measure` must be "cosine" or "dot"; got {measure!r}.')
        table = self.factors.item if side == "item" else self.factors.user
        return nearest_rows(table, np.asarray(rows), n, measure == "cosine")

    def contributions(self, user: int, item: int) -> tuple[Int[np.ndarray, " seen"], Float[np.ndarray, " seen"]]:
        """Return the entries of a user, as positions in `interactions`, and what each adds to an item's score."""
        starts = np.searchsorted(self.interactions.user, [user, user + 1])
        entries = np.arange(*starts)
        # Powers of two: compiled for few lengths.
        padding = (0, (1 << max(len(entries) - 1, 0).bit_length()) - len(entries))
        parts = contributions(
            jnp.asarray(self.factors.item),
            jnp.asarray(np.pad(self.interactions.item[entries], padding)),
            jnp.asarray(np.pad(self.interactions.value[entries], padding), self.factors.item.dtype),
            jnp.asarray(item, jnp.int32),
            self._objective(),
        )
        return entries, np.asarray(parts)[: len(entries)]

    def solve(self, interactions: Interactions, side: Side = "user") -> Float[Array, "rows factors"]:
        """Solve all rows of one side of `interactions` exactly against the other side's table."""
        other = jnp.asarray(self.factors.item if side == "user" else self.factors.user)
        tiles = build_tiles(interactions, side, factors=other.shape[1], dtype=other.dtype)
        return half_step(tiles, other, self._objective(), Cholesky())[0]

    # Files

    def save(self, folder: str | os.PathLike) -> None:
        """Write the model, ids and interactions included, to a folder; see `Recommender.load`."""
        checkpoint.save_model(folder, self.factors, self.interactions, self.objective)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "Recommender":
        """Read a model that `save` or `jaxals fit` wrote.

        Raises:
            CheckpointError: The folder is missing, is not a model, or is damaged.
        """
        return cls(*checkpoint.load_model(folder))

    def _objective(self) -> Objective:
        if self.objective is None:
            raise ConfigurationError("This needs the objective: pass `Recommender(factors, interactions, objective)`.")
        return self.objective


def _as_list(ids: Any) -> list:
    # A tuple may be one id, except the empty one, which stands for none.
    if isinstance(ids, (list, np.ndarray, pd.Series, pd.Index)) or ids == ():
        return list(ids)
    return [ids]


def _ranking(
    asked: np.ndarray,
    found: np.ndarray,
    scores: np.ndarray,
    asked_ids: pd.Index,
    found_ids: pd.Index,
    names: tuple[str, str],
) -> pd.DataFrame:
    row, place = np.nonzero(found >= 0)
    return pd.DataFrame(
        {
            names[0]: asked_ids[asked[row]],
            names[1]: found_ids[found[row, place]],
            "score": scores[row, place],
            "rank": place + 1,
        }
    )
