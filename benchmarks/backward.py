"""What the gradient of a half step takes beside the half step alone: time, and the temporary memory of its program.

The gradient is by the other table, α, ε, w0, λ and ν, of a weighted sum of the rows. Forwards and backwards take turns
on one device; medians.

    OPENBLAS_NUM_THREADS=1 python benchmarks/backward.py --users 20000 --items 10000 --entries 1000000
"""

import argparse
import json
import pathlib
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd

import jaxals
from jaxals._base.environment import environment

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--users", type=int, default=20_000)
parser.add_argument("--items", type=int, default=10_000)
parser.add_argument("--entries", type=int, default=1_000_000)
parser.add_argument("--factors", type=int, default=64)
parser.add_argument("--repeats", type=int, default=7)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()

data = jaxals.datasets.synthetic(
    n_users=arguments.users, n_items=arguments.items, n_interactions=arguments.entries, seed=0
)
factors = jaxals.initial_factors(jax.random.key(0), *data.shape, arguments.factors)
weight = jax.random.normal(jax.random.key(1), factors.user.shape)
at = {"other": factors.item, "α": 2.0, "ε": 1.0, "w0": 0.3, "λ": 0.1, "ν": 0.5}
at = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), at)


def seconds(function: Any, *inputs: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(*inputs))
    return time.perf_counter() - start


SOLVERS = {
    "Cholesky()": jaxals.Cholesky(),
    "ConjugateGradient()": jaxals.ConjugateGradient(),
    "ConjugateGradient(tolerance=1e-4)": jaxals.ConjugateGradient(tolerance=1e-4),
    f"Subspace({arguments.factors // 2})": jaxals.Subspace(arguments.factors // 2),
}
rows = []
for name, solver in SOLVERS.items():
    tiles, transposed = jaxals.ALS(arguments.factors, solver=solver).cut(data, None)

    def solve(p: dict, tiles: Any, transposed: Any, start: jax.Array, solver: Any = solver) -> jax.Array:
        confidence = jaxals.LogConfidence(p["α"], p["ε"])
        objective = jaxals.Objective(confidence, p["w0"], p["λ"], p["ν"])
        solved, _ = jaxals.half_step(tiles, p["other"], objective, solver, start, transposed=transposed)
        return jnp.sum(solved * weight)

    inputs = at, tiles, transposed, factors.user
    programs = [jax.jit(solve).lower(*inputs).compile(), jax.jit(jax.value_and_grad(solve)).lower(*inputs).compile()]
    sizes = [program.memory_analysis().temp_size_in_bytes / 2**20 for program in programs]
    for program in programs:
        seconds(program, *inputs)
    times = [[seconds(program, *inputs) for program in programs] for _ in range(arguments.repeats)]
    forwards, backwards = (statistics.median(column) for column in zip(*times, strict=True))
    rows.append(
        {
            "solver": name,
            "forwards s": forwards,
            "with gradient s": backwards,
            "time ratio": backwards / forwards,
            "forwards MiB": sizes[0],
            "with gradient MiB": sizes[1],
            "memory ratio": sizes[1] / sizes[0],
        }
    )
    print(pd.DataFrame(rows[-1:]).round(2).to_string(index=False, header=len(rows) == 1), flush=True)
arguments.out.mkdir(parents=True, exist_ok=True)
document = {"data": repr(data), **environment(), "rows": rows}
(arguments.out / f"backward-f{arguments.factors}.json").write_text(json.dumps(document, indent=2) + "\n")
