# ruff: noqa: NPY002, the published split is what NumPy's global generator draws
import numpy as np
import pandas as pd
import pytest

from jaxals import Interactions
from jaxals.errors import ConfigurationError, DataError
from jaxals.evaluation import strong_generalization, temporal_split


def pairs(data):
    frame = data.to_frame()
    return sorted(zip(frame["user"], frame["item"], strict=True))


def published_split(frame, held_out, min_users, min_items, seed=98765):
    """The steps of Liang et al.'s notebook, in pandas and with NumPy's global generator."""
    frame = frame[frame.groupby("item")["user"].transform("size") >= min_users]
    frame = frame[frame.groupby("user")["item"].transform("size") >= min_items]
    users = pd.Index(sorted(frame["user"].unique()))
    state = np.random.get_state()
    np.random.seed(seed)
    users = users[np.random.permutation(len(users))]
    trained = frame[frame["user"].isin(users[: -2 * held_out])]
    parts = [trained]
    for chosen in (users[-2 * held_out : -held_out], users[-held_out:]):
        left = frame[frame["user"].isin(chosen) & frame["item"].isin(trained["item"])]
        np.random.seed(seed)
        given, test = [], []
        for _, group in left.groupby("user"):
            drawn = np.zeros(len(group), bool)
            if len(group) >= 5:
                drawn[np.random.choice(len(group), size=int(0.2 * len(group)), replace=False)] = True
            given.append(group[~drawn])
            test.append(group[drawn])
        parts += [pd.concat(given), pd.concat(test)]
    np.random.set_state(state)
    return [sorted(zip(part["user"], part["item"], strict=True)) for part in parts]


@pytest.mark.parametrize(("min_users", "min_items"), [(0, 5), (3, 8)])
@pytest.mark.parametrize("name", [lambda i: i, lambda i: f"b{i * 7919 % 1009:04}"])
def test_strong_generalization_is_the_published_one(name, min_users, min_items):
    rng = np.random.default_rng(0)
    # Few users for each item, so that some items are unknown to those who train; rows in no order, as in MSD.
    user, item = np.nonzero(rng.random((60, 150)) < rng.choice([0.02, 0.1], size=(60, 1)))
    frame = pd.DataFrame({"user": [name(u) for u in user.tolist()], "item": item}).sample(frac=1, random_state=1)
    validation, test = strong_generalization(frame, 8, min_users=min_users, min_items=min_items)
    got = [validation.train, validation.given, validation.test, test.given, test.test]
    assert [pairs(part) for part in got] == published_split(frame, 8, min_users, min_items)
    assert test.train is validation.train
    assert len({len(part) for part in got}) > 2
    assert (test.train.counts("item") > 0).all()


def test_strong_generalization_refuses():
    frame = pd.DataFrame([(u, i) for u in range(9) for i in range(6)], columns=["user", "item"])
    with pytest.raises(DataError, match="`held_out_users` 5, twice, leaves none of 9 users to train on"):
        strong_generalization(frame, 5)
    with pytest.raises(ConfigurationError, match="`held_out_users` must be an integer >= 1; got 0"):
        strong_generalization(frame, 0)
    with pytest.raises(DataError, match="`test` of the split has no entry"):
        strong_generalization(frame[frame["item"] < 4], 2, min_items=1)  # nobody has 5 items to draw one from
    own = frame.assign(item=frame["user"] * 10 + frame["item"])
    with pytest.raises(DataError, match="`given` of the split has no entry"):
        strong_generalization(own, 2)  # nobody has an item of those who train
    with pytest.raises(DataError, match="leaves none of 0 users"):
        strong_generalization(frame, 2, min_users=10)
    with pytest.raises(DataError, match="is there more than once"):
        strong_generalization(pd.concat([frame, frame]), 2)
    with pytest.raises(DataError, match="no column 'movie'"):
        strong_generalization(frame, 2, item="movie")


def test_temporal_split_worked_out_by_hand():
    events = pd.DataFrame(
        [
            ("ann", "x", 3.0, "2020-01-05"),
            ("bob", "y", 1.0, "2020-01-01"),
            ("ann", "y", 2.0, "2020-01-03"),
            ("bob", "x", 4.0, "2020-01-06"),  # found again
            ("ann", "x", 5.0, "2020-01-06"),  # was there before
            ("eve", "x", 1.0, "2020-01-07"),  # a new user
            ("bob", "z", 1.0, "2020-01-08"),  # a new item
            ("ann", "w", 1.0, "2020-01-02"),
            ("bob", "w", -1.0, "2020-01-09"),  # a dislike
        ],
        columns=["user", "item", "value", "day"],
    )
    split = temporal_split(events, 0.5, value="value", time="day")  # round(4.5) = 4: the two of the 6th stay together
    assert pairs(split.train) == [("ann", "w"), ("ann", "x"), ("ann", "y"), ("bob", "y")]
    assert split.test.to_frame().values.tolist() == [["bob", "x", 4.0]]
    assert split.test.catalog is split.train.catalog
    assert split.train.catalog.items.tolist() == ["w", "x", "y"]


def test_temporal_split_refuses():
    events = pd.DataFrame({"user": [0, 1], "item": [0, 1], "time": [1.0, 2.0]})
    with pytest.raises(DataError, match="No later event is about a user and an item"):
        temporal_split(events, 0.5)
    with pytest.raises(ConfigurationError, match="`fraction` must be above 0 and below 1; got 1"):
        temporal_split(events, 1)
    again = pd.DataFrame({"user": [0, 0], "item": [0, 0], "time": [1.0, 2.0]})
    with pytest.raises(DataError, match="No later event is something to find"):
        temporal_split(again, 0.5)  # what was there before
    with pytest.raises(DataError, match="No later event is something to find"):
        temporal_split(events.assign(user=0, item=[0, 0], value=[1.0, -1.0]), 0.5, value="value")
    with pytest.raises(DataError, match="missing in row 1"):
        temporal_split(events.assign(time=[1.0, float("nan")]), 0.5)
    with pytest.raises(DataError, match="There are no interactions"):
        temporal_split(events.assign(time=[1.0, 1.0]), 0.5)


def test_is_among_tells_pairs_whatever_their_values():
    some = Interactions.from_arrays([0, 0, 1, 2], [0, 2, 1, 2], [1.0, 2.0, 3.0, 4.0], shape=(3, 4))
    other = Interactions.from_arrays([0, 1, 2], [2, 2, 2], [5.0, 1.0, -4.0], shape=(3, 4))
    assert some.is_among(other).tolist() == [False, True, False, True]
    assert not some.is_among(other.select(np.zeros(3, bool))).any()
