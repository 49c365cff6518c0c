"""What a model says: recommendations, similar rows, explanations, by arrays. Host side."""

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse

from jaxals._base.checks import require_integer
from jaxals.errors import DataError
from jaxals.implicit_api._ids import Noun, chosen_rows
from jaxals.implicit_api._inputs import norms_of
from jaxals.implicit_api._matrices import restrict
from jaxals.implicit_api._ranking import rank

Ranked = tuple[np.ndarray, np.ndarray]


def recommend(table: np.ndarray, users: np.ndarray, n: Any, liked: Any, filtered: Any, chosen: Any) -> Ranked:
    """Rank items for users by the product of their vectors.

    Args:
        table: Of items.
        users: Vectors, users x factors.
        n: How many items each, at most as many as are `chosen`.
        liked: CSR matrix of users x items that come last, or None.
        filtered: Ids that come last for everyone, or None.
        chosen: Ids of the only items to rank, or None.
    """
    require_integer("N", n, 0)
    filtered, chosen = _selections(("filter_items", filtered), ("items", chosen), len(table), "item", "recommend")
    if chosen is None:
        return rank(table, users, int(n), liked=liked, filtered=filtered)
    chosen = np.sort(chosen)
    liked = liked if liked is None or not chosen.size else restrict(liked, chosen)
    ids, scores = rank(table[chosen], users, min(int(n), len(chosen)), liked=liked)
    return chosen[ids], scores


def similar(table: np.ndarray, vectors: np.ndarray, n: Any, filtered: Any, chosen: Any, noun: Noun) -> Ranked:
    """Rank the rows of a table by cosine with vectors; arguments as in `recommend`."""
    require_integer("N", n, 0)
    n = int(n)  # whatever its width
    names = (f"filter_{noun}s", filtered), (f"{noun}s", chosen)
    filtered, chosen = _selections(*names, len(table), noun, f"similar_{noun}s")
    if chosen is not None:
        # No more than there are: whatever filled the list up would stand above rows of a negative cosine.
        table, n = table[chosen], min(n, len(chosen))
    ids, scores = rank(table, vectors, n, norms_of(table), filtered=filtered)
    with np.errstate(over="ignore"):  # the lowest float, of what is filtered, may become -inf, as in implicit
        scores = scores / norms_of(vectors)[:, None]
    return (ids if chosen is None else chosen[ids]), scores


def explain(row: Any, table: np.ndarray, itemid: int, weights: Any, n: Any) -> tuple[float, list]:
    """Split the score of an item into what each liked one adds.

    Args:
        row: The user's confidences, a CSR matrix of one row.
        table: Of items.
        itemid: Whose score.
        weights: The Cholesky factor of the user's matrix.
        n: How many contributions to list.
    """
    require_integer("N", n, 0)
    liked, confidence = row.indices[row.data >= 0], row.data[row.data >= 0]
    parts = confidence * (table[liked] @ scipy.linalg.cho_solve(weights, table[itemid]))
    largest = sorted(zip(parts, liked, strict=True), reverse=True)[:n]
    return parts.sum(), [(item, part) for part, item in largest]


def require_weights_of_user(weights: Any, width: int) -> None:
    """Refuse what is no Cholesky factor as an earlier call of `explain` returned it."""
    is_pair = isinstance(weights, tuple) and len(weights) == 2
    factor = weights[0] if is_pair else None
    if not isinstance(factor, np.ndarray) or factor.shape != (width, width) or factor.dtype.kind != "f":
        raise DataError(
            "`user_weights` must be the third value that an earlier call of `explain` returned; "
            f"got {type(weights).__name__}."
        )


def _selections(
    filtered: tuple[str, Any], chosen: tuple[str, Any], n_rows: int, noun: Noun, caller: str
) -> tuple[np.ndarray | None, np.ndarray | None]:
    hidden, wanted = (None if ids is None else chosen_rows(name, ids, n_rows, noun) for name, ids in (filtered, chosen))
    if wanted is not None and hidden is not None and len(hidden):
        raise DataError(f"Can't set both {chosen[0]} and {filtered[0]} in {caller} call")
    return hidden, wanted
