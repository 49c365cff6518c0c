"""What a checkpoint after every sweep, or every few of them, adds to the time of a fit, on the medium synthetic set.

Fits with and without checkpoints take turns, the first of a pair being second in the next one, after one of each that
compiles; times are of the whole call of `fit`, layout and the last checkpoint included. The cost is the median over the
pairs. A cost above `--most` ends with exit code 1.

    python experiments/benchmark_checkpoint.py --factors 64 --sweeps 15 --repeats 4 --most 0.05
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import jax

import jaxals

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--users", type=int, default=100_000)
parser.add_argument("--items", type=int, default=50_000)
parser.add_argument("--entries", type=int, default=4_800_000)
parser.add_argument("--factors", type=int, default=64)
parser.add_argument("--sweeps", type=int, default=15)
parser.add_argument("--solver", choices=["exact", "cg"], default="exact")
parser.add_argument("--every", type=int, default=1)
parser.add_argument("--repeats", type=int, default=4)
parser.add_argument(
    "--scratch", type=pathlib.Path, help="where checkpoints are written, by default the folder of temporary files"
)
parser.add_argument("--most", type=float, default=0.05, help="share of the time that checkpoints may add")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()

jaxals.use_all_cores()
data = jaxals.datasets.synthetic(
    n_users=arguments.users, n_items=arguments.items, n_interactions=arguments.entries, seed=0
)
solver = jaxals.Cholesky() if arguments.solver == "exact" else jaxals.ConjugateGradient()
trainer = jaxals.ALS(factors=arguments.factors, sweeps=arguments.sweeps, solver=solver)


def seconds(checkpoint: jaxals.Checkpoint | None) -> float:
    start = time.perf_counter()
    jaxals.fit(data, jaxals.Objective.hkv(), trainer, progress=False, checkpoint=checkpoint)
    return time.perf_counter() - start


times: dict[str, list[float]] = {"without": [], "with": []}
for turn in range(arguments.repeats + 1):
    for name, taken in sorted(times.items(), reverse=turn % 2 == 1):
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
            elapsed = seconds(jaxals.Checkpoint(folder, every=arguments.every) if name == "with" else None)
            sizes = [path.stat().st_size for path in pathlib.Path(folder).glob(f"step-{arguments.sweeps:010}/**/*")]
        if turn:
            taken.append(elapsed)
        print(f"{'measured' if turn else 'warm-up'}: {name}, {elapsed:.2f} s, {sum(sizes) / 1e6:.0f} MB", flush=True)
without, with_them = (statistics.median(taken) for taken in times.values())
costs = [after / before - 1 for before, after in zip(*times.values(), strict=True)]
cost = statistics.median(costs)
print(f"medians of {arguments.repeats}: {without:.2f} s without, {with_them:.2f} s with checkpoints")
print(f"cost of each pair: {', '.join(f'{one:+.1%}' for one in costs)}; median {cost:+.1%}")
machine = {"cores": os.cpu_count(), "jax": jax.__version__}
settings = {name: str(value) for name, value in vars(arguments).items() if name not in ("out", "scratch")}
document = {"settings": settings, "machine": machine, "seconds": times, "cost": cost}
arguments.out.mkdir(parents=True, exist_ok=True)
name = f"benchmark_checkpoint-f{arguments.factors}-{arguments.solver}-every{arguments.every}.json"
(arguments.out / name).write_text(json.dumps(document, indent=1) + "\n")
sys.exit(0 if cost <= arguments.most else 1)
