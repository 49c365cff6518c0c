"""Ranking and loss by sweep: starts from random factors and from singular vectors, plain sweeps and momentum.

One positive entry of each user is hidden, or the published split of the set is taken; metrics are on the test after
each sweep, so that the best sweep may be compared, and nothing is chosen. Prints the best sweep of each way to train,
writes a table of every sweep and draws both.

    JAXALS_DATA=... python experiments/first_sweeps.py --seeds 5
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable

import matplotlib.pyplot as plt
import pandas as pd

import jaxals
from jaxals.datasets.published import find_published, read_adjacency, read_ncf
from jaxals.evaluation import EvaluationPlan, leave_k_out, plan_evaluation, plan_negatives
from jaxals.models.plots import PALETTE

NDCG = "ndcg@10"


@dataclasses.dataclass(frozen=True)
class Case:
    """A data set with an objective whose numbers suit it."""

    load: Callable[[], tuple[jaxals.Interactions, EvaluationPlan]]
    objective: jaxals.Objective


def of_negatives(name: str) -> tuple[jaxals.Interactions, EvaluationPlan]:
    split = read_ncf(find_published(name))
    return split.train, plan_negatives(split.train, split.test, split.negatives, [NDCG])


def of_one_held_out(name: str) -> tuple[jaxals.Interactions, EvaluationPlan]:
    split = leave_k_out(jaxals.datasets.load(name), k=1, seed=0)
    return split.train, plan_evaluation(split.train, split.test, [NDCG])


def of_gowalla() -> tuple[jaxals.Interactions, EvaluationPlan]:
    folder = find_published("gowalla-lightgcn")
    split = read_adjacency(folder / "train.txt", folder / "test.txt")
    return split.train, plan_evaluation(split.train, split.test, [NDCG])


CASES = {
    "ML-1M (NCF)": Case(lambda: of_negatives("ncf-ml-1m"), jaxals.Objective.ials(0.3, 0.007)),
    "Last.fm (DeepCF)": Case(lambda: of_negatives("deepcf-lastfm"), jaxals.Objective.log(1.0, 1.0, 10.0)),
    "Last.fm 2K": Case(lambda: of_one_held_out("lastfm-2k"), jaxals.Objective.log(1.0, 1.0, 10.0)),
    "Last.fm 2K, hkv": Case(lambda: of_one_held_out("lastfm-2k"), jaxals.Objective.hkv(0.01, 10.0)),
    "Online Retail": Case(lambda: of_one_held_out("online-retail"), jaxals.Objective.ials(0.1, 0.01)),
    "Gowalla": Case(of_gowalla, jaxals.Objective.ials(0.02, 0.003)),
}
WAYS = {
    "random, plain": {"start": "random", "acceleration": None},
    "random, momentum": {"start": "random"},
    "spectral, plain": {"start": "spectral", "acceleration": None},
    "spectral, momentum": {"start": "spectral"},
}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", nargs="+", choices=[*CASES], default=[*CASES])
parser.add_argument("--factors", type=int, default=64)
parser.add_argument("--sweeps", type=int, default=20)
parser.add_argument("--seeds", type=int, default=5)
parser.add_argument("--draw", action="store_true", help="draw what was measured before, and measure nothing")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()


def measure() -> pd.DataFrame:
    rows = []
    for name in arguments.data:
        train, plan = CASES[name].load()
        for way, settings in WAYS.items():
            trainer = jaxals.ALS(arguments.factors, arguments.sweeps, jaxals.ConjugateGradient(), **settings)
            for seed in range(arguments.seeds):
                run = jaxals.fit(train, CASES[name].objective, trainer, seed=seed, validation=plan, progress=False)
                rows.append(run.history[["step", "loss", NDCG]].assign(data=name, way=way, seed=seed))
            print(f"{name}, {way}: NDCG@10 after the last sweep {rows[-1][NDCG].iloc[-1]:.4f}", flush=True)
    table = pd.concat(rows, ignore_index=True)
    by_sweep = table.groupby(["data", "way", "step"], sort=False).agg(
        loss=("loss", "mean"), ndcg=(NDCG, "mean"), deviation=(NDCG, "std")
    )
    return by_sweep


arguments.out.mkdir(parents=True, exist_ok=True)
file = arguments.out / "first_sweeps.csv"
if arguments.draw:
    by_sweep = pd.read_csv(file).set_index(["data", "way", "step"])
else:
    jaxals.use_all_cores()
    by_sweep = measure()
    by_sweep.reset_index().to_csv(file, index=False, float_format="%.6g")
best = by_sweep.loc[by_sweep.groupby(["data", "way"], sort=False)["ndcg"].idxmax()].reset_index()
print(best[["data", "way", "step", "ndcg", "deviation"]].to_string(index=False, float_format="%.4f"))

names = list(by_sweep.index.unique("data"))
figure, axes = plt.subplots(2, len(names), figsize=(3.2 * len(names), 6), sharex=True, squeeze=False)
for column, name in zip(axes.T, names, strict=True):
    lowest = by_sweep.loc[name]["loss"].min()
    for number, way in enumerate(WAYS):
        part = by_sweep.loc[name].loc[way]
        style = {"color": PALETTE[number // 2], "linestyle": ["--", "-"][number % 2], "label": way}
        column[0].plot(part.index, part["ndcg"], **style)
        column[0].fill_between(
            part.index,
            part["ndcg"] - part["deviation"],
            part["ndcg"] + part["deviation"],
            color=style["color"],
            alpha=0.15,
            linewidth=0,
        )
        column[1].semilogy(part.index, 100 * (part["loss"] / lowest - 1) + 1e-3, **style)
    column[0].set_title(name)
    column[1].set_xlabel("sweep")
    column[1].xaxis.get_major_locator().set_params(integer=True)
axes[0, 0].set_ylabel("NDCG@10")
axes[1, 0].set_ylabel("loss above the lowest, %")
axes[1, 0].legend(fontsize="small")
for ax in axes.flat:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#dddddd", linewidth=0.6)
figure.suptitle("How good a model is after each sweep, by where it starts and with or without momentum", fontsize=12)
figure.tight_layout()
figure.savefig(arguments.out / "first_sweeps.png", dpi=110)
