"""What only hardware can say, in one run of a few minutes: is it right, how fast, how much memory, where does it go.

Writes its results after every part, so that what a time limit cuts off is the rest alone. At a hundredth of the size it
runs on a CPU, too.

    python benchmarks/on_an_accelerator.py --minutes 8
    python benchmarks/on_an_accelerator.py --scale 0.01
"""

import argparse
import functools
import glob
import json
import pathlib
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxals
from jaxals._base.environment import environment
from jaxals.als.layout.machine import machine_of

LASTFM = 360_000, 160_000, 17_000_000
SOLVERS = {"cg": jaxals.ConjugateGradient(), "cholesky": jaxals.Cholesky(), "subspace": jaxals.Subspace(64)}
PRESETS = {
    "hkv": jaxals.Objective.hkv(alpha=3.0, regularization=0.5),
    "implicit": jaxals.Objective.implicit(alpha=2.0, regularization=0.5),
    "log": jaxals.Objective.log(alpha=2.0, epsilon=0.5, regularization=0.5),
    "ials": jaxals.Objective.ials(unobserved_weight=0.3, regularization=0.05),
    "spark": jaxals.Objective.spark(alpha=1.5, regularization=0.1),
}


class Report:
    """What was found so far, on disk after each part."""

    def __init__(self, path: pathlib.Path, seconds: float):
        self.path, self.end, self.found = path, time.monotonic() + seconds, {}

    def add(self, name: str, measure: Callable[[], Any], needs: float = 0.0) -> None:
        """Measure one part, if there is time for it, and write all down; what fails is part of what was found."""
        if time.monotonic() + needs > self.end:
            self.found[name] = "left out: no time"
        else:
            begin = time.monotonic()
            try:
                self.found[name] = measure()
            except Exception as error:  # the other parts are worth having
                self.found[name] = f"{type(error).__name__}: {str(error)[:500]}"
            self.found.setdefault("seconds", {})[name] = round(time.monotonic() - begin, 2)
        print(f"{name}: {json.dumps(self.found[name], default=str)}", flush=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.found, indent=2, default=str) + "\n")


def seconds(run: Callable[[], Any], repeats: int = 5) -> dict[str, Any]:
    """Time a call to the end of its work; the first one, which compiles, is told apart."""
    taken = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(time.perf_counter() - begin)
    return {"first": taken[0], "median": statistics.median(taken[1:]), "all": taken[1:]}


def small() -> tuple[jaxals.Interactions, jax.Array]:
    data = jaxals.datasets.synthetic(n_users=300, n_items=200, n_interactions=6000, seed=0)
    return data, jaxals.initial_factors(jax.random.key(0), *data.shape, 16).item


def dense_half_step(data: jaxals.Interactions, other: np.ndarray, objective: jaxals.Objective) -> np.ndarray:
    """Solve every row over all columns, in float64 (Hu, Koren and Volinsky 2008, eq. 4)."""
    weights = [np.asarray(array, np.float64) for array in objective.weights(jnp.asarray(data.value, jnp.float32))]
    ridge = np.asarray(objective.ridge(jnp.asarray(data.counts("user"), jnp.int32), data.shape[1], jnp.float32))
    shared = float(objective.unobserved_weight) * other.T @ other
    rows = np.zeros((data.shape[0], other.shape[1]))
    for user in range(len(rows)):
        mine = data.user == user
        vectors, (gram, target) = other[data.item[mine]], (weight[mine] for weight in weights)
        matrix = shared + (vectors * gram[:, None]).T @ vectors + ridge[user] * np.eye(other.shape[1])
        rows[user] = np.linalg.solve(matrix, vectors.T @ target) if mine.any() else 0
    return rows


def correctness() -> dict[str, float]:
    """Largest error of each solver and preset, relative to the largest number, and of a gradient."""
    data, other = small()
    exact = {
        "cg": jaxals.ConjugateGradient(tolerance=1e-6),
        "cholesky": jaxals.Cholesky(),
        "subspace": jaxals.Subspace(16),
    }
    errors = {}
    for name, solver in exact.items():
        tiles = jaxals.build_tiles(data, factors=16, gram_size=solver.gram_size(16))
        for preset, objective in PRESETS.items():
            expected = dense_half_step(data, np.asarray(other, np.float64), objective)
            rows = np.asarray(jaxals.half_step(tiles, other, objective, solver)[0])
            errors[f"{name} {preset}"] = float(abs(rows - expected).max() / abs(expected).max())
        loss = lambda alpha, tiles=tiles, solver=solver: jnp.sum(
            jaxals.half_step(tiles, other, jaxals.Objective.hkv(alpha, 0.5), solver)[0] ** 2
        )
        step = 1e-3
        squares = [
            (dense_half_step(data, np.asarray(other, np.float64), jaxals.Objective.hkv(3.0 + move, 0.5)) ** 2).sum()
            for move in (step, -step)
        ]
        slope = (squares[0] - squares[1]) / (2 * step)
        errors[f"{name} gradient"] = abs(float(jax.grad(loss)(3.0)) - slope) / abs(slope)
    return errors


@functools.cache
def lastfm(scale: float) -> jaxals.Interactions:
    n_users, n_items, n_entries = (int(n * scale) for n in LASTFM)
    return jaxals.datasets.synthetic(n_users=n_users, n_items=n_items, n_interactions=n_entries, seed=0)


def sweep_of(data: jaxals.Interactions, name: str, factors: int, chunk_bytes: int | None = None) -> Callable[[], Any]:
    """Return a compiled sweep from the first tables."""
    trainer = jaxals.ALS(factors, solver=SOLVERS[name], chunk_bytes=chunk_bytes)
    tiles, objective = trainer.cut(data, None), jaxals.Objective.ials(0.1, 0.01)
    start = jaxals.initial_factors(jax.random.key(0), *data.shape, factors)
    return lambda: jaxals.sweep(*tiles, start, objective, SOLVERS[name])[0]


def sweeps(data: jaxals.Interactions, name: str, factors: int, chunk_bytes: int | None) -> dict[str, Any]:
    taken = seconds(sweep_of(data, name, factors, chunk_bytes))
    return {**taken, "peak bytes so far": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")}


def is_repeatable(data: jaxals.Interactions) -> dict[str, bool]:
    found = {}
    for name in ("cg", "cholesky"):
        run = sweep_of(data, name, 64)
        first, second = (jax.tree.map(np.asarray, run()) for _ in range(2))
        found[name] = bool(np.array_equal(first.user, second.user) and np.array_equal(first.item, second.item))
    return found


def rates(scale: float) -> dict[str, float]:
    """Gathered GB a second; systems of 64 factorised, and matrices of 64 decomposed, a second; µs a step of a loop."""
    rows, reads, systems = (max(int(n * scale), 64) for n in (160_000, 16_000_000, 100_000))
    table, index = jnp.ones((rows, 64)), jax.random.randint(jax.random.key(0), (reads,), 0, rows)
    gather = jax.jit(lambda table, index: jnp.sum(table[index], axis=0))
    matrices = jnp.eye(64)[None] + 0.01 * jnp.ones((systems, 64, 64))
    loop = jax.jit(lambda x: jax.lax.fori_loop(0, 10_000, lambda _, x: x * 1.0001, x))
    return {
        "gather GB/s": reads * 256 / seconds(lambda: gather(table, index))["median"] / 1e9,
        "cholesky systems/s": systems / seconds(lambda: jax.jit(jnp.linalg.cholesky)(matrices))["median"],
        "eigh s": seconds(lambda: jax.jit(jnp.linalg.eigh)(matrices[0]))["median"],
        "loop us/step": seconds(lambda: loop(jnp.ones(1000)))["median"] * 100,
    }


def serving(data: jaxals.Interactions, scale: float) -> dict[str, Any]:
    factors = jaxals.initial_factors(jax.random.key(0), *data.shape, 64, scale=1.0)
    recommender = jaxals.Recommender(factors, data)
    users = np.arange(min(int(20_000 * scale) or 1, data.shape[0]))
    return seconds(lambda: recommender.top_items(users, 10)[0], 3)


def time_to_loss(data: jaxals.Interactions) -> dict[str, Any]:
    """Seconds, compilation apart, to within 0.1 % of the loss of 15 sweeps from random factors."""
    objective = jaxals.Objective.implicit(alpha=2.0, regularization=1.0)
    settings = {"mesh": None, "progress": False}
    fit = lambda **how: jaxals.fit(data, objective, jaxals.ALS(64, solver=SOLVERS["cg"], **how), **settings).history
    bound = fit(sweeps=15, start="random")["loss"].iloc[-1] * 1.001
    history = fit(sweeps=15)
    there = history[history["loss"] <= bound]
    return {"bound": bound, "sweeps": len(history) - len(there) + 1, "seconds": history["seconds"][there.index].min()}


def beside_implicit(data: jaxals.Interactions) -> Any:
    try:
        import implicit.gpu
    except ImportError:
        return "implicit is not installed"
    if not implicit.gpu.HAS_CUDA:
        return "this wheel of implicit has no CUDA"
    from implicit.gpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(factors=64, regularization=1.0, alpha=2.0, iterations=5)
    begin = time.perf_counter()
    model.fit(data.to_scipy().tocsr().astype(np.float32), show_progress=False)
    return {"seconds a sweep": (time.perf_counter() - begin) / 5}


def profile(data: jaxals.Interactions) -> Any:
    """Return the five kernels that take longest, with their share of the time."""
    run = sweep_of(data, "cg", 64)
    jax.block_until_ready(run())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(run())
        (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        taken: dict[str, float] = defaultdict(float)
        for plane in jax.profiler.ProfileData.from_file(path).planes:
            for line in plane.lines if "GPU" in plane.name or "TPU" in plane.name else []:
                if line.name != "XLA Ops" and not line.name.startswith("Stream"):
                    continue  # modules and steps hold the same time again
                for event in line.events:
                    taken[event.name] += event.duration_ns / 1e9
    whole = sum(taken.values())
    largest = sorted(taken, key=lambda name: -taken[name])[:5]
    return {name: {"seconds": taken[name], "share": taken[name] / whole} for name in largest}


def main() -> None:
    """Go through all parts, the most telling ones first."""
    name = machine_of(None).platform
    report = Report(arguments.out / f"on-an-accelerator-{name}.json", 60 * arguments.minutes)
    report.add("environment", environment)
    report.add("errors", correctness)
    data = lastfm(arguments.scale)
    for solver, factors in (("cg", 64), ("cholesky", 64), ("cg", 128), ("cholesky", 128)):
        report.add(f"{solver} {factors}", lambda s=solver, f=factors: sweeps(data, s, f, None), 30)
    report.add("the same bits again", lambda: is_repeatable(data), 20)
    report.add("rates", lambda: rates(arguments.scale), 20)
    report.add("profile", lambda: profile(data), 20)
    report.add("top 10", lambda: serving(data, arguments.scale), 20)
    report.add("time to the loss", lambda: time_to_loss(data), 40)
    report.add("implicit", lambda: beside_implicit(data), 20)
    for solver, factors, size in (
        *(("cholesky", 64, size) for size in (2**28, 2**31)),
        ("cg", 256, None),
        ("cholesky", 256, None),
        ("subspace", 512, None),
    ):
        report.add(f"{solver} {factors} {size or ''}", lambda s=solver, f=factors, c=size: sweeps(data, s, f, c), 40)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--scale", type=float, default=1.0, help="of Last.fm's size")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
    arguments = parser.parse_args()
    main()
