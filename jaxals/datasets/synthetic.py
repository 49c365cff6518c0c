"""Synthetic interactions with power-law popularity and planted tastes, fast at tens of millions. Host side."""

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxals._base.arguments import told
from jaxals._base.checks import require_integer, require_number
from jaxals._base.memory import require_memory
from jaxals.data.catalog import Catalog
from jaxals.data.interactions import Interactions
from jaxals.errors import ConfigurationError

# Flattens the head of the power law: of 160,000 items the favourite then gets 0.6 % of all draws. From a head of 1 it
# would get 8 %, more than one for each user where users have 47 items on average.
_HEAD = 20
# Larger ones are infinite as powers, or as exponentials.
_MOST_EXPONENT = 300
# Draws by taste that hit an item twice are redrawn this often, then uniformly: heavy users exhaust their tastes.
_TASTE_ROUNDS = 8
# Measured at the peak: 42 bytes for each of 2M interactions, under 20 for each user and item.
_BYTES_EACH = 48
# Up to here memory is not asked for: that wakes JAX, and how many devices it has cannot be set afterwards.
_SMALL_BYTES = 2**30


def synthetic(
    n_users: int = 1000,
    n_items: int = 500,
    n_interactions: int = 20_000,
    *,
    n_groups: int = 8,
    affinity: float = 0.7,
    popularity_exponent: float = 1.0,
    activity_spread: float = 1.0,
    seed: int = 0,
) -> Interactions:
    """Generate play counts with power-law items, heavy-tailed users, and tastes that a factor model can find.

    Users and items each belong to one of `n_groups` groups. A draw of a user stays within the group's items with
    probability `affinity`, and falls on any item otherwise; within either, the k-th most popular item is drawn in
    proportion to (20 + k)^-popularity_exponent (Zipf and Mandelbrot). How many items a user has is log-normal, how
    often each was played is log-normal too, and twice as high inside the user's group.

    Args:
        n_users: Number of users, each with at least one interaction if there are enough.
        n_items: Number of items; a few may have no interaction.
        n_interactions: Number of (user, item) pairs, exactly; at most half of all pairs.
        n_groups: Number of groups of taste.
        affinity: Share of draws within the user's own group, 0 (popularity alone) to 1.
        popularity_exponent: Steepness of the power law, >= 0.
        activity_spread: Standard deviation of the logarithm of the users' counts, >= 0.
        seed: The same seed gives the same interactions.

    Returns:
        Interactions with ids 0, 1, 2, ... and whole numbers >= 1 as values.

    Raises:
        ConfigurationError: A number is out of its range, or there is not enough memory.

    Example:
        >>> import jaxals
        >>> jaxals.datasets.synthetic(n_users=100, n_items=50, n_interactions=800, seed=3)
        Interactions(100 users x 50 items, 800 entries, density 0.16)
    """
    require_integer("seed", seed, 0)
    _check(n_users, n_items, n_interactions, n_groups, affinity, popularity_exponent, activity_spread)
    if (need := _BYTES_EACH * (n_users + n_items + n_interactions + n_groups)) > _SMALL_BYTES:
        require_memory(need, f"Generating {n_interactions:,} interactions", "take fewer")
    rng = np.random.default_rng(seed)
    user_group = rng.integers(n_groups, size=n_users, dtype=np.int32)
    item_group = rng.integers(n_groups, size=n_items, dtype=np.int32)
    popularity = rng.permutation((_HEAD + np.arange(n_items)) ** -float(popularity_exponent))
    counts = _activity(rng, n_users, n_items, n_interactions, activity_spread)
    keys = _pairs(rng, counts, user_group, item_group, popularity, affinity)
    user, item = (keys // n_items).astype(np.int32), (keys % n_items).astype(np.int32)
    del keys
    value = _plays(rng, user_group[user] == item_group[item])
    return Interactions(user, item, value, Catalog(range(n_users), range(n_items)))


def _check(
    n_users: int, n_items: int, n_interactions: int, n_groups: int, affinity: float, exponent: float, spread: float
) -> None:
    for name, count in (("n_users", n_users), ("n_groups", n_groups), ("n_interactions", n_interactions)):
        require_integer(name, count, 1)
    require_integer("n_items", n_items, 2)
    if n_interactions > n_users * (n_items // 2):
        raise ConfigurationError(
            f"`n_interactions` must be at most half of all pairs, {n_users * (n_items // 2)}; got {n_interactions}."
        )
    require_number("affinity", affinity, "a number from 0 to 1")
    if not 0 <= affinity <= 1:
        raise ConfigurationError(f"`affinity` must be between 0 and 1; got {told(affinity)}.")
    for name, number in (("popularity_exponent", exponent), ("activity_spread", spread)):
        require_number(name, number)
        if not 0 <= number <= _MOST_EXPONENT:
            raise ConfigurationError(f"`{name}` must be >= 0 and finite; got {told(number)}.")


def _activity(
    rng: np.random.Generator, n_users: int, n_items: int, n_interactions: int, spread: float
) -> Int[np.ndarray, " users"]:
    """Share the interactions out among the users, log-normally, none above half of the items."""
    weight = rng.lognormal(sigma=spread, size=n_users)
    most = n_items // 2
    counts = np.full(n_users, int(n_interactions >= n_users), np.int64)
    while left := n_interactions - int(counts.sum()):
        open_weight = np.where(counts < most, weight, 0.0)
        share = np.cumsum(open_weight) * (left / open_weight.sum())
        share[-1] = left
        # Differences of a rounded cumulative sum add up to `left` exactly, each within 1 of what it should be.
        counts = np.minimum(counts + np.diff(np.rint(share).astype(np.int64), prepend=0), most)
    return counts


def _pairs(
    rng: np.random.Generator,
    counts: Int[np.ndarray, " users"],
    user_group: Int[np.ndarray, " users"],
    item_group: Int[np.ndarray, " items"],
    popularity: Float[np.ndarray, " items"],
    affinity: float,
) -> Int[np.ndarray, " entries"]:
    """Draw `counts` distinct items for each user; return user * n_items + item, ascending."""
    n_items, n_groups = len(item_group), int(user_group.max()) + 1
    by_group = np.argsort(item_group, kind="stable").astype(np.int32)
    cumulative = np.concatenate([[0.0], np.cumsum(popularity[by_group])])
    bounds = cumulative[np.searchsorted(item_group[by_group], np.arange(n_groups + 1))]
    keys = np.empty(0, np.int64)
    missing, attempt = counts, 0
    while missing.any():
        user = np.repeat(np.arange(len(counts), dtype=np.int32), missing)
        if attempt < _TASTE_ROUNDS:
            item = by_group[_by_taste(rng, user_group[user], cumulative, bounds, affinity)]
        else:
            item = rng.integers(n_items, size=len(user), dtype=np.int32)
        drawn = np.sort(user * np.int64(n_items) + item)
        # Not np.unique: it hashes first, and took 40 s for 17M keys where sorting takes 1 s.
        drawn = drawn[np.concatenate([[True], drawn[1:] != drawn[:-1]])]
        # A user never draws more than is missing, so all that is new may stay.
        drawn = drawn[~_contains(keys, drawn)]
        keys = np.sort(np.concatenate([keys, drawn]), kind="stable")  # stable: merges two sorted runs in linear time
        missing = counts - np.bincount(keys // n_items, minlength=len(counts))
        attempt += 1
    return keys


def _by_taste(
    rng: np.random.Generator,
    group: Int[np.ndarray, " draws"],
    cumulative: Float[np.ndarray, " items_plus_1"],
    bounds: Float[np.ndarray, " groups_plus_1"],
    affinity: float,
) -> Int[np.ndarray, " draws"]:
    """Draw positions in the order by group, by inverting the cumulative popularity."""
    point = rng.random(len(group))
    inside = rng.random(len(group), np.float32) < affinity
    low = np.where(inside, bounds[group], 0.0)
    point *= np.where(inside, bounds[group + 1], cumulative[-1]) - low
    point += low
    # Clipped, since rounding may lift a point onto the very end.
    return np.minimum(np.searchsorted(cumulative, point, side="right") - 1, len(cumulative) - 2)


def _contains(keys: Int[np.ndarray, " keys"], wanted: Int[np.ndarray, " wanted"]) -> Bool[np.ndarray, " wanted"]:
    if not len(keys):
        return np.zeros(len(wanted), bool)
    return keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted


def _plays(rng: np.random.Generator, inside: Bool[np.ndarray, " entries"]) -> Float[np.ndarray, " entries"]:
    """Draw how often each pair was played: log-normal with median 4, or 8 inside the user's group, at least 1."""
    plays = rng.standard_normal(len(inside), np.float32)
    plays *= np.float32(1.5)
    np.exp(plays, out=plays)
    plays *= np.where(inside, np.float32(8), np.float32(4))
    return np.ceil(plays, out=plays)
