"""One weighted loss, solved in closed form and followed by gradients: who gets where, and how fast?

Every contender minimises the same objective on the same data with the same number of factors. Gradient methods choose
their learning rate by NDCG@10 on validation interactions, from three rates each, by runs of a third of the steps; ALS
and L-BFGS have none to choose. Then all
train afresh on all training data, for several seeds, and are measured on the test set after every so many steps.
Seconds are those of training steps: compilation, reported beside, and evaluations are left out. Losses are exact for
everybody, also for who trains on sampled negatives. Prints tables, and writes JSON and a picture.

    JAXALS_DATA=... OPENBLAS_NUM_THREADS=1 python experiments/als_vs_gradient.py
    JAXALS_DATA=... OPENBLAS_NUM_THREADS=1 python experiments/als_vs_gradient.py --data ml-1m
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
from collections.abc import Callable

import jax
import numpy as np
import optax
import pandas as pd
from matplotlib.figure import Figure

import jaxals
from jaxals import ALS, Alternating, FullBatch, Gradient, SampledNegatives, UserBatches
from jaxals.datasets.published import find_published, read_ncf
from jaxals.evaluation import leave_k_out, plan_evaluation, plan_negatives, random_holdout, run_plan
from jaxals.plots import plot_curves

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", choices=["lastfm-2k", "ml-1m", "medium"], action="append", help="by default all three")
parser.add_argument("--memory", action="store_true", help="measure peak memory instead, one process a contender")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
parser.add_argument("--alone", help=argparse.SUPPRESS)
arguments = parser.parse_args()
jaxals.use_all_cores()


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained on and measured, and how long."""

    train: jaxals.Interactions
    validation: jaxals.Interactions  # part of `train`
    plan: jaxals.evaluation.EvaluationPlan  # of the test set
    objective: jaxals.Objective
    factors: int
    steps: int  # of full-batch methods
    epochs: int  # of batches of users
    batch: int  # users a batch
    seeds: int

    @property
    def without_validation(self) -> jaxals.Interactions:
        keys = [part.user * np.int64(part.n_items) + part.item for part in (self.train, self.validation)]
        return self.train.select(~np.isin(*keys))


def load(name: str) -> Task:
    if name == "ml-1m":  # Rendle et al. 2021's loss; w0, λ and ν as tuned for this split in docs
        split = read_ncf(find_published("ncf-ml-1m"))
        plan = plan_negatives(split.test, split.negatives, ["ndcg@10", "hit_rate@10"])
        objective = jaxals.Objective.ials(unobserved_weight=0.3, regularization=0.007)
        train, settings = split.train, {"factors": 64, "steps": 150, "epochs": 15, "batch": 512, "seeds": 2}
    elif name == "lastfm-2k":
        split = random_holdout(jaxals.datasets.load(name), 0.2, seed=0)
        plan = plan_evaluation(split.train, split.test, ["ndcg@10", "recall@20"])
        objective = jaxals.Objective.log(alpha=10.0, regularization=10.0)
        train, settings = split.train, {"factors": 32, "steps": 300, "epochs": 60, "batch": 256, "seeds": 3}
    else:
        data = jaxals.datasets.synthetic(n_users=100_000, n_items=50_000, n_interactions=4_800_000, seed=0)
        split = leave_k_out(data, 1, seed=0)
        some = split.test.select(split.test.user % 50 == 0)  # ranking 50,000 items for everybody takes long
        plan = plan_evaluation(split.train, some, ["ndcg@10", "recall@20"])
        objective = jaxals.Objective.implicit(alpha=2.0, regularization=1.0)
        train, settings = split.train, {"factors": 64, "steps": 40, "epochs": 3, "batch": 4096, "seeds": 1}
    validation = leave_k_out(train, 1, seed=1).test
    return Task(train, validation.select(validation.user % 10 == 0), plan, objective, **settings)


@dataclasses.dataclass(frozen=True)
class Contender:
    """A trainer of a learning rate, and the passes over all entries, both ways, that a step of it makes."""

    trainer: Callable[[float], jaxals.training.Trainer]
    rates: tuple[float, ...] = ()
    passes: float = 1.0  # line searches make more: at least one a step


def contenders(task: Task) -> dict[str, Contender]:
    per_epoch = -(-np.count_nonzero(task.train.counts()) // task.batch)

    def descent(optimizer: Callable, batch: object, steps: int) -> Callable[[float], Gradient]:
        every = max(steps // 12, 1)
        return lambda rate: Gradient(task.factors, steps, optimizer(rate), batch, report_every=every)

    als = lambda solver, sweeps=15: lambda _: ALS(task.factors, sweeps, solver)
    decayed = lambda make, steps: lambda rate: make(optax.cosine_decay_schedule(rate, steps, 0.02))
    small, n_small = UserBatches(task.batch), task.epochs * per_epoch
    sampled = SampledNegatives(task.batch)
    literature = SampledNegatives(task.batch, weight=1.0)
    rates = {"adam": (0.01, 0.03, 0.1), "adagrad": (0.1, 0.3, 1.0), "small": (0.003, 0.01, 0.03)}
    return {
        "ALS, Cholesky": Contender(als(jaxals.Cholesky())),
        "ALS, CG": Contender(als(jaxals.ConjugateGradient()), passes=4),
        "L-BFGS": Contender(descent(lambda _: optax.lbfgs(), FullBatch(), task.steps // 2)),
        "Adam": Contender(descent(decayed(optax.adam, task.steps), FullBatch(), task.steps), rates["adam"]),
        "Adam, users": Contender(descent(decayed(optax.adam, n_small), small, n_small), rates["small"], 1 / per_epoch),
        "Adam, sampled": Contender(
            descent(decayed(optax.adam, n_small), sampled, n_small), rates["small"], 1 / per_epoch
        ),
        "Adam, sampled, weight 1": Contender(
            descent(decayed(optax.adam, n_small), literature, n_small), rates["small"], 1 / per_epoch
        ),
        "Adam, alternating": Contender(
            descent(decayed(optax.adam, task.steps), Alternating(), task.steps), rates["adam"]
        ),
        "Adagrad": Contender(descent(optax.adagrad, FullBatch(), task.steps), rates["adagrad"]),
        "ALS, Subspace": Contender(als(jaxals.Subspace(block=task.factors // 2))),
    }


def train(trainer, data, objective, plan, seed=0, passes=1.0, **settings) -> tuple[jaxals.Run, pd.DataFrame, float]:
    """Return the run, its history with metrics and passes, and the seconds that compiling took."""
    short = dataclasses.replace(trainer, **({"sweeps": 1} if isinstance(trainer, ALS) else {"steps": 1}))
    compiled = jaxals.fit(data, objective, short, progress=False, **settings).history["seconds"].iloc[0]
    measured = []
    observe = lambda progress: measured.append(run_plan(progress.factors, plan).metrics)  # returns None: go on
    run = jaxals.fit(data, objective, trainer, seed=seed, progress=False, callbacks=[observe], **settings)
    history = pd.concat([run.history, pd.DataFrame(measured)], axis=1)
    return run, history.assign(passes=passes * history.iloc[:, 0]), float(compiled)


def compare(name: str, task: Task) -> dict:
    subset = task.without_validation
    validation = plan_evaluation(subset, task.validation, ["ndcg@10"])
    machine = {"cores": os.cpu_count(), "processor": platform.processor(), "jax": jax.__version__}
    report: dict = {
        "name": name,
        "machine": machine,
        "data": repr(task.train),
        "factors": task.factors,
        "objective": str(task.objective),
        "runs": {},
    }
    chosen = {}
    brief = contenders(dataclasses.replace(task, steps=-(-task.steps // 3), epochs=-(-task.epochs // 3)))
    for name, contender in contenders(task).items():
        rates: dict = {}
        for rate in contender.rates:
            try:
                trainer = brief[name].trainer(rate)
                # One row of history: measuring in between would take most of the time.
                trainer = dataclasses.replace(trainer, report_every=trainer.steps)
                history = train(trainer, subset, task.objective, validation)[1]
                rates[rate] = {"loss": history["loss"].iloc[-1], "ndcg@10": history["ndcg@10"].iloc[-1]}
            except jaxals.errors.NumericalError:
                rates[rate] = {"loss": None, "ndcg@10": 0.0}
        rate = max(rates, key=lambda rate: rates[rate]["ndcg@10"]) if rates else 0.0
        chosen[name] = trainer = contender.trainer(rate)
        runs = [
            train(trainer, task.train, task.objective, task.plan, seed, contender.passes) for seed in range(task.seeds)
        ]
        least = undisturbed([history["seconds"] for _, history, _ in runs])
        runs = [(run, history.assign(seconds=least), compiled) for run, history, compiled in runs]
        last = pd.DataFrame([history.iloc[-1] for _, history, _ in runs])
        report["runs"][name] = {
            "rate": rate,
            "rates": rates,
            "compiled": runs[0][2],
            "histories": [history.to_dict("list") for _, history, _ in runs],
            "mean": last.mean().to_dict(),
            "spread": (last.max() - last.min()).to_dict(),
        }
        print(f"{name:24} rate {rate:<6} {last.mean().to_dict()}", flush=True)
        write(report)
    if task.seeds > 1:  # not where training takes long
        report["regularization"] = vary_regularization(task, chosen)
        report["warm starts"] = warm_starts(task, chosen)
        write(report)
    return report


def write(report: dict) -> None:
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / f"als_vs_gradient-{report['name']}"
    file.with_suffix(".json").write_text(json.dumps(report))
    draw(report, file.with_suffix(".png"))


def undisturbed(seconds: list[pd.Series]) -> np.ndarray:
    """Take, for each stretch of the history, the fastest of all seeds: other programs can only slow it down."""
    return np.cumsum(np.min([np.diff(one, prepend=0.0) for one in seconds], axis=0))


def vary_regularization(task: Task, chosen: dict) -> list[dict]:
    rows = []
    for times in (0.1, 1.0, 10.0):
        objective = dataclasses.replace(task.objective, regularization=times * task.objective.regularization)
        for name in ("ALS, CG", "Adam"):
            history = train(chosen[name], task.train, objective, task.plan)[1]
            rows.append({"times": times, "contender": name, **history.iloc[-1].to_dict()})
    return rows


def warm_starts(task: Task, chosen: dict) -> list[dict]:
    rows = []
    als, lbfgs = chosen["ALS, CG"], chosen["L-BFGS"]
    for first, second in ((dataclasses.replace(als, sweeps=3), lbfgs), (lbfgs, dataclasses.replace(als, sweeps=3))):
        run, before, _ = train(first, task.train, task.objective, task.plan)
        after = train(second, task.train, task.objective, task.plan, initial=run.factors)[1]
        kinds = [type(trainer).__name__ for trainer in (first, second)]
        stages = {"first": before.iloc[-1].to_dict(), "then": after.to_dict("list")}
        rows.append({"order": " then ".join(kinds), **stages})
    return rows


def table(report: dict) -> str:
    """Write the outcome as a table of Markdown; seconds until within 1 % of the loss of exact ALS."""
    aim = 1.01 * report["runs"]["ALS, Cholesky"]["mean"]["loss"]
    lines = ["| | rate | seconds | to 1 % | loss ± | NDCG@10 ± | compiling |", "|---|---|---|---|---|---|---|"]
    for name, run in report["runs"].items():
        history, mean, spread = pd.DataFrame(run["histories"][0]), run["mean"], run["spread"]
        reached = history.loc[history["loss"] <= aim, "seconds"]
        until = f"{reached.iloc[0]:.2f}" if len(reached) else "never"
        lines.append(
            f"| {name} | {run['rate'] or ''} | {mean['seconds']:.2f} | {until} "
            f"| {mean['loss']:,.0f} ± {spread['loss'] / 2:,.0f} "
            f"| {mean['ndcg@10']:.4f} ± {spread['ndcg@10'] / 2:.4f} | {run['compiled']:.1f} |"
        )
    return "\n".join(lines)


def draw(report: dict, file: pathlib.Path) -> None:
    figure = Figure(figsize=(13, 8.5), layout="constrained")
    axes = figure.subplots(2, 2)
    histories = {name: pd.DataFrame(run["histories"][0]) for name, run in report["runs"].items()}
    for ax, (x, y) in zip(axes.flat, [("seconds", "loss"), ("passes", "loss"), ("seconds", "ndcg@10")], strict=False):
        plot_curves(histories, y, x, ax)
        ax.set_xscale("log")
        if x == "passes":
            ax.set_xlabel("passes over all entries (line searches: steps)")
        if ax is not axes[0, 0]:
            ax.get_legend().remove()
    rates = axes[1, 1]
    for place, (name, run) in enumerate(report["runs"].items()):
        if run["rates"]:
            points = pd.DataFrame(run["rates"]).T
            best = points["ndcg@10"].max()
            rates.plot(points.index / run["rate"], points["ndcg@10"] / best, marker="o", color=f"C{place}", label=name)
    rates.set(xscale="log", xlabel="learning rate, relative to the one chosen", ylabel="validation NDCG@10 / best")
    if rates.lines:
        rates.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{report['data']}, {report['factors']} factors")
    figure.savefig(file, dpi=110)


def memory(name: str) -> None:
    """Print the peak memory of each contender, in a process of its own."""
    found = {}
    for contender in contenders(load(name)):
        command = [sys.executable, __file__, "--data", name, "--alone", contender]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[contender] = float(out.split()[-1])
        print(f"{contender:24} {found[contender]:.2f} GB", flush=True)
    (arguments.out / f"als_vs_gradient-{name}-memory.json").write_text(json.dumps(found, indent=1))


for name in arguments.data or ["lastfm-2k", "ml-1m", "medium"]:
    if arguments.memory:
        memory(name)
        continue
    task = load(name)
    if arguments.alone:
        contender = contenders(task)[arguments.alone]
        trainer = contender.trainer((contender.rates or (0.0,))[0])
        short = dataclasses.replace(trainer, **({"sweeps": 2} if isinstance(trainer, ALS) else {"steps": 2}))
        jaxals.fit(task.train, task.objective, short, progress=False)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
        continue
    result = compare(name, task)
    print(f"\n{result['data']}, {result['factors']} factors\n\n{table(result)}\n")
