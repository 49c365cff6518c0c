"""Time until the loss is within 0.1 % of that of 15 exact sweeps from a random start: jaxals, implicit and irspack.

Every contender minimises the same loss on the same matrix (confidence α r on observed pairs, 1 elsewhere), with the
same factors, on all cores, in turn. Seconds are those of training, the start included; evaluating the loss is left out
for all of them, and compilation, which jaxals needs once, is reported beside. Prints medians and ratios, and writes
JSON and a picture. With `--in-turn`, single sweeps of jaxals (with momentum) and irspack follow each other, to no loss.

    pip install 'jaxals[peers,plots]'
    OPENBLAS_NUM_THREADS=1 python benchmarks/training.py --data medium --factors 64
    OPENBLAS_NUM_THREADS=1 python benchmarks/training.py --factors 512 --only subspace --sweeps 10 --in-turn
    JAXALS_DATA=... OPENBLAS_NUM_THREADS=1 python benchmarks/training.py --data ml-1m --factors 64
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import jaxals
from jaxals._base.environment import environment
from jaxals.models.plots import PALETTE

SIZES = {
    "small": (5_000, 3_000, 150_000),
    "medium": (100_000, 50_000, 4_800_000),
    "lastfm-sized": (360_000, 160_000, 17_000_000),
}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", choices=[*SIZES, "ml-1m", "lastfm-2k"], default="medium")
parser.add_argument("--factors", type=int, default=64)
parser.add_argument("--only", default="CG", help="contenders whose name contains this: CG, Cholesky or subspace")
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--sweeps", type=int, default=40, help="give up after so many")
parser.add_argument("--growth", action="store_true", help="time sweeps on a quarter, half and all entries instead")
parser.add_argument("--precision", action="store_true", help="compare types of the gathered tables instead")
parser.add_argument("--in-turn", action="store_true", help="time single sweeps of jaxals and irspack in turn")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()
jaxals.use_all_cores()


def load(name: str) -> tuple[jaxals.Interactions, float, float]:
    """Return interactions, α and λ."""
    if name == "lastfm-2k":
        return jaxals.datasets.load(name), 40.0, 0.1
    if name == "ml-1m":
        file = pathlib.Path(os.environ["JAXALS_DATA"]) / "ncf-ml-1m" / "ml-1m.train.rating.gz"
        pairs = pd.read_csv(file, sep="\t", header=None)
        return jaxals.Interactions.from_arrays(pairs[0].to_numpy(), pairs[1].to_numpy()), 5.0, 1.0
    cached = arguments.out / f".{name}.npz"
    if not cached.exists():
        n_users, n_items, n_interactions = SIZES[name]
        data = jaxals.datasets.synthetic(n_users=n_users, n_items=n_items, n_interactions=n_interactions, seed=0)
        arguments.out.mkdir(parents=True, exist_ok=True)
        np.savez(cached, user=data.user, item=data.item, value=data.value)
    with np.load(cached) as arrays:
        return jaxals.Interactions.from_arrays(arrays["user"], arrays["item"], arrays["value"]), 2.0, 1.0


data, alpha, regularization = load(arguments.data)
objective = jaxals.Objective.implicit(alpha=alpha, regularization=regularization)
Observer = Callable[[float, jaxals.Factors], bool]  # gets a step's seconds and the factors; True ends training


def train_jaxals(observe: Observer, data: jaxals.Interactions = data, **settings) -> None:
    last = [0.0]

    def callback(progress: jaxals.training.Progress) -> bool:
        total = progress.seconds + progress.compile_seconds
        seconds, last[0] = total - last[0], total
        return observe(seconds, progress.factors)

    trainer = jaxals.ALS(factors=arguments.factors, sweeps=arguments.sweeps, **settings)
    jaxals.fit(data, objective, trainer, seed=0, progress=False, loss_every=0, callbacks=[callback])


def train_implicit(observe: Observer, use_cg: bool) -> None:
    from implicit.als import AlternatingLeastSquares

    class Reached(Exception):
        pass

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

    def callback(_: int, seconds: float, __: float) -> None:
        if observe(seconds, jaxals.Factors(model.user_factors, model.item_factors)):
            raise Reached

    with contextlib.suppress(Reached):
        model.fit(data.to_scipy().astype(np.float32), show_progress=False, callback=callback)


def irspack_trainer(solver: str) -> Any:
    from irspack.recommenders.ials import IALSTrainer, LossType, SolverType

    matrix = data.to_scipy().astype(np.float32)
    # Its original loss weighs observed cells 1 + x, ours α r.
    matrix.data = alpha * matrix.data - 1
    return IALSTrainer(
        matrix,
        n_components=arguments.factors,
        alpha0=1.0,
        reg=regularization,
        nu=0.0,
        init_std=0.1,
        solver_type=getattr(SolverType, solver),
        max_cg_steps=3,
        ialspp_subspace_dimension=64,
        loss_type=LossType.ORIGINAL,
        random_seed=0,
        n_threads=os.cpu_count(),
        prediction_time_max_cg_steps=5,
        prediction_time_ialspp_iteration=7,
    )


def train_irspack(observe: Observer, solver: str) -> None:
    trainer = irspack_trainer(solver)
    for _ in range(arguments.sweeps):
        start = time.perf_counter()
        trainer.run_epoch()
        seconds = time.perf_counter() - start
        if observe(seconds, jaxals.Factors(trainer.core_trainer.user, trainer.core_trainer.item)):
            break


CONTENDERS: dict[str, Callable[[Observer], None]] = {
    "jaxals CG": lambda observe: train_jaxals(observe, solver=jaxals.ConjugateGradient()),
    "jaxals CG, random start": lambda observe: train_jaxals(observe, solver=jaxals.ConjugateGradient(), start="random"),
    "jaxals CG, random start, no momentum": lambda observe: train_jaxals(
        observe, solver=jaxals.ConjugateGradient(), start="random", acceleration=None
    ),
    "implicit CG": lambda observe: train_implicit(observe, use_cg=True),
    "irspack CG": lambda observe: train_irspack(observe, "CG"),
    "jaxals Cholesky": lambda observe: train_jaxals(observe),
    "jaxals Cholesky, random start": lambda observe: train_jaxals(observe, start="random"),
    "implicit Cholesky": lambda observe: train_implicit(observe, use_cg=False),
    "irspack Cholesky": lambda observe: train_irspack(observe, "CHOLESKY"),
    "jaxals subspace": lambda observe: train_jaxals(observe, solver=jaxals.Subspace(64)),
    "jaxals subspace, random start": lambda observe: train_jaxals(observe, solver=jaxals.Subspace(64), start="random"),
    "irspack subspace": lambda observe: train_irspack(observe, "IALSPP"),
}
chosen = {name: train for name, train in CONTENDERS.items() if arguments.only.lower() in name.lower()}
CONTEXT = {
    "data": repr(data),
    "factors": arguments.factors,
    "objective": {"preset": "implicit", "alpha": alpha, "regularization": regularization},
    **environment(),
}


def save(kind: str, table: pd.DataFrame, **more) -> pathlib.Path:
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"{kind}-{arguments.data}-f{arguments.factors}-{arguments.only.lower()}"
    rows = json.loads(table.to_json(orient="records"))
    stem.with_suffix(".json").write_text(json.dumps({**CONTEXT, **more, "rows": rows}, indent=2) + "\n")
    print(table.to_string(index=False))
    print(f"wrote {stem.name}.json")
    return stem


print(f"{data!r}, {arguments.factors} factors, {os.cpu_count()} cores")
if arguments.growth:
    half = jaxals.evaluation.random_holdout(data, 0.5, seed=0).train
    quarter = jaxals.evaluation.random_holdout(half, 0.5, seed=0).train
    seconds: dict[int, list[float]] = {len(part): [] for part in (quarter, half, data)}
    arguments.sweeps = 5

    def time_sweep(part: jaxals.Interactions) -> float:
        steps: list[float] = []
        observe = lambda seconds, _: steps.append(seconds) or False
        train_jaxals(observe, data=part, solver=jaxals.ConjugateGradient())
        return statistics.median(steps[1:])

    for _ in range(1 + arguments.repeats):  # the first time compiles
        for part in (quarter, half, data):
            seconds[len(part)].append(time_sweep(part))
    medians = [statistics.median(times[1:]) for times in seconds.values()]
    grown = pd.DataFrame({"entries": [*seconds], "seconds a sweep": medians})
    grown["ratio to the row above"] = grown["seconds a sweep"] / grown["seconds a sweep"].shift()
    save("growth", grown)
    sys.exit()

if arguments.precision:
    split = jaxals.evaluation.leave_k_out(data, k=1, seed=0)

    def train_on(table_dtype: str | None) -> jaxals.Run:
        trainer = jaxals.ALS(arguments.factors, 10, jaxals.ConjugateGradient(), table_dtype=table_dtype)
        return jaxals.fit(split.train, objective, trainer, seed=0, progress=False, loss_every=0)

    results = []
    for table_dtype in (None, "float16", "bfloat16"):
        runs = [train_on(table_dtype) for _ in range(1 + arguments.repeats)]  # the first one compiles
        ndcg = jaxals.evaluation.evaluate(runs[-1].factors, split.train, split.test, ["ndcg@10"]).metrics["ndcg@10"]
        results.append(
            {
                "table": table_dtype or "float32",
                "seconds a sweep": statistics.median(run.history["seconds"].diff().median() for run in runs[1:]),
                "loss": float(objective.loss(runs[-1].factors, split.train)),
                "ndcg@10": ndcg,
            }
        )
    save("precision", pd.DataFrame(results))
    sys.exit()

entries = data.to_coo()
if arguments.in_turn:
    # What drifts within minutes, as a machine's speed does, drifts for both alike.
    solvers = {
        "cg": (jaxals.ConjugateGradient(), "CG"),
        "cholesky": (jaxals.Cholesky(), "CHOLESKY"),
        "subspace": (jaxals.Subspace(64), "IALSPP"),
    }
    if arguments.only.lower() not in solvers or arguments.sweeps < 2:
        parser.error(f"--in-turn takes --only {', '.join(solvers)} and --sweeps 2 or more, the first of which compiles")
    ours, theirs = solvers[arguments.only.lower()]
    peer, sweeps = irspack_trainer(theirs), []
    trained: dict[str, jaxals.Factors] = {}

    def sweep_both(seconds: float, factors: jaxals.Factors) -> bool:
        start = time.perf_counter()
        peer.run_epoch()
        sweeps.append({"jaxals": seconds, "irspack": time.perf_counter() - start})
        trained["jaxals"], trained["irspack"] = factors, jaxals.Factors(peer.core_trainer.user, peer.core_trainer.item)
        return False

    train_jaxals(sweep_both, solver=ours)
    medians = pd.DataFrame(sweeps[1:]).median()
    rows = [
        {
            "contender": name,
            "seconds a sweep": seconds,
            "of irspack's": seconds / medians["irspack"],
            "loss": float(objective.loss(jax.tree.map(jax.numpy.asarray, trained[name]), entries)),
            "seconds of each sweep": [round(sweep[name], 3) for sweep in sweeps],
        }
        for name, seconds in medians.items()
    ]
    save("in_turn", pd.DataFrame(rows))
    sys.exit()

solver = jaxals.Subspace(64) if arguments.only == "subspace" else jaxals.Cholesky()
plain = jaxals.ALS(factors=arguments.factors, sweeps=15, solver=solver, acceleration=None, start="random")
reached = jaxals.fit(data, objective, plain, seed=0, progress=False, loss_every=15).history["loss"].iloc[-1]
target = 1.001 * reached


def run(train: Callable[[Observer], None]) -> pd.DataFrame:
    records: list[dict] = []

    def observe(seconds: float, factors: jaxals.Factors) -> bool:
        total = seconds + (records[-1]["seconds"] if records else 0.0)
        loss = float(objective.loss(jax.tree.map(jax.numpy.asarray, factors), entries))
        records.append({"seconds": total, "loss": loss})
        return loss <= target

    train(observe)
    return pd.DataFrame(records)


histories: dict[str, list[pd.DataFrame]] = {name: [] for name in chosen}
compilation = {}
for name, train in chosen.items():
    if name.startswith("jaxals"):  # the first run of a program compiles it: its first sweep takes that much longer
        jax.clear_caches()
        first = run(train)["seconds"]
        compilation[name] = first.iloc[0] - first.diff().median()
for _ in range(arguments.repeats):
    for name, train in chosen.items():
        histories[name].append(run(train))

rows = []
for name, runs in histories.items():
    done = all(history["loss"].iloc[-1] <= target for history in runs)
    seconds = [history["seconds"].iloc[-1] for history in runs]
    rows.append(
        {
            "contender": name,
            "seconds": statistics.median(seconds) if done else None,
            "sweeps": len(runs[0]),
            "seconds a sweep": statistics.median(history["seconds"].diff().median() for history in runs),
            "loss / reference": runs[0]["loss"].iloc[-1] / reached,
            "compilation": compilation.get(name),
            "seconds of each run": [round(float(value), 3) for value in seconds],
        }
    )
table = pd.DataFrame(rows)
for peer in ("implicit", "irspack"):
    for what in ("seconds", "seconds a sweep"):
        theirs = table.loc[table["contender"].str.startswith(peer), what]
        if len(theirs) and theirs.notna().all():
            table[f"{what} / {peer}"] = table[what] / theirs.iloc[0]
print(f"reference loss {reached:.6g}; target 0.1 % above")
stem = save("training", table, reference_loss=float(reached), target=float(target))

figure = Figure(figsize=(7, 4.2), layout="constrained")
axes = figure.subplots()
for place, (name, runs) in enumerate(histories.items()):
    above = np.maximum(runs[-1]["loss"] / reached - 1, 1e-4)
    style = {"linestyle": "-" if name.startswith("jaxals") else "--", "color": PALETTE[place % len(PALETTE)]}
    axes.plot(runs[-1]["seconds"], above, marker="o", markersize=3, label=name, **style)
axes.axhline(1e-3, color="0.6", linewidth=1)
axes.set(xlabel="seconds of training", ylabel="loss above 15 exact sweeps, relative (at least 10⁻⁴)", yscale="log")
axes.set_title(f"{arguments.data}, {arguments.factors} factors")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure.savefig(stem.with_suffix(".png"), dpi=120)
