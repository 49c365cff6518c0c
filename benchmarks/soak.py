"""Many fits and many recommendations in one process: memory that grows, and programs compiled again, would show.

Fits differ in seed, values, confidence and λ, which compile nothing anew. After a warm-up of a tenth of each, the
resident memory may not leave a band of 5 % around where it then stands. Of ten fits, one is by a gradient, and another
one writes checkpoints.

    python benchmarks/soak.py --fits 500 --recommendations 1000000
"""

import argparse
import gc
import json
import os
import pathlib
import sys
import tempfile
import time

import jax
import numpy as np
import optax

import jaxals
from jaxals._base.environment import environment

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--fits", type=int, default=500)
parser.add_argument("--recommendations", type=int, default=1_000_000)
parser.add_argument("--band", type=float, default=0.05)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()

N_USERS, N_ITEMS, BATCH = 2_000, 1_000, 1_000
compiled: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, _, **__: compiled.append(name) if name.endswith("backend_compile_duration") else None
)
data = jaxals.datasets.synthetic(n_users=N_USERS, n_items=N_ITEMS, n_interactions=40_000, seed=0)
rng = np.random.default_rng(0)
OPTIMIZER = optax.adam(1e-2)  # one for all: what a program was compiled for is told by its identity


def megabytes() -> float:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def train(number: int) -> jaxals.Recommender:
    """Fit to values of its own."""
    values = rng.uniform(1, 10, len(data)).astype(np.float32)
    own = jaxals.Interactions.from_arrays(data.user, data.item, values, catalog=data.catalog)
    objective = jaxals.Objective.hkv(alpha=rng.uniform(1, 40), regularization=rng.uniform(0.1, 10))
    gradient = jaxals.Gradient(factors=16, steps=20, optimizer=OPTIMIZER, batch=jaxals.UserBatches(500))
    trainer = gradient if number % 10 == 9 else jaxals.ALS(factors=16, sweeps=3)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = jaxals.Checkpoint(folder, every=1) if number % 10 == 4 else None
        run = jaxals.fit(own, objective, trainer, seed=number, progress=False, checkpoint=checkpoint)
    return jaxals.Recommender(run.factors, own, objective)


def soak(what: str, total: int, step, each: int) -> dict:
    """Take all steps, and tell how memory and programs differ from what they are after a tenth of them."""
    start, sizes, programs = time.perf_counter(), [], 0
    for done in range(0, total, each):
        step(done // each)
        if done + each >= total // 10 and not sizes:
            programs = len(compiled)
        if done + each >= total // 10 and (done + each) % (total // 10) == 0:
            gc.collect()
            sizes.append(megabytes())
            print(f"{done + each:,} {what}: {sizes[-1]:.0f} MB, {len(compiled)} programs compiled", flush=True)
    change = max(abs(size / sizes[0] - 1) for size in sizes)
    print(
        f"{total:,} {what} in {time.perf_counter() - start:.0f} s: memory within {change:.1%} of what it was after a "
        f"tenth, {len(compiled) - programs} programs compiled since"
    )
    return {"megabytes": sizes, "change": change, "programs compiled since": len(compiled) - programs}


recommender = train(0)
found = {
    "fits": soak("fits", arguments.fits, train, 1),
    "recommendations": soak(
        "recommendations",
        arguments.recommendations,
        lambda _: recommender.recommend(rng.integers(N_USERS, size=BATCH).tolist(), n=10),
        BATCH,
    ),
}
settings = {name: str(value) for name, value in vars(arguments).items() if name not in ("out", "scratch")}
arguments.out.mkdir(parents=True, exist_ok=True)
(arguments.out / "soak.json").write_text(json.dumps({"settings": settings, **environment(), **found}, indent=1) + "\n")
is_flat = all(one["change"] <= arguments.band and not one["programs compiled since"] for one in found.values())
sys.exit(0 if is_flat else 1)
