"""A dozen hyperparameters by gradient, beside random search: who finds better rankings in the same time?

One split of the data: a test that nobody looks at before the end, a validation that all choose by. The loss is that of
iALS with a confidence in between binary and logarithmic, and a ridge for each of four buckets of users by activity
and of items by popularity; each bucket holds as many interactions as any other:

    g = α log(1 + r / ε), b = β + g, w0,   λ_r = λ_bucket n_r^ν

Contenders, each of them with the same tiles, solver, number of factors and sweeps of the last fit:

- random search of the three numbers that people tune (α, w0, λ; ε = 1, β = 1, ν = 0), and of all of them;
- TPE (of Optuna) of all of them;
- `jaxals.hyper.tune_by_gradient` of all of them, from the middle of the ranges, by the gradient of a smooth validation
  loss;
- with `--network`, also of a confidence that is a small monotone network, r -> (g, b).

Seconds leave out compilation, and the measuring that chooses is part of them. Each setting that was found is trained
afresh, from several seeds, and measured on validation and test. Prints tables, and writes JSON and a picture.

    pip install 'jaxals[plots,tune]'
    JAXALS_DATA=... OPENBLAS_NUM_THREADS=1 python experiments/hypergradients.py --data lastfm-2k
"""

import argparse
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optuna
import pandas as pd
from matplotlib.figure import Figure

import jaxals
from jaxals._base.environment import environment
from jaxals.datasets.published import find_published, read_ncf
from jaxals.evaluation import leave_k_out, plan_evaluation, plan_negatives, random_holdout, run_plan
from jaxals.hyper import Implicit, Truncated, hold_out, smooth_ndcg, softmax_cross_entropy, tune_by_gradient
from jaxals.models.plots import PALETTE
from jaxals.objective.factors import gramian

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", choices=["lastfm-2k", "deepcf-lastfm", "ncf-ml-1m"], default="lastfm-2k")
parser.add_argument("--factors", type=int, default=32)
parser.add_argument("--trials", type=int, default=200, help="fits of each random search")
parser.add_argument("--steps", type=int, default=60, help="steps of the tuning by gradient")
parser.add_argument("--users", type=int, default=400, help="whose validation loss the gradient is of")
parser.add_argument("--sweeps", type=int, default=15, help="of a fit")
parser.add_argument("--seeds", type=int, default=5, help="of the fits that are compared in the end")
parser.add_argument("--network", action="store_true", help="tune a confidence of a monotone network, too")
parser.add_argument("--draw", action="store_true", help="draw what was measured before, and measure nothing")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()
TITLES = {"lastfm-2k": "Last.fm 2K", "deepcf-lastfm": "Last.fm (DeepCF)", "ncf-ml-1m": "MovieLens 1M (NCF)"}

BUCKETS = 4
# What random search draws from, log-uniformly, and in the middle of which the tuning by gradient begins.
RANGES = {
    "alpha": (0.03, 30.0),
    "epsilon": (0.1, 1000.0),
    "beta": (0.1, 10.0),
    "w0": (0.01, 1.0),
    "ridge_user": (0.1, 100.0),
    "ridge_item": (0.1, 100.0),
    "nu": (0.01, 1.0),
}
SIZES = {"ridge_user": BUCKETS, "ridge_item": BUCKETS}
SIMPLE = {"epsilon": 1.0, "beta": 1.0, "nu": 1e-6}
# Its adjoint is solved exactly, as fast as the half step: that of a few steps of conjugate gradient takes many more.
SOLVER = jaxals.Cholesky()


@jaxals.pytree
class BetaLogConfidence:
    """g = α log(1 + r / ε), b = β + g."""

    alpha: Any
    epsilon: Any
    beta: Any

    def __call__(self, value: Any) -> Any:
        gram_weight = self.alpha * jnp.log1p(value / self.epsilon)
        return gram_weight, self.beta + gram_weight


@jaxals.pytree
class NetworkConfidence:
    """Monotone in r for positive weights: units u_k = (r / s_k) / (1 + r / s_k), g = Σ a_k u_k, b = Σ c_k u_k."""

    scale: Any
    of_gram: Any
    of_target: Any

    def __call__(self, value: Any) -> Any:
        unit = value[..., None] / (value[..., None] + self.scale.reshape((1,) * value.ndim + (-1,)))
        return jnp.matmul(unit, self.of_gram), jnp.matmul(unit, self.of_target)


class Task:
    """A split, its tiles, and all that the contenders share."""

    def __init__(self, name: str, factors: int):
        if name == "lastfm-2k":
            outer = random_holdout(jaxals.datasets.load(name), 0.2, seed=0)
            inner = random_holdout(outer.train, 0.2, seed=1)
            self.metric = "ndcg@20"
            self.plan = plan_evaluation(inner.train, inner.test, [self.metric])
            self.test = plan_evaluation(inner.train, outer.test, [self.metric])
        else:
            outer = read_ncf(find_published(name))
            inner = leave_k_out(outer.train, 1, seed=1)
            self.metric = "ndcg@10"
            self.plan = plan_evaluation(inner.train, inner.test, [self.metric])
            self.test = plan_negatives(outer.train, outer.test, outer.negatives, [self.metric])
        self.name, self.train, self.factors = name, inner.train, factors
        # The gradient is that of a part of the users: smooth ranks among all items cost more than the sweeps.
        users = np.unique(inner.test.user)
        some = np.random.default_rng(0).choice(users, min(arguments.users, len(users)), replace=False)
        self.held_out = hold_out(inner.train, inner.test.select(np.isin(inner.test.user, some)))
        self.tiles = jaxals.ALS(factors=factors, solver=SOLVER).cut(inner.train, None, sweeps=1000)
        self.bucket = {side: jnp.asarray(bucket(inner.train.counts(side))) for side in ("user", "item")}

    def objective(self, parameters: dict) -> jaxals.Objective:
        if "of_gram" in parameters:
            confidence: Any = NetworkConfidence(*(parameters[n] for n in ("scale", "of_gram", "of_target")))
        else:
            confidence = BetaLogConfidence(parameters["alpha"], parameters["epsilon"], parameters["beta"])
        ridge = jaxals.Sides(
            user=parameters["ridge_user"][self.bucket["user"]], item=parameters["ridge_item"][self.bucket["item"]]
        )
        return jaxals.Objective(confidence, parameters["w0"], ridge, parameters["nu"], 0.0)

    def start(self, seed: int) -> jaxals.Factors:
        return jaxals.initial_factors(jax.random.key(seed), *self.train.shape, self.factors)

    def fit(self, parameters: dict, seed: int = 0, sweeps: int | None = None) -> jaxals.Factors:
        objective, factors = self.objective(on_device(parameters)), self.start(seed)
        for _ in range(sweeps or arguments.sweeps):
            factors, _ = jaxals.sweep(*self.tiles, factors, objective, SOLVER)
        return jax.block_until_ready(factors)

    def measure(self, factors: jaxals.Factors) -> dict[str, float]:
        return run_plan(factors, self.plan).metrics


def bucket(counts: np.ndarray) -> np.ndarray:
    """Cut rows into buckets with alike numbers of entries, from the least to the most active."""
    order = np.argsort(counts, kind="stable")
    share = np.cumsum(counts[order]) / counts.sum()
    found = np.empty(len(counts), np.int32)
    found[order] = np.minimum(share * BUCKETS, BUCKETS - 1).astype(np.int32)
    return found


def on_device(parameters: dict) -> dict:
    return {name: jnp.asarray(value, jnp.float32) for name, value in parameters.items()}


def draw(trial: optuna.Trial, simple: bool) -> dict:
    def suggest(name: str, place: str | int = "") -> float:
        return trial.suggest_float(f"{name}{place}", *RANGES[name], log=True)

    if simple:
        found = {"alpha": suggest("alpha"), "w0": suggest("w0"), **SIMPLE}
        ridge = np.full(BUCKETS, suggest("ridge_user"))
        return found | {"ridge_user": ridge, "ridge_item": ridge}
    return {
        name: np.array([suggest(name, place) for place in range(SIZES[name])]) if name in SIZES else suggest(name)
        for name in RANGES
    }


def search(task: Task, sampler: optuna.samplers.BaseSampler, simple: bool) -> pd.DataFrame:
    """Fit what a sampler asks for, and note the best so far."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, rows, seconds = optuna.create_study(direction="maximize", sampler=sampler), [], 0.0
    task.measure(task.fit(middle()))  # compiles
    for number in range(arguments.trials):
        begin = time.perf_counter()
        trial = study.ask()
        parameters = draw(trial, simple)
        score = task.measure(task.fit(parameters))[task.metric]
        study.tell(trial, score)
        seconds += time.perf_counter() - begin
        rows.append({"trial": number, "seconds": seconds, "score": score, "parameters": plain(parameters)})
    frame = pd.DataFrame(rows)
    return frame.assign(best=frame["score"].cummax())


def middle() -> dict:
    found: dict = {}
    for name, (low, high) in RANGES.items():
        value = float(np.sqrt(low * high))
        found[name] = np.full(SIZES[name], value) if name in SIZES else value
    return found


def network() -> dict:
    found = {name: value for name, value in middle().items() if name not in ("alpha", "epsilon", "beta")}
    # Six units from 1 play to 3,000; weights as those of the middle of the ranges.
    return found | {"scale": np.logspace(0, 3.5, 6), "of_gram": np.full(6, 1.0), "of_target": np.full(6, 1.5)}


def to_scale(factors: jaxals.Factors) -> jaxals.Factors:
    """Bring the mean square of all scores to 1: at a fixed temperature, large scores lower a loss as good ranks do."""
    n_pairs = len(factors.user) * len(factors.item)
    size = jnp.sqrt(jnp.sum(gramian(factors.user) * gramian(factors.item)) / n_pairs)
    return jaxals.Factors(factors.user / size, factors.item)


# Temperatures are no parameters of the model, and not tuned, for they can lower the loss by themselves.
LOSSES: dict[str, Callable] = {
    "smooth NDCG": lambda task: lambda factors, _: smooth_ndcg(to_scale(factors), task.held_out, 1.0),
    "softmax": lambda task: lambda factors, _: softmax_cross_entropy(to_scale(factors), task.held_out, 2.0),
}
METHODS = {"implicit": Implicit(sweeps=8, tolerance=1e-2), "truncated": Truncated(2)}


def by_gradient(task: Task, start: dict, loss: str, method: str) -> tuple[pd.DataFrame, dict]:
    settings = {
        "objective": task.objective,
        "tiles": task.tiles,
        "solver": SOLVER,
        "method": METHODS[method],
        "optimizer": optax.adam(optax.cosine_decay_schedule(0.1, arguments.steps, 0.1)),
        "sweeps": 2,
        "progress": False,
    }
    # What is compiled is the same for every call with these very functions.
    made = LOSSES[loss](task)
    parameters = on_device(start)
    begin = time.perf_counter()
    tune_by_gradient(made, parameters, task.start(0), steps=1, **settings)
    compiled = time.perf_counter() - begin
    measured = 0.0

    def measure(factors: jaxals.Factors) -> dict[str, float]:
        nonlocal measured
        start = time.perf_counter()
        found = task.measure(factors)
        measured += time.perf_counter() - start
        spent.append(measured)
        return found

    spent: list[float] = []
    found = tune_by_gradient(made, parameters, task.start(0), steps=arguments.steps, measure=measure, **settings)
    history = found.history.assign(seconds=found.history["seconds"] + spent, compiled=compiled)
    return history.assign(best=history[task.metric].cummax()), found.parameters


def plain(parameters: dict) -> dict:
    return {name: np.asarray(value, float).tolist() for name, value in parameters.items()}


def final(task: Task, parameters: dict) -> dict:
    scores = []
    for seed in range(arguments.seeds):
        factors = task.fit(parameters, seed)
        scores.append([task.measure(factors)[task.metric], run_plan(factors, task.test).metrics[task.metric]])
    mean, spread = np.mean(scores, axis=0), np.std(scores, axis=0, ddof=1) if len(scores) > 1 else np.zeros(2)
    return dict(
        zip(("validation", "validation ±", "test", "test ±"), np.stack([mean, spread]).T.ravel().tolist(), strict=True)
    )


def run(name: str) -> dict:
    task = Task(name, arguments.factors)
    report: dict = {
        "name": name,
        "data": repr(task.train),
        "metric": task.metric,
        "factors": arguments.factors,
        "sweeps": arguments.sweeps,
        **environment(),
        "contenders": {},
    }

    def note(title: str, history: pd.DataFrame, parameters: dict) -> None:
        outcome = final(task, parameters)
        report["contenders"][title] = {
            "history": history.drop(columns="parameters", errors="ignore").to_dict("list"),
            "parameters": plain(parameters),
            "final": outcome,
        }
        seconds = history["seconds"].iloc[-1]
        compiled = f"  compiled in {history['compiled'].iloc[0]:.0f} s" if "compiled" in history else ""
        print(f"{title:28} {seconds:7.1f} s  best {history['best'].max():.4f}  {outcome}{compiled}", flush=True)
        write(report)

    start = middle()
    note("gradient, smooth NDCG, implicit", *by_gradient(task, start, "smooth NDCG", "implicit"))
    searches = {
        "random, 3 numbers": (optuna.samplers.RandomSampler(seed=0), True),
        "random, all numbers": (optuna.samplers.RandomSampler(seed=0), False),
        "TPE, all numbers": (optuna.samplers.TPESampler(seed=0), False),
    }
    for title, (sampler, simple) in searches.items():
        found = search(task, sampler, simple)
        note(title, found, found.loc[found["score"].idxmax(), "parameters"])
    for loss, method in (("smooth NDCG", "truncated"), ("softmax", "implicit"), ("softmax", "truncated")):
        note(f"gradient, {loss}, {method}", *by_gradient(task, start, loss, method))
    if arguments.network:
        note("gradient, network", *by_gradient(task, network(), "smooth NDCG", "implicit"))
    return report


def write(report: dict) -> None:
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / f"hypergradients-{report['name']}"
    file.with_suffix(".json").write_text(json.dumps(report))
    draw_report(report, file.with_suffix(".png"))


def table(report: dict) -> str:
    random = [one for title, one in report["contenders"].items() if title.startswith("random")]
    aim = max(max(one["history"]["best"]) for one in random)
    limit = max(one["history"]["seconds"][-1] for one in random)
    lines = [f"| | seconds | to {aim:.4f} | of random's | validation | test |", "|---|---|---|---|---|---|"]
    for title, one in report["contenders"].items():
        history, outcome = pd.DataFrame(one["history"]), one["final"]
        reached = history.loc[history["best"] >= aim, "seconds"]
        until, share = (f"{reached.iloc[0]:.1f}", f"{reached.iloc[0] / limit:.2f}") if len(reached) else ("never", "")
        lines.append(
            f"| {title} | {history['seconds'].iloc[-1]:.1f} | {until} | {share} "
            f"| {outcome['validation']:.4f} ± {outcome['validation ±']:.4f} "
            f"| {outcome['test']:.4f} ± {outcome['test ±']:.4f} |"
        )
    return "\n".join(lines)


def draw_report(report: dict, file: pathlib.Path) -> None:
    figure = Figure(figsize=(13, 4.8), layout="constrained")
    time_ax, ridge_ax = figure.subplots(1, 2)
    for place, (title, one) in enumerate(report["contenders"].items()):
        dashed = "-" if title.startswith("gradient") else "--"
        seconds, best = one["history"]["seconds"], one["history"]["best"]
        time_ax.plot(seconds, best, dashed, color=PALETTE[place], label=title)
        for side, marker in (("user", "o"), ("item", "s")):
            ridges = one["parameters"][f"ridge_{side}"]
            ridge_ax.plot(np.arange(BUCKETS) + 1, ridges, dashed, marker=marker, color=PALETTE[place], alpha=0.8)
    time_ax.set(
        xscale="log",
        xlabel="seconds, without compilation",
        ylabel=f"best {report['metric'].upper()} on validation",
        title="How long each search takes to find good settings",
    )
    time_ax.legend(frameon=False, fontsize=8, loc="lower right")
    ridge_ax.set(
        yscale="log",
        xlabel="quarter of the users (circles) or items (squares), least active first",
        ylabel="ridge λ",
        title="The ridge that each found, by activity",
    )
    ridge_ax.set_xticks(np.arange(BUCKETS) + 1)
    for ax in (time_ax, ridge_ax):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#dddddd", linewidth=0.6)
    size = report["data"].removeprefix("Interactions(").split(", density")[0]
    figure.suptitle(f"{TITLES[report['name']]}: {size} to train on, {report['factors']} factors", fontsize=11)
    figure.savefig(file, dpi=110)


if arguments.draw:
    file = arguments.out / f"hypergradients-{arguments.data}"
    result = json.loads(file.with_suffix(".json").read_text())
    draw_report(result, file.with_suffix(".png"))
else:
    result = run(arguments.data)
print(f"\n{result['data']}, {result['factors']} factors, {result['metric']}\n\n{table(result)}")
