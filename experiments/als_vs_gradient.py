"""One weighted loss, solved in closed form and followed by gradients: who gets where, and how fast?

Every contender minimises the same objective on the same data, with the same factors and start. What a contender may
spend is counted in passes: all entries read once both ways, as a sweep and a full gradient do (what a solver then
computes from the vectors that it read differs). All gradient methods get the same passes, ALS 15 sweeps. Learning rates
are chosen by NDCG@10 on one held-out interaction a user, from a range that is extended until the best of it lies
inside; ALS and L-BFGS have none. Then all train afresh on all training data, with several seeds, and are measured on
the test set. Losses are exact for everybody, also for who trains on sampled negatives.

The parts are kept in `results/als_vs_gradient-<data>.json`; a call does those that are missing, so that an interrupted
one can be called again. It then writes tables, pictures, and the tables in `docs/experiments/als-vs-gradient.md` anew.

    JAXALS_DATA=... OPENBLAS_NUM_THREADS=1 python experiments/als_vs_gradient.py
    JAXALS_DATA=... OPENBLAS_NUM_THREADS=1 python experiments/als_vs_gradient.py --data ml-1m --only rates --minutes 5

Seconds are those of steps, without compilation, losses and metrics. They are taken from the runs with the first seed,
which `--only timed` does alone, once the rates are chosen: nothing else should run then.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import pandas as pd
from matplotlib.figure import Figure

import jaxals
from jaxals import ALS, Alternating, FullBatch, Gradient, SampledNegatives, UserBatches
from jaxals._base.environment import environment
from jaxals.datasets.published import find_published, read_ncf
from jaxals.evaluation import EvaluationPlan, leave_k_out, plan_evaluation, plan_negatives, random_holdout, run_plan
from jaxals.models.plots import plot_curves

ROOT = pathlib.Path(__file__).parents[1]
NAMES = ["lastfm-2k", "ml-1m", "medium"]
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", choices=NAMES, action="append", help="by default all three")
parser.add_argument("--only", choices=["rates", "timed", "curves", "memory", "tables"], help="by default everything")
parser.add_argument("--minutes", type=float, default=1e9, help="begin nothing new after so many")
parser.add_argument("--out", type=pathlib.Path, default=ROOT / "experiments" / "results")
parser.add_argument("--alone", help=argparse.SUPPRESS)
arguments = parser.parse_args()
jaxals.use_all_cores()


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained on and measured, and how long."""

    title: str
    train: jaxals.Interactions
    validation: jaxals.Interactions  # part of `train`
    plan: EvaluationPlan  # of the test set
    objective: jaxals.Objective
    factors: int
    passes: int  # of gradient methods
    trials: tuple[float, float]  # share of the passes that trials of learning rates take; of those with sampled items
    batch: int  # users a batch
    seeds: int
    without: tuple[str, ...] = ()  # contenders that would take too long
    ridges: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)  # λ, relative to the objective's

    @property
    def without_validation(self) -> jaxals.Interactions:
        keys = [part.user * np.int64(part.n_items) + part.item for part in (self.train, self.validation)]
        return self.train.select(~np.isin(*keys))


def load(name: str) -> Task:
    settings: dict[str, Any]
    if name == "ml-1m":  # the loss of Rendle et al. 2021, with their w0, λ and ν
        title = "MovieLens 1M (NCF split, among 99 negatives), `ials` with w0 = 0.3, λ = 0.007, ν = 1"
        split = read_ncf(find_published("ncf-ml-1m"))
        plan = plan_negatives(split.train, split.test, split.negatives, ["ndcg@10", "hit_rate@10"])
        objective = jaxals.Objective.ials(unobserved_weight=0.3, regularization=0.007)
        train, every = split.train, 1
        settings = {"factors": 64, "passes": 80, "trials": (1.0, 1.0), "batch": 512, "seeds": 2}
        settings["ridges"] = (0.1, 1.0, 10.0)
    elif name == "lastfm-2k":  # α and λ as `experiments/reproduce/lastfm_2k.py` chose them
        title = "Last.fm 2K (a fifth held out, among all artists), `log` with α = 1, λ = 30"
        split = random_holdout(jaxals.datasets.load(name), 0.2, seed=0)
        plan = plan_evaluation(split.train, split.test, ["ndcg@10", "recall@20"])
        objective = jaxals.Objective.log(alpha=1.0, regularization=30.0)
        train, every = split.train, 1
        settings = {"factors": 32, "passes": 150, "trials": (1.0, 1.0), "batch": 256, "seeds": 5}
    else:
        title = "Medium, synthetic (one item a user held out, 2,000 users measured), `implicit` with α = 2, λ = 1"
        data = jaxals.datasets.synthetic(n_users=100_000, n_items=50_000, n_interactions=4_800_000, seed=0)
        split = leave_k_out(data, 1, seed=0)
        some = split.test.select(split.test.user % 50 == 0)  # ranking 50,000 items for everybody takes long
        plan = plan_evaluation(split.train, some, ["ndcg@10", "recall@20"])
        objective = jaxals.Objective.implicit(alpha=2.0, regularization=1.0)
        train, every = split.train, 50
        settings = {"factors": 64, "passes": 30, "trials": (1 / 3, 1 / 3), "batch": 4096, "seeds": 1}
        settings["ridges"] = (0.1, 1.0, 10.0)
        settings["without"] = ("Adam, alternating", "Adagrad", "Adam, sampled, weight 1")
    held_out = leave_k_out(train, 1, seed=1).test
    return Task(title, train, held_out.select(held_out.user % every == 0), plan, objective, **settings)


@dataclasses.dataclass(frozen=True)
class Contender:
    """A trainer of a learning rate, how many of its steps make a pass, and whose learning rate it takes."""

    trainer: Callable[[float], jaxals.training.Trainer]
    steps_a_pass: int = 1
    rate_of: str | None = None
    has_line_search: bool = False


def contenders(task: Task, share: float = 1.0) -> dict[str, Contender]:
    """Name all contenders, with a share of the passes."""
    a_pass = -(-np.count_nonzero(task.train.counts()) // task.batch)
    passes = round(share * task.passes)

    def decayed(batch: Any, steps_a_pass: int = 1, rate_of: str | None = None) -> Contender:
        steps = passes * steps_a_pass
        adam = lambda rate: optax.adam(optax.cosine_decay_schedule(rate, steps, 0.02))
        # Two dozen rows: what is measured between them takes as long as the steps.
        make = lambda rate: Gradient(task.factors, steps, adam(rate), batch, report_every=max(steps // 24, 1))
        return Contender(make, steps_a_pass, rate_of)

    adagrad = lambda rate: Gradient(task.factors, passes, optax.adagrad(rate), report_every=max(passes // 24, 1))
    lbfgs = Gradient(task.factors, passes, optax.lbfgs(), report_every=max(passes // 24, 1))
    als = lambda solver: Contender(lambda _: ALS(task.factors, 15, solver))
    everybody = {
        "ALS, Cholesky": als(jaxals.Cholesky()),
        "ALS, CG": als(jaxals.ConjugateGradient()),
        "ALS, Subspace": als(jaxals.Subspace(block=task.factors // 2)),
        "L-BFGS": Contender(lambda _: lbfgs, has_line_search=True),
        "Adam": dataclasses.replace(decayed(FullBatch()), rate_of="Adam"),
        "Adagrad": Contender(adagrad, rate_of="Adagrad"),
        "Adam, alternating": decayed(Alternating(), rate_of="Adam, alternating"),
        "Adam, users": decayed(UserBatches(task.batch), a_pass, "Adam, users"),
        "Adam, sampled": decayed(SampledNegatives(task.batch), a_pass, "Adam, sampled"),
        "Adam, sampled, weight 1": decayed(SampledNegatives(task.batch, weight=1.0), a_pass, "Adam, sampled"),
    }
    return {name: contender for name, contender in everybody.items() if name not in task.without}


class Report:
    """What has been measured of a data set, in a file that grows part by part."""

    def __init__(self, name: str):
        self.file = arguments.out / f"als_vs_gradient-{name}.json"
        self.content: dict[str, Any] = {"name": name, "parts": {}}
        if self.file.exists():
            self.content = json.loads(self.file.read_text())
            # Files of before there was a "machine" name the processor among the versions.
            measured_on = self.content.get("machine", self.content["versions"]).get("processor")
            if arguments.only != "tables" and measured_on != (here := environment()["machine"]["processor"]):
                raise SystemExit(f"{self.file} was measured on {measured_on}, this is {here}: remove it first.")

    def part(self, key: str, measure: Callable[[], Any]) -> Any:
        """Return a part, measured now where it is not known yet."""
        parts = self.content["parts"]
        if key not in parts:
            if time.monotonic() - BEGUN > 60 * arguments.minutes:
                raise SystemExit(f"Stopped before {key}; the same command goes on from here.")
            start = time.monotonic()
            parts[key] = _rounded(measure())
            print(f"{self.content['name']:10} {key:44} {time.monotonic() - start:6.1f} s", flush=True)
            self.write()
        return parts[key]

    def write(self) -> None:
        self.content |= environment()
        arguments.out.mkdir(parents=True, exist_ok=True)
        lines = [f"  {json.dumps(key)}: {json.dumps(part)}" for key, part in self.content["parts"].items()]
        head = json.dumps({key: value for key, value in self.content.items() if key != "parts"})[:-1]
        self.file.write_text(head + ',\n "parts": {\n' + ",\n".join(lines) + "\n}}\n")


def _rounded(value: Any) -> Any:
    """Keep seven digits, as float32 has them; what is not a number, of a run that overflowed, becomes None."""
    if isinstance(value, dict):
        return {str(key): _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.7g}") if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def train(trainer, data, objective, plan, seed=0, initial=None, every_row=True) -> tuple[jaxals.Run, dict]:
    """Return the run, and its history with losses and, of every row or of the last one, metrics."""
    entries, measured = data.to_coo(), []
    n_steps = trainer.sweeps if isinstance(trainer, ALS) else trainer.steps

    def observe(progress: jaxals.training.Progress) -> None:
        is_wanted = every_row or progress.step == n_steps
        loss = {"loss": float(objective.loss(progress.factors, entries))}
        measured.append(loss | (run_plan(progress.factors, plan).metrics if is_wanted else {}))

    # Losses are computed here, not within steps: ALS would compute one a sweep, gradients one in several steps.
    run = jaxals.fit(
        data, objective, trainer, seed=seed, initial=initial, progress=False, callbacks=[observe], loss_every=0
    )
    return run, pd.concat([run.history.drop(columns="loss"), pd.DataFrame(measured)], axis=1).to_dict("list")


def choose_rate(name: str, task: Task, report: Report, validation: Callable[[], tuple]) -> float:
    """Try learning rates, 1 and 3 of each power of ten, until the best lies inside their range."""
    of_place = lambda place: float(f"{(1, 3)[place % 2]}e{place // 2}")

    def attempt(place: int) -> float:
        def measure() -> dict:
            subset, plan = validation()
            trainer = contenders(task, task.trials["sampled" in name])[name].trainer(of_place(place))
            trainer = dataclasses.replace(trainer, report_every=trainer.steps)
            try:
                history = train(trainer, subset, task.objective, plan)[1]
            except jaxals.errors.NumericalError:
                return {"loss": None, "ndcg@10": 0.0}
            return {"loss": history["loss"][-1], "ndcg@10": history["ndcg@10"][-1]}

        return report.part(f"rate/{name}/{of_place(place):g}", measure)["ndcg@10"]

    found = {place: attempt(place) for place in range(-4, 0)}  # .01 to .3
    while (best := max(found, key=lambda place: found[place])) in (min(found), max(found)):
        edge = best - 1 if best == min(found) else best + 1
        found[edge] = attempt(edge)
    return of_place(best)


def evaluations(task: Task, trainer: jaxals.Gradient, initial: jaxals.Factors | None = None) -> list[int]:
    """Count the gradients that each step of L-BFGS takes; the first step needs one more, to begin with."""
    trainer = dataclasses.replace(trainer, report_every=1)
    training = trainer.begin(task.train, task.objective, jax.random.key(0), initial, jaxals.make_mesh())
    counts, state = [], training.start()
    for _ in range(training.n_steps):
        state, _ = training.step(state, False)
        counts.append(int(optax.tree.get(state.optimizer, "num_linesearch_steps")))
    return [counts[0] + 1, *counts[1:]]


def settled(name: str, task: Task, report: Report, validation: Callable[[], tuple]) -> jaxals.training.Trainer:
    """Return a contender's trainer as it takes part: its learning rate chosen, its passes within what all have."""
    contender = contenders(task)[name]
    if contender.has_line_search:
        lbfgs = contender.trainer(0.0)
        spent = np.cumsum(report.part("evaluations", lambda: evaluations(task, lbfgs)))
        return dataclasses.replace(lbfgs, steps=int(np.sum(spent <= task.passes)))
    rate = choose_rate(contender.rate_of, task, report, validation) if contender.rate_of else 0.0
    return contender.trainer(rate)


def choose_all(task: Task, report: Report) -> dict[str, jaxals.training.Trainer]:
    """Return all trainers, their learning rates chosen."""
    prepared: list[tuple] = []

    def validation() -> tuple[jaxals.Interactions, EvaluationPlan]:
        if not prepared:
            subset = task.without_validation
            prepared.append((subset, plan_evaluation(subset, task.validation, ["ndcg@10"])))
        return prepared[0]

    return {name: settled(name, task, report, validation) for name in contenders(task)}


def measure_timed(task: Task, report: Report, chosen: dict) -> None:
    for name, trainer in chosen.items():
        report.part(f"run/{name}/0", lambda t=trainer: train(t, task.train, task.objective, task.plan)[1])


def measure_curves(task: Task, report: Report, chosen: dict) -> None:
    """Train with other seeds, with other λ, and one contender from where another one ends."""
    last_row = functools.partial(train, data=task.train, plan=task.plan, every_row=False)
    for seed in range(1, task.seeds):
        for name, trainer in chosen.items():
            run = lambda t=trainer, s=seed: last_row(t, objective=task.objective, seed=s)[1]
            report.part(f"run/{name}/{seed}", run)
    for times in (times for times in task.ridges if times != 1):
        objective = dataclasses.replace(task.objective, regularization=times * task.objective.regularization)
        for name in ("ALS, CG", "L-BFGS", "Adam"):
            run = lambda t=chosen[name], o=objective: last_row(t, objective=o)[1]
            report.part(f"ridge/{times:g}/{name}", run)
    short = {"ALS, CG": dataclasses.replace(chosen["ALS, CG"], sweeps=2)}
    short |= {name: dataclasses.replace(chosen[name], steps=10, report_every=1) for name in ("L-BFGS", "Adam")}
    for first, second in [("ALS, CG", "L-BFGS"), ("ALS, CG", "Adam"), ("L-BFGS", "ALS, CG"), ("Adam", "ALS, CG")]:

        def warm(first: str = first, second: str = second) -> dict:
            run, before = last_row(short[first], objective=task.objective)
            every = {"report_every": 1} if isinstance(chosen[second], Gradient) else {}
            then = dataclasses.replace(chosen[second], **every)
            after = last_row(then, objective=task.objective, initial=run.factors)[1]
            spent = evaluations(task, then, run.factors) if second == "L-BFGS" else [1] * len(after["loss"])
            outcome = {"loss": after["loss"], "ndcg@10": after["ndcg@10"][-1]}
            return {"before": before["loss"][-1], "evaluations": spent, **outcome}

        report.part(f"warm/{first}/{second}", warm)


def measure_memory(task: Task, report: Report) -> None:
    """Measure the peak memory of two steps of each contender, in a process of its own, and of the data alone."""
    for name in ["data alone", *contenders(task)]:
        command = [sys.executable, __file__, "--data", report.content["name"], "--alone", name]
        run = lambda command=command: subprocess.run(command, check=True, capture_output=True, text=True).stdout
        report.part(f"memory/{name}", lambda run=run: float(run().split()[-1]))


def train_alone(task: Task, name: str) -> None:
    if name != "data alone":
        trainer = contenders(task)[name].trainer(0.01)
        short = {"sweeps": 2} if isinstance(trainer, ALS) else {"steps": 2, "report_every": 1}
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget what loading took at its peak
        jaxals.fit(task.train, task.objective, dataclasses.replace(trainer, **short), progress=False, loss_every=0)
    # `getrusage` would count what the process that started this one held.
    print(int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024 / 1e9)


def histories(task: Task, report: Report) -> dict[str, pd.DataFrame]:
    """Return each contender's history with the first seed, its passes, and its seconds without compilation."""
    found, parts = {}, report.content["parts"]
    for name, contender in contenders(task).items():
        history = pd.DataFrame(parts[f"run/{name}/0"])
        steps, seconds = history.iloc[:, 0], history["seconds"]
        spent = np.cumsum(parts["evaluations"]) if contender.has_line_search else None
        passes = steps / contender.steps_a_pass if spent is None else spent[steps - 1]
        # The first row's seconds contain the compilation; its passes are taken to last as long as the others.
        passes = np.asarray(passes)
        first = passes[0] * (seconds.iloc[-1] - seconds[0]) / (passes[-1] - passes[0])
        found[name] = history.assign(passes=passes, seconds=seconds - seconds[0] + first)
    return found


def rates(name: str, report: Report) -> dict[float, dict]:
    """Return what each learning rate gave."""
    start = f"rate/{name}/"
    tried = {float(key.removeprefix(start)): part for key, part in report.content["parts"].items() if start in key}
    return dict(sorted(tried.items()))


def of_ridge(report: Report, times: float, name: str) -> float:
    """Return the NDCG@10 that a contender reached with another λ; with the objective's it took part."""
    key = f"run/{name}/0" if times == 1 else f"ridge/{times:g}/{name}"
    return report.content["parts"][key]["ndcg@10"][-1]


def until(history: pd.DataFrame, aim: float, column: str) -> float:
    """Return where a history first reaches a loss, between its rows; NaN if it never does."""
    loss, place = history["loss"].to_numpy(), history[column].to_numpy()
    if not (loss <= aim).any():
        return np.nan
    row = int(np.argmax(loss <= aim))
    before = (place[0] * 0, loss[0]) if row == 0 else (place[row - 1], loss[row - 1])
    if row == 0 or before[1] == loss[row]:
        return float(place[row])
    # Losses fall like a power near their end: the logarithm is the straighter one.
    share = np.log(before[1] / aim) / np.log(before[1] / loss[row])
    return float(before[0] + share * (place[row] - before[0]))


def main_table(task: Task, report: Report) -> list[str]:
    parts = report.content["parts"]
    lasts = {
        name: pd.DataFrame([pd.DataFrame(parts[f"run/{name}/{seed}"]).iloc[-1] for seed in range(task.seeds)])
        for name in contenders(task)
    }
    exact = lasts["ALS, Cholesky"]["loss"].mean()
    number = lambda value, digits: "never" if np.isnan(value) else f"{value:.{digits}f}"
    spread = lambda column, digits: f" ± {column.std():.{digits}f}" if task.seeds > 1 else ""
    lines = [
        "| | rate | passes to 1 % | seconds to 1 % | seconds in all | loss above exact ALS | NDCG@10 | peak GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, history in histories(task, report).items():
        last = lasts[name]
        tried = rates(contenders(task)[name].rate_of, report) if contenders(task)[name].rate_of else {}
        rate = f"{max(tried, key=lambda rate: tried[rate]['ndcg@10']):g}" if tried else ""
        above, ndcg = 100 * (last["loss"] / exact - 1), last["ndcg@10"]
        reached = number(until(history, 1.01 * exact, "seconds"), 2)
        lines.append(
            f"| {name} | {rate} | {number(until(history, 1.01 * exact, 'passes'), 0)} | {reached} "
            f"| {history['seconds'].iloc[-1]:.1f} | {round(above.mean(), 2) + 0.0:.2f}{spread(above, 2)} % "
            f"| {ndcg.mean():.4f}{spread(ndcg, 4)} | {parts.get(f'memory/{name}', np.nan):.2f} |".replace("nan", "")
        )
    return lines


def other_tables(task: Task, report: Report) -> list[str]:
    parts = report.content["parts"]
    head = lambda cells: [f"| {' | '.join(cells)} |", "|---" * len(cells) + "|"]
    lines = ["", "Learning rates: NDCG@10 on validation, and the loss.", "", *head(["", "rate: NDCG@10 (loss)"])]
    for name in dict.fromkeys(one.rate_of for one in contenders(task).values() if one.rate_of):
        tried = [
            f"{rate:g}: {one['ndcg@10']:.4f} ({one['loss']:,.0f})" if one["loss"] else f"{rate:g}: overflowed"
            for rate, one in rates(name, report).items()
        ]
        lines.append(f"| {name} | {', '.join(tried)} |")
    lines += ["", "λ, relative to the objective's: NDCG@10 on the test set.", ""]
    lines += head(["", *(f"{times:g} λ" for times in task.ridges)])
    for name in ("ALS, CG", "L-BFGS", "Adam"):
        ndcg = [of_ridge(report, times, name) for times in task.ridges]
        lines.append(f"| {name} | {' | '.join(f'{value:.4f}' for value in ndcg)} |")
    exact = np.mean([parts[f"run/ALS, Cholesky/{seed}"]["loss"][-1] for seed in range(task.seeds)])
    text = "Warm starts, 2 sweeps or 10 steps of one and then the other: loss above exact ALS."
    lines += ["", text, "", *head(["", "where the first ends", "1 pass", "5", "10", "at the end", "NDCG@10"])]
    for key, part in parts.items():
        if key.startswith("warm/"):
            first, second = key.split("/")[1:]
            done = [int(np.sum(np.cumsum(part["evaluations"]) <= passes)) for passes in (0, 1, 5, 10)]
            reached = [part["before"], *part["loss"]]
            loss = [*(reached[steps] for steps in done), reached[-1]]
            cells = [f"{100 * (value / exact - 1):.2f} %" for value in loss]
            lines.append(f"| {first}, then {second} | {' | '.join(cells)} | {part['ndcg@10']:.4f} |")
    if "memory/data alone" in parts:
        lines += ["", f"Peak memory of loading the data alone: {parts['memory/data alone']:.2f} GB."]
    return lines


def draw(task: Task, report: Report, file: pathlib.Path) -> None:
    figure = Figure(figsize=(14, 8.4), layout="constrained")
    axes = figure.subplots(2, 3)
    curves = histories(task, report)
    exact = curves["ALS, Cholesky"]["loss"].iloc[-1]
    # What diverged would squeeze all else into a corner.
    shown = {name: one[one["loss"] < 10 * exact] for name, one in curves.items()}
    for column, x in enumerate(("passes", "seconds")):
        for row, y in enumerate(("loss", "ndcg@10")):
            plot_curves(shown, y, x, axes[row, column]).set_xscale("log")
            axes[row, column].get_legend().remove()
            what = {"loss": "Loss", "ndcg@10": "NDCG@10 on the test set"}[y]
            axes[row, column].set_title(f"{what} over {'passes over the data' if x == 'passes' else 'seconds'}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    tried, ridges = axes[0, 2], axes[1, 2]
    colours = {line.get_label(): line for line in axes[0, 0].lines}
    for name in curves:
        if contenders(task)[name].rate_of == name:
            points = pd.DataFrame(rates(name, report)).T
            line = colours[name]
            style = {"color": line.get_color(), "linestyle": line.get_linestyle(), "markersize": 3}
            style["marker"] = line.get_marker()
            tried.plot(points.index, points["ndcg@10"].astype(float), **style)
    tried.set(xscale="log", xlabel="learning rate", ylabel="NDCG@10", title="Learning rate, on validation")
    for name in ("ALS, CG", "L-BFGS", "Adam"):
        ndcg = [of_ridge(report, times, name) for times in task.ridges]
        ridges.plot(task.ridges, ndcg, color=colours[name].get_color(), marker="o", markersize=3)
    ridges.set(xscale="log", xlabel="λ, relative to the objective's", ylabel="NDCG@10", title="λ, on the test set")
    for ax in (tried, ridges):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#dddddd", linewidth=0.6)
    figure.suptitle(task.title.replace("`", "") + f"; {task.factors} factors", fontsize=11)
    figure.savefig(file, dpi=100)


def write_tables(task: Task, report: Report) -> None:
    """Write all tables and the picture, and the main table into the page."""
    name, main = report.content["name"], main_table(task, report)
    seeds = f"{task.seeds} seeds, ± standard deviation" if task.seeds > 1 else "one seed"
    setting = f"{task.title}; {task.factors} factors, {task.passes} passes, {seeds}."
    text = "\n".join([f"# {task.train!r}", "", setting, "", *main, *other_tables(task, report), ""])
    report.file.with_suffix(".md").write_text(text, encoding="utf-8")
    draw(task, report, report.file.with_suffix(".png"))
    page = ROOT / "docs" / "experiments" / "als-vs-gradient.md"
    marks = rf"(<!-- {name}: written by experiments/als_vs_gradient.py -->\n).*?(<!-- end of {name} -->)"
    inside = "\n".join([setting, "", *main, ""])
    old = page.read_text(encoding="utf-8")
    new = re.sub(marks, lambda found: found[1] + inside + found[2], old, flags=re.DOTALL)
    if arguments.out == ROOT / "experiments" / "results":
        page.write_text(new, encoding="utf-8")
    print("\n" + text)


BEGUN = time.monotonic()
for name in arguments.data or NAMES:
    task, report = load(name), Report(name)
    if arguments.alone:
        train_alone(task, arguments.alone)
        continue
    if arguments.only in (None, "rates", "timed", "curves"):
        chosen = choose_all(task, report)
    if arguments.only in (None, "timed"):
        measure_timed(task, report, chosen)
    if arguments.only in (None, "curves"):
        measure_curves(task, report, chosen)
    if arguments.only in (None, "memory"):
        measure_memory(task, report)
    if arguments.only in (None, "tables"):
        write_tables(task, report)
