import jax
import numpy as np
import pytest

from jaxals import Interactions, datasets, make_mesh
from jaxals.gradient.user_batches import EntryTiles, build_batches

DATA = datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)


def triples(tiles: EntryTiles, batch: int) -> list[tuple[int, int, float]]:
    """(row, column, value) of every entry of a batch, sorted."""
    row = np.broadcast_to(np.asarray(tiles.row[batch])[..., None], tiles.column[batch].shape)
    value = np.asarray(tiles.value[batch])
    is_entry = value != 0
    columns = (row[is_entry], np.asarray(tiles.column[batch])[is_entry], value[is_entry])
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("size", [None, 7, 100, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 60))])
@pytest.mark.parametrize("on_mesh", [False, True])
def test_every_entry_is_in_one_batch_both_ways(size, on_mesh):
    mesh = make_mesh() if on_mesh else None
    batches = build_batches(DATA, size, factors=4, mesh=mesh)
    found = []
    for number, user in enumerate(np.asarray(batches.user)):
        by_user = triples(batches.by_user, number)
        assert by_user == sorted((u, i, v) for i, u, v in triples(batches.by_item, number))
        found += [(user[slot], item, value) for slot, item, value in by_user]
        slots = np.bincount([slot for slot, _, _ in by_user], minlength=len(user))
        np.testing.assert_array_equal(batches.count[number], slots)
    expected = zip(DATA.user.tolist(), DATA.item.tolist(), DATA.value.tolist(), strict=True)
    assert sorted(found) == sorted(expected)
    if on_mesh:
        assert len(jax.devices()) == 8
        assert len(batches.by_user.value.addressable_shards) == 8
        assert batches.by_user.value.addressable_shards[0].data.shape[1] * 8 == batches.by_user.value.shape[1]


def test_rows_ascend_and_batches_weigh_alike():
    batches = build_batches(DATA, 7, factors=4)
    rows = np.asarray(batches.by_item.row).reshape(len(batches.user), -1)
    assert (np.diff(rows, axis=1) >= 0).all()
    entries = np.asarray(batches.count).sum(axis=1)
    # Cards dealt back and forth differ by no more than the largest user.
    assert entries.max() - entries.min() <= np.asarray(batches.count).max()
    users = np.asarray(batches.user)
    assert ((np.diff(users, axis=1) > 0) | (users[:, 1:] == DATA.n_users)).all()


def test_dealing_goes_back_and_forth():
    counts = np.arange(1, 13)
    user = np.repeat(np.arange(12), counts)
    data = Interactions.from_arrays(user, np.arange(len(user)) % 13)
    batches = build_batches(data, 4, factors=4)
    assert np.asarray(batches.count).sum(axis=1).tolist() == [26, 26, 26]  # 12 + 7 + 6 + 1, 11 + 8 + 5 + 2, ...


def test_long_rows_go_on_in_the_next_chunk():
    batches = build_batches(DATA, factors=2**15)  # chunks of 64 entries
    assert batches.by_item.row.shape[1] > 5
    assert len(triples(batches.by_item, 0)) == len(DATA)
