"""A trained model at work: recommendations, similar rows, explanations and fold-in. Host side."""

import dataclasses
import functools
import os
from collections.abc import Hashable
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from jaxals._base.arguments import require_flag
from jaxals._base.checks import require_integer, require_one_of, require_side
from jaxals._base.settings import shown
from jaxals.data.catalog import Catalog, Side
from jaxals.data.frames import Library, require_library, to_library
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.errors import ConfigurationError, DataError
from jaxals.models import model as models
from jaxals.objective.factors import Factors, require_shape
from jaxals.objective.objective import Objective, require_objective
from jaxals.recommend.asked import Ids, listed_ids
from jaxals.recommend.evidence import SHRINKAGE, require_shrinkage
from jaxals.recommend.fold_in import Model, solve_side
from jaxals.recommend.ranking import candidates, checked_indices, rank_columns, ranking_frame
from jaxals.recommend.rows import objective_of, singular, split_score
from jaxals.recommend.runs import trained
from jaxals.recommend.tables import is_finite

Similarity = Literal["cosine", "dot"]
Scale = Literal["raw", "unit"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Recommender:
    """Factors, the interactions they were trained on, and the ids of both.

    Methods named after what a person asks take raw ids (one, or a list of them) and return DataFrames; `top_items`,
    `nearest`, `contributions` and `solve` are the same by index, on arrays. Users without interactions get empty
    recommendations.

    Attributes:
        factors: Both tables.
        interactions: What was seen in training, with the catalog of raw ids.
        objective: What the factors minimise; `explain` and `fold_in` need it.
        is_non_negative: Whether rows that are solved for shall have no factor below 0, as `NonNegative` trains them.

    Raises:
        DataError: Factors and interactions are not of one shape, or a factor is not finite.

    Example:
        >>> import jaxals
        >>> data = jaxals.datasets.synthetic(n_users=50, n_items=30, n_interactions=400, seed=0)
        >>> run = jaxals.fit(data, jaxals.Objective.hkv(), jaxals.ALS(factors=4, sweeps=3), progress=False)
        >>> recommender = jaxals.Recommender.from_run(run, data)
        >>> list(recommender.recommend(7, n=3).columns)
        ['user', 'item', 'score', 'rank']
    """

    factors: Factors
    interactions: Interactions
    objective: Objective | None = None
    is_non_negative: bool = False

    def __post_init__(self) -> None:
        require_interactions("interactions", self.interactions)
        require_shape(self.factors, self.interactions.shape)
        if self.objective is not None:
            require_objective("objective", self.objective)
        require_flag("is_non_negative", self.is_non_negative)
        if not (is_finite(jnp.asarray(self.factors.user)) and is_finite(jnp.asarray(self.factors.item))):
            raise DataError("A factor is not finite; the training that made it may have diverged.")

    @classmethod
    def from_run(cls, run: Any, interactions: Interactions) -> "Recommender":
        """Make a recommender of what a training or a search gave back, and of the data that it trained on.

        `settled`, `fold_in` and `explain` solve for the objective alone: they know nothing of the penalty or the loss
        of observed pairs that a `Gradient` was given, nor of a solver of one's own, but for its `is_non_negative`.

        Args:
            run: From `fit`, `tune`, `hyper.fit_many` or `hyper.tune_by_gradient`; of several models the best.
            interactions: What it was trained on.

        Returns:
            A recommender by the raw ids of the interactions.

        Raises:
            ConfigurationError: The search kept no factors.
            DataError: It was trained on other users and items, or a factor is not finite.
        """
        factors, objective, is_non_negative = trained(run)
        return cls(factors, interactions, objective, is_non_negative)

    def __getattr__(self, name: str) -> Any:
        # What `fold_in` made has its model alone, until someone asks for all of a table or of the entries.
        if name not in ("factors", "interactions") or "_model" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        vars(self)[name] = getattr(self._model, name)()
        return vars(self)[name]

    @functools.cached_property
    def _model(self) -> Model:
        return Model.of(self.factors, self.interactions)

    @property
    def catalog(self) -> Catalog:
        """Raw ids of users and items."""
        return self._model.catalog

    def __repr__(self) -> str:
        return f"Recommender({self.factors.item.shape[1]} factors, {self.interactions!r}, {shown(self.objective)})"

    # By raw id

    def recommend(
        self,
        users: Ids,
        n: int = 10,
        exclude_seen: bool = True,
        items: Ids | None = None,
        exclude: Ids | None = None,
        scale: Scale = "raw",
        frame: Library = "pandas",
    ) -> Any:
        """Rank the items that users are most likely to want next.

        Args:
            users: One raw user id, or several (list, set, array, Series, keys of a dictionary, column of polars or
                Arrow), or a mask of True or False for each user of the catalog.
            n: How many items each; fewer where fewer are left.
            exclude_seen: Leave out what a user already interacted with.
            items: Raw ids of the only items to consider, by default all.
            exclude: Raw ids of items to leave out, by default none.
            scale: "raw" scores, or "unit": a user's scores stretched so that the best candidate has 1 and the worst 0.
            frame: "pandas", "polars" or "pyarrow": whose frame the answer is to be.

        Returns:
            Columns user, item, score and rank (from 1), best first within each user; no items without interactions.

        Raises:
            UnknownIdError: A user or item is not in the catalog.
            MissingDependencyError: The library of `frame` is not installed.
        """
        require_integer("n", n, 1)
        require_library(frame)
        user_ids, item_ids = self._model.user_ids, self._model.item_ids
        indices = user_ids.indices(listed_ids("users", users, user_ids))
        chosen = lambda name, ids: None if ids is None else item_ids.indices(listed_ids(name, ids, item_ids))
        allowed, excluded = chosen("items", items), chosen("exclude", exclude)
        found, scores = self.top_items(indices, min(n, len(item_ids)), exclude_seen, allowed, excluded, scale)
        return to_library(ranking_frame(indices, found, scores, user_ids, item_ids, ("user", "item")), frame)

    def similar_items(
        self,
        items: Ids,
        n: int = 10,
        measure: Similarity = "cosine",
        shrinkage: float = SHRINKAGE,
        frame: Library = "pandas",
    ) -> Any:
        """Rank the items most alike to each of `items`, itself left out.

        Args:
            items: One raw item id, or several, as in `recommend`.
            n: How many each.
            measure: "cosine" of the vectors, or their "dot" product, which favours popular items.
            shrinkage: s: a cosine with an item of k entries counts k / (k + s), so that an item of one user is not like
                all that this user has. 0 for cosines as they are; dot products are never shrunk.
            frame: What to answer in, as in `recommend`.

        Returns:
            Columns item, similar_item, score and rank (from 1).

        Raises:
            ConfigurationError: `n`, `measure` or `shrinkage` is out of range.
            UnknownIdError: An item is not in the catalog.
        """
        return self._similar("item", items, n, measure, shrinkage, frame)

    def similar_users(
        self,
        users: Ids,
        n: int = 10,
        measure: Similarity = "cosine",
        shrinkage: float = SHRINKAGE,
        frame: Library = "pandas",
    ) -> Any:
        """Rank the users most alike to each of `users`; as `similar_items`, with columns user and similar_user."""
        return self._similar("user", users, n, measure, shrinkage, frame)

    def _similar(self, side: Side, given: Ids, n: int, measure: Similarity, shrinkage: float, frame: Library) -> Any:
        require_integer("n", n, 1)
        require_library(frame)
        ids = self._model.item_ids if side == "item" else self._model.user_ids
        indices = ids.indices(listed_ids(f"{side}s", given, ids))
        found, scores = self.nearest(indices, min(n, len(ids)), side, measure, shrinkage)
        return to_library(ranking_frame(indices, found, scores, ids, ids, (side, f"similar_{side}")), frame)

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
            ConfigurationError: There is no objective, or the model is non-negative.
            NumericalError: The user's system is singular.
        """
        model = self._model
        row, column = model.user_ids.indices([user]), model.item_ids.indices([item])
        _, seen, value = model.histories.of_users(row)
        _, parts = self.contributions(int(row[0]), int(column[0]))
        frame = pd.DataFrame({"item": model.item_ids.take(seen), "value": value, "contribution": parts}).sort_values(
            "contribution", ascending=False, ignore_index=True, kind="stable"
        )
        reported = float(model.user.read(row)[0] @ model.item.read(column)[0])
        frame.attrs = {"score": float(parts.sum()), "unsettled": reported - float(parts.sum())}
        return frame

    def fold_in(self, interactions: Interactions, side: Side = "user") -> "Recommender":
        """Add users (or items) that were not seen in training, each solved exactly against the other table.

        Args:
            interactions: What the new users did. Their items are looked up by raw id; users already known are solved
                anew, and these interactions replace theirs. Ids of its catalog without entries change nothing.
            side: "user" or "item": which one is new.

        Returns:
            A recommender over the known and the new ones, the new ones last. It shares with this one what they have
            in common, and this one answers as before.

        Raises:
            UnknownIdError: An interaction's other side is not in the catalog.
            ConfigurationError: There is no objective, or `side` is neither.
            NumericalError: A system is singular.
        """
        require_side(side)
        require_interactions("interactions", interactions)
        objective = self._objective()
        grown = object.__new__(Recommender)
        model = self._model.grown(interactions, side, objective, self.is_non_negative)
        vars(grown).update(objective=objective, is_non_negative=self.is_non_negative, _model=model)
        return grown

    def settled(self) -> "Recommender":
        """Return a recommender with the same items, every user solved exactly against them.

        A sweep ends with the items, so users lag half a sweep behind; settled ones score as their fold-in would, and
        `explain` accounts for all of it.

        Raises:
            ConfigurationError: There is no objective.
            NumericalError: A user's system is singular.
        """
        return dataclasses.replace(self, factors=Factors(self.solve(self.interactions, "user"), self.factors.item))

    # By index, and files

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

        Args:
            users: User indices.
            n: How many items each, at least 1.
            exclude_seen: Leave out what a user already interacted with.
            items: Indices of the only items to consider, by default all.
            exclude: Indices of items to leave out.
            scale: "raw" or "unit", as in `recommend`.

        Returns:
            Item indices (int32) and scores (the factors' dtype), best first, ties by lower index; index -1 and
            score -inf where nothing is left.

        Raises:
            DataError: An index lies outside the catalog.
            ConfigurationError: `n` or `scale` is out of range, or the answer does not fit into memory.
        """
        require_integer("n", n, 1)
        require_flag("exclude_seen", exclude_seen)
        require_one_of("scale", scale, "raw", "unit")
        model = self._model
        rows = checked_indices("users", users, len(model.user))
        allowed, seen = candidates(len(model.item), items, exclude), model.histories if exclude_seen else None
        return rank_columns(model.user, model.item, rows, n, allowed, seen, scale == "unit")

    def nearest(
        self,
        rows: Int[np.ndarray, " batch"],
        n: int = 10,
        side: Side = "item",
        measure: Similarity = "cosine",
        shrinkage: float = SHRINKAGE,
    ) -> tuple[Int[np.ndarray, "batch n"], Float[np.ndarray, "batch n"]]:
        """Rank the rows of a table most alike to the given ones, themselves left out.

        Args:
            rows: Indices of items, or of users where `side` is "user".
            n: How many rows each, at least 1.
            side: "item" or "user": the table.
            measure: "cosine" of the vectors, or their "dot" product.
            shrinkage: Of cosines with rows of few entries, as in `similar_items`.

        Returns:
            Row indices (int32) and scores (the table's dtype), best first, padded as in `top_items`.

        Raises:
            DataError: An index lies outside the table.
            ConfigurationError: An argument is out of range, or the answer does not fit into memory.
        """
        require_integer("n", n, 1)
        require_side(side)
        require_one_of("measure", measure, "cosine", "dot")
        require_shrinkage(shrinkage)
        return self._model.nearest(side, rows, n, None if measure == "dot" else shrinkage)

    def contributions(self, user: int, item: int) -> tuple[Int[np.ndarray, " seen"], Float[np.ndarray, " seen"]]:
        """Split an item's score into what each entry of a user adds: `explain` on arrays.

        Args:
            user: User index.
            item: Item index.

        Returns:
            Positions of the user's entries in `interactions`, and what each adds, in the factors' dtype.

        Raises:
            DataError: An index lies outside the catalog.
            ConfigurationError: There is no objective, or the model is non-negative.
            NumericalError: The user's system is singular.
        """
        model = self._model
        users = checked_indices("user", [user], len(model.user))
        target = checked_indices("item", [item], len(model.item))
        objective = self._objective()
        if self.is_non_negative:
            raise ConfigurationError("`explain` is for models whose factors may be below 0; this one is non-negative.")
        entries = model.histories.of_users(users)[1:]
        parts = split_score(model.item, target, *entries, objective_of(objective, "user", users, len(model.user)))
        if not np.isfinite(parts).all():
            raise singular(f"The system of user index {user} is", objective)
        return model.histories.first_entry(user) + np.arange(len(parts)), parts

    def solve(self, interactions: Interactions, side: Side = "user") -> Float[Array, "rows factors"]:
        """Solve all rows of one side of `interactions` exactly against the other side's table.

        Args:
            interactions: Entries of the rows to solve; the other side is this model's, index by index.
            side: "user" or "item": the rows.

        Returns:
            One row per user (or item) of `interactions`, in the other table's dtype; zero without entries.

        Raises:
            DataError: The other side has another length than this model's.
            ConfigurationError: There is no objective, or `side` is neither.
            NumericalError: A row's system is singular.
        """
        require_side(side)
        require_interactions("interactions", interactions)
        return solve_side(interactions, side, self.factors, self._objective(), self.is_non_negative)

    def save(self, folder: str | os.PathLike) -> None:
        """Write the model, ids and interactions included, to a folder; see `Recommender.load`."""
        models.save_model(folder, self.factors, self.interactions, self.objective, self.is_non_negative)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "Recommender":
        """Read a model that `save` or `jaxals fit` wrote to a folder.

        Raises:
            CheckpointError: The folder is missing, is not a model, or is damaged.
        """
        return cls(*models.load_parts(folder))

    def _objective(self) -> Objective:
        if self.objective is None:
            raise ConfigurationError("This needs the objective: pass `Recommender(factors, interactions, objective)`.")
        return self.objective
