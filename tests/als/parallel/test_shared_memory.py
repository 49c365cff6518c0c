import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.sharding import Mesh

from jaxals import ALS, Cholesky, ConjugateGradient, Factors, Interactions, Objective, Subspace, make_mesh, sweep
from jaxals import initial_factors as draw
from jaxals.als.parallel import shared_memory
from jaxals.als.parallel.mesh import to_every_device
from jaxals.als.stages import EXACT, Arithmetic
from tests.combinations import combinations

RNG = np.random.default_rng(0)
# Users 0 to 9 have everything, user 39 nothing.
PLAYED = np.where(np.arange(40)[:, None] < 10, 1.0, RNG.random((40, 30)) < 0.2) * RNG.integers(1, 9, (40, 30))
PLAYED[39] = 0
DATA = Interactions.from_scipy(scipy.sparse.csr_matrix(PLAYED))
OBJECTIVE = Objective.hkv(alpha=3.0, regularization=0.5)


def mesh_of(n_devices: int) -> Mesh:
    mesh = make_mesh(jax.devices()[:n_devices])
    assert mesh is not None
    return mesh


@pytest.mark.parametrize(
    ("solver", "arithmetic", "n_devices"),
    combinations([Cholesky(), ConjugateGradient(), Subspace(2)], [EXACT, Arithmetic("float16")], [2, 8], strength=1),
)
def test_a_sweep_is_that_of_one_program(solver, arithmetic, n_devices):
    mesh, factors = mesh_of(n_devices), draw(jax.random.key(0), *DATA.shape, 5)
    tiles = ALS(factors=5, solver=solver).cut(DATA, mesh)
    found, info = shared_memory.sweep(*tiles, factors, OBJECTIVE, solver, arithmetic, with_loss=True)
    expected, known = sweep(*tiles, to_every_device(factors, mesh), OBJECTIVE, solver, arithmetic, with_loss=True)
    np.testing.assert_allclose(found.user, expected.user, atol=2e-5)
    np.testing.assert_allclose(found.item, expected.item, atol=2e-5)
    assert not np.asarray(found.user[39]).any()
    assert info.loss is not None
    assert known.loss is not None
    assert float(info.loss) == pytest.approx(float(known.loss), rel=1e-5)
    assert [int(info.non_finite_rows), int(info.unconverged_rows)] == [0, 0]
    assert found.user.devices() == found.item.devices() == {mesh.devices.flat[0]}


@pytest.mark.slow
def test_rows_that_go_wrong_are_counted_as_by_one_program():
    mesh, factors = mesh_of(2), draw(jax.random.key(0), *DATA.shape, 5)
    factors = Factors(factors.user, factors.item.at[3].set(jnp.nan))
    tiles = ALS(factors=5).cut(DATA, mesh)
    _, info = shared_memory.sweep(*tiles, factors, OBJECTIVE, Cholesky())
    _, known = sweep(*tiles, to_every_device(factors, mesh), OBJECTIVE, Cholesky())
    assert int(info.non_finite_rows) == int(known.non_finite_rows) > 0
    solver = ConjugateGradient(steps=1, tolerance=1e-6)
    tiles, factors = ALS(factors=5, solver=solver).cut(DATA, mesh), draw(jax.random.key(0), *DATA.shape, 5)
    _, info = shared_memory.sweep(*tiles, factors, OBJECTIVE, solver)
    _, known = sweep(*tiles, to_every_device(factors, mesh), OBJECTIVE, solver)
    assert int(info.unconverged_rows) == int(known.unconverged_rows) > 0


def test_devices_of_other_kinds_and_processes_share_nothing(monkeypatch):
    assert shared_memory.share_memory(mesh_of(2))
    assert not shared_memory.share_memory(None)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert not shared_memory.share_memory(mesh_of(2))
