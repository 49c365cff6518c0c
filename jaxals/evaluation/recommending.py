"""Recommendations by any scorer, baselines among them, to look at beside those of a `Recommender`. Host side."""

from typing import Any

from jaxals._base.arguments import require_flag
from jaxals._base.checks import require_integer
from jaxals.data.frames import Library, require_library, to_library
from jaxals.data.interactions import Interactions, require_interactions
from jaxals.evaluation.ranking import Scorer, require_scorer
from jaxals.recommend.asked import Ids, listed_ids
from jaxals.recommend.ids import Ids as KnownIds
from jaxals.recommend.ranking import rank_scores, ranking_frame


def recommend_with(
    scorer: Scorer,
    train: Interactions,
    users: Ids,
    n: int = 10,
    exclude_seen: bool = True,
    frame: Library = "pandas",
) -> Any:
    """Rank the items that a scorer puts highest for users.

    Args:
        scorer: A pytree with `scores(users)`, such as what `EASE().fit(train)` returns.
        train: What the scorer was trained on; has the raw ids.
        users: Raw user ids, as `Recommender.recommend` takes them.
        n: How many items each, at least 1; fewer where fewer are left.
        exclude_seen: Leave out what a user has in `train`.
        frame: "pandas", "polars" or "pyarrow": whose frame the answer is to be.

    Returns:
        Columns user, item, score and rank (from 1), best first within each user; ties by the order of the catalog.
        Users and items that the scorer says it knows nothing of are left out (see `Scorer`): no user without entries
        gets anything from `EASE`, but everyone from `Popularity`.

    Raises:
        UnknownIdError: A user is not in the catalog.
        ConfigurationError: `n` is below 1, or the answer does not fit into memory.
        MissingDependencyError: The library of `frame` is not installed.

    Example:
        >>> import pandas as pd
        >>> import jaxals
        >>> from jaxals.evaluation import Popularity, recommend_with
        >>> plays = pd.DataFrame({"user": [*"aabbc"], "item": [*"xyxzy"]})
        >>> train = jaxals.Interactions.from_frame(plays, value=None)
        >>> recommend_with(Popularity.from_interactions(train), train, ["b", "c"], n=1)["item"].tolist()
        ['y', 'x']
    """
    require_interactions("train", train)
    require_integer("n", n, 1)
    require_flag("exclude_seen", exclude_seen)
    require_library(frame)
    require_scorer(scorer, 1, train.shape)
    indices = train.catalog.user_indices(listed_ids("users", users, KnownIds.of(train.catalog, "user")))
    found, scores = rank_scores(scorer, indices, min(n, train.n_items), train.n_items, train if exclude_seen else None)
    lists = ranking_frame(indices, found, scores, train.catalog.users, train.catalog.items, ("user", "item"))
    return to_library(lists, frame)
