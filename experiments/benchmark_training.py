"""Time until the training loss is within 0.1 % of what 15 exact sweeps reach: jaxals beside the implicit library.

Every contender minimises the same loss on the same matrix (confidence α r on observed pairs, 1 elsewhere), in turn, on
all cores. Seconds are those of training steps alone; evaluating the loss is left out for all of them, and compilation,
which jaxals needs once, is reported beside. Prints medians and ratios, and writes JSON and a picture.

    pip install 'jaxals[peers,plots]'
    OPENBLAS_NUM_THREADS=1 python experiments/benchmark_training.py --data medium --factors 64
    JAXALS_DATA=... OPENBLAS_NUM_THREADS=1 python experiments/benchmark_training.py --data ml-1m --factors 64
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics

import jax
import numpy as np
import pandas as pd
from implicit.als import AlternatingLeastSquares
from matplotlib.figure import Figure

import jaxals

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", choices=["small", "medium", "lastfm-sized", "ml-1m"], default="medium")
parser.add_argument("--factors", type=int, default=64)
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--sweeps", type=int, default=30, help="give up after so many")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()

# One data set, and the loss that everybody minimises on it.
if arguments.data == "ml-1m":
    file = pathlib.Path(os.environ["JAXALS_DATA"]) / "ncf-ml-1m" / "ml-1m.train.rating.gz"
    pairs = pd.read_csv(file, sep="\t", header=None)
    data, alpha, regularization = jaxals.Interactions.from_arrays(pairs[0].to_numpy(), pairs[1].to_numpy()), 5.0, 1.0
else:
    sizes = {
        "small": (5_000, 3_000, 150_000),
        "medium": (100_000, 50_000, 4_800_000),
        "lastfm-sized": (360_000, 160_000, 17_000_000),
    }
    n_users, n_items, n_interactions = sizes[arguments.data]
    data = jaxals.datasets.synthetic(n_users=n_users, n_items=n_items, n_interactions=n_interactions, seed=0)
    alpha, regularization = 2.0, 1.0
objective = jaxals.Objective.implicit(alpha=alpha, regularization=regularization)
entries = data.to_coo()
print(f"{data!r}, {arguments.factors} factors, {os.cpu_count()} cores, {jax.devices()[0].device_kind}")

exact = jaxals.fit(
    data, objective, jaxals.ALS(factors=arguments.factors, sweeps=15), seed=0, progress=False, loss_every=15
)
target = 1.001 * exact.history["loss"].iloc[-1]


def run_jaxals(**settings) -> pd.DataFrame:
    trainer = jaxals.ALS(factors=arguments.factors, sweeps=arguments.sweeps, **settings)
    stop = lambda progress: progress.loss <= target
    return jaxals.fit(data, objective, trainer, seed=0, progress=False, callbacks=[stop]).history


def run_implicit(use_cg: bool) -> pd.DataFrame:
    class Reached(Exception):
        pass

    records: list[dict] = []
    matrix = data.to_scipy().astype(np.float32)
    model = AlternatingLeastSquares(
        factors=arguments.factors,
        regularization=regularization,
        alpha=alpha,
        iterations=arguments.sweeps,
        use_cg=use_cg,
        use_gpu=False,
        num_threads=os.cpu_count(),
        random_state=0,
    )

    def record(iteration: int, seconds: float, _: float) -> None:
        factors = jaxals.Factors(jax.numpy.asarray(model.user_factors), jax.numpy.asarray(model.item_factors))
        spent = seconds + (records[-1]["seconds"] if records else 0.0)
        records.append({"sweep": iteration + 1, "seconds": spent, "loss": float(objective.loss(factors, entries))})
        if records[-1]["loss"] <= target:
            raise Reached

    with contextlib.suppress(Reached):
        model.fit(matrix, show_progress=False, callback=record)
    return pd.DataFrame(records)


two_steps = jaxals.ConjugateGradient(steps=2)
contenders = {
    "jaxals CG(2), conjugate sweeps": lambda: run_jaxals(solver=two_steps, acceleration="conjugate"),
    "jaxals CG(2)": lambda: run_jaxals(solver=two_steps),
    "implicit CG(3)": lambda: run_implicit(use_cg=True),
}
compile_seconds = {}
for name, run in contenders.items():
    if name.startswith("jaxals"):  # the first run of a program compiles it: the first sweep takes that much longer
        first = run()["seconds"]
        compile_seconds[name] = first.iloc[0] - first.diff().median()

histories: dict[str, list[pd.DataFrame]] = {name: [] for name in contenders}
for _ in range(arguments.repeats):
    for name, run in contenders.items():
        histories[name].append(run())

rows = []
for name, runs in histories.items():
    reached = [run["loss"].iloc[-1] <= target for run in runs]
    rows.append(
        {
            "contender": name,
            "seconds": statistics.median(run["seconds"].iloc[-1] for run in runs) if all(reached) else None,
            "sweeps": int(statistics.median(len(run) for run in runs)),
            "seconds a sweep": statistics.median(run["seconds"].diff().median() for run in runs),
            "compilation": compile_seconds.get(name),
        }
    )
table = pd.DataFrame(rows)
peer = table.loc[table["contender"] == "implicit CG(3)", "seconds"].iloc[0]
table["ratio to implicit"] = table["seconds"] / peer
print(f"target loss {target:.6g}: within 0.1 % of 15 exact sweeps\n{table.to_string(index=False)}")

arguments.out.mkdir(parents=True, exist_ok=True)
stem = arguments.out / f"benchmark_training-{arguments.data}-f{arguments.factors}"
packages = ("jaxals", "jax", "implicit", "numpy")
record = {
    "data": repr(data),
    "objective": {"preset": "implicit", "alpha": alpha, "regularization": regularization},
    "target": float(target),
    "rows": json.loads(table.to_json(orient="records")),
    "cores": os.cpu_count(),
    "machine": platform.processor() or platform.machine(),
    "versions": {name: importlib.metadata.version(name) for name in packages},
}
stem.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")

figure = Figure(figsize=(7, 4.2), layout="constrained")
axes = figure.subplots()
for name, runs in histories.items():
    above = np.maximum(runs[-1]["loss"] / (target / 1.001) - 1, 1e-4)
    axes.plot(runs[-1]["seconds"], above, marker="o", markersize=3, label=name)
axes.axhline(1e-3, color="0.6", linewidth=1)
axes.set(xlabel="seconds of training", ylabel="loss above 15 exact sweeps, relative", yscale="log")
axes.set_title(f"{arguments.data}, {arguments.factors} factors: seconds until 0.1 % above 15 exact sweeps")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure.savefig(stem.with_suffix(".png"), dpi=120)
print(f"wrote {stem.name}.json and .png")
