import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import svds

from jaxals.datasets import synthetic
from jaxals.errors import ConfigurationError


@settings(deadline=None, max_examples=60)
@given(
    n_users=st.integers(1, 40),
    n_items=st.integers(2, 40),
    density=st.floats(0.0, 1.0),
    n_groups=st.integers(1, 50),
    affinity=st.floats(0.0, 1.0),
    exponent=st.floats(0.0, 3.0),
    spread=st.floats(0.0, 4.0),
    seed=st.integers(0, 99),
)
def test_exact_sorted_and_unique(
    n_users: int,
    n_items: int,
    density: float,
    n_groups: int,
    affinity: float,
    exponent: float,
    spread: float,
    seed: int,
) -> None:
    n_interactions = max(1, int(density * n_users * (n_items // 2)))
    data = synthetic(
        n_users,
        n_items,
        n_interactions,
        n_groups=n_groups,
        affinity=affinity,
        popularity_exponent=exponent,
        activity_spread=spread,
        seed=seed,
    )
    assert data.shape == (n_users, n_items)
    assert len(data) == n_interactions
    assert (data.user.dtype, data.item.dtype, data.value.dtype) == (np.int32, np.int32, np.float32)
    assert data.item.min() >= 0
    assert data.item.max() < n_items
    assert (np.diff(data.user.astype(np.int64) * n_items + data.item) > 0).all()
    assert (data.value >= 1).all()
    assert (data.value == np.rint(data.value)).all()
    if n_interactions >= n_users:
        assert data.counts().min() >= 1
    assert data.counts().max() <= n_items // 2


def test_seed_decides() -> None:
    first, again, other = synthetic(seed=4), synthetic(seed=4), synthetic(seed=5)
    for name in ("user", "item", "value"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.item, other.item)


def test_popularity_is_a_power_law() -> None:
    data = synthetic(20_000, 5_000, 400_000, popularity_exponent=1.0, seed=1)
    popularity = np.sort(data.counts("item"))[::-1]
    # Mandelbrot's law with a head of 20, far from the head: slope -1 in logarithms. The counts at the tail are near 20,
    # so a rank's mean over a decade is good to some percent.
    rank = np.arange(len(popularity))
    slope = np.polyfit(np.log(20 + rank), np.log(popularity), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.1)
    flat = synthetic(20_000, 5_000, 400_000, popularity_exponent=0.0, seed=1).counts("item")
    assert flat.std() < 0.2 * flat.mean()


def test_activity_is_heavy_tailed() -> None:
    counts = synthetic(20_000, 5_000, 400_000, activity_spread=1.0, seed=1).counts()
    # A log-normal's mean over its median is exp(spread² / 2), 1.65 here.
    assert counts.mean() / np.median(counts) == pytest.approx(1.65, rel=0.1)
    assert counts.max() > 20 * np.median(counts)
    even = synthetic(20_000, 5_000, 400_000, activity_spread=0.0, seed=1).counts()
    assert even.max() - even.min() <= 1


def hit_rate(scores: np.ndarray, seen: np.ndarray, hidden: np.ndarray, n: int = 20) -> float:
    ranked = np.argsort(np.where(seen, -np.inf, scores), axis=1)[:, ::-1][:, :n]
    return int(np.sum(np.take_along_axis(hidden, ranked, axis=1))) / int(np.sum(hidden))


@pytest.mark.parametrize(("affinity", "factors_win"), [(0.8, True), (0.0, False)])
def test_factors_beat_popularity_where_tastes_are_planted(affinity: float, factors_win: bool) -> None:
    data = synthetic(600, 300, 12_000, n_groups=6, affinity=affinity, seed=2)
    hide = np.random.default_rng(0).random(len(data)) < 0.2
    seen, hidden = (np.asarray(data.select(part).to_scipy().todense()) > 0 for part in (~hide, hide))
    left, singular, right = svds(seen.astype(float), k=6, random_state=0)
    popular = hit_rate(np.tile(seen.sum(axis=0), (len(seen), 1)), seen, hidden)
    factors = hit_rate(left * singular @ right, seen, hidden)
    assert (factors > 1.5 * popular) == factors_win


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"n_users": 0}, "`n_users` must be an integer >= 1; got 0"),
        ({"n_items": 1}, "`n_items` must be an integer >= 2; got 1"),
        ({"n_interactions": 0}, "`n_interactions` must be an integer >= 1; got 0"),
        ({"n_interactions": 300_000}, "`n_interactions` must be at most half of all pairs, 250000; got 300000"),
        ({"n_groups": 0}, "`n_groups` must be an integer >= 1; got 0"),
        ({"seed": -1}, "`seed` must be an integer >= 0; got -1"),
        (
            {"n_users": 10**9, "n_items": 10**6, "n_interactions": 10**12},
            "Generating 1,000,000,000,000 interactions needs about 48048.0 GB, but .* is free; take fewer",
        ),
        ({"affinity": 1.5}, "`affinity` must be between 0 and 1; got 1.5"),
        ({"popularity_exponent": -1.0}, "`popularity_exponent` must be >= 0 and finite; got -1.0"),
        ({"activity_spread": float("nan")}, "`activity_spread` must be >= 0 and finite; got nan"),
    ],
)
def test_settings_out_of_range(setting: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        synthetic(**setting)


@pytest.mark.slow
def test_millions() -> None:
    data = synthetic(100_000, 50_000, 5_000_000, seed=0)
    assert len(data) == 5_000_000
