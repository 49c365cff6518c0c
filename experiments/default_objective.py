"""Whether `jaxals.fit(data)`, with nothing chosen, is any good: beside popularity, baselines, tuned models and peers.

One item of each user is held out and ranked among all that the user does not have: the one that the published splits
hold out (ML-1M of NCF, Last.fm of DeepCF), or one at random, anew for each seed. Models of jaxals have 64 factors and
the default trainer, peers what they come with. What is "chosen" has the best NDCG@10 of several candidates, for each
set alone, on one item of each user held out of the training data with seed 0. How close every point of jaxals' grid
comes to the best one there is printed below the table. No point is close on all sets: the sparser the data, the less an
unobserved pair has to weigh. The default makes w0 of the density, therefore.

Writes `results/default_objective-<set>.json` for each set, and the table of all of them.

    JAXALS_DATA=... python experiments/default_objective.py
"""

import argparse
import collections
import itertools
import json
import pathlib
import statistics
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pandas as pd
import scipy.sparse

import jaxals
from jaxals._base.environment import environment
from jaxals.cli.demo import movielens
from jaxals.data.split import Split
from jaxals.datasets.published import find_published, read_ncf
from jaxals.evaluation import Popularity, Scorer, leave_k_out, plan_evaluation, plan_negatives, run_plan

TITLES = {
    "lastfm-2k": "Last.fm 2K (plays)",
    "ml-1m": "ML-1M, NCF (ratings)",
    "deepcf-lastfm": "Last.fm, DeepCF (plays)",
    "online-retail": "Online Retail (units)",
    "movielens-small": "MovieLens, dslabs (likes)",
}
METRIC = "ndcg@10"
DEFAULT = "`jaxals.fit(data)`"
GRID: dict[str, jaxals.Objective] = {
    f"ials({w0}, {ridge})": jaxals.Objective.ials(w0, ridge)
    for w0, ridge in itertools.product((0.03, 0.1, 0.3, 1.0), (0.003, 0.01, 0.03))
} | {
    f"log({alpha}, 1, {ridge})": jaxals.Objective.log(alpha, 1.0, ridge)
    for alpha, ridge in itertools.product((0.3, 1.0, 3.0), (3.0, 10.0, 30.0))
}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", nargs="*", choices=TITLES, default=list(TITLES), help="sets to measure; none: the table")
parser.add_argument("--models", nargs="*", help="measure these alone, and keep what is known of the others")
parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()
jaxals.use_all_cores()


def read(name: str) -> tuple[Callable[[int], Split], jaxals.Interactions | None]:
    """Return what makes the split of a seed, and the negatives that a published split comes with."""
    if name in ("ml-1m", "deepcf-lastfm"):
        published = read_ncf(find_published("ncf-ml-1m" if name == "ml-1m" else name))
        return lambda seed: Split(published.train, published.test), published.negatives
    data = movielens() if name == "movielens-small" else jaxals.datasets.load(name)
    return lambda seed: leave_k_out(data, k=1, seed=seed), None


def train(data: jaxals.Interactions, objective: jaxals.Objective, seed: int) -> jaxals.Factors:
    return jaxals.fit(data, objective, seed=seed, progress=False, loss_every=0).factors


def train_implicit(data: jaxals.Interactions, seed: int) -> jaxals.Factors:
    """Train what `AlternatingLeastSquares()` of implicit is on a processor, on the values as they are."""
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(random_state=seed)
    model.fit(scipy.sparse.csr_matrix(data.to_scipy().astype(np.float32)), show_progress=False)
    return jaxals.Factors(jnp.asarray(model.user_factors), jnp.asarray(model.item_factors))


def train_irspack(data: jaxals.Interactions, seed: int) -> jaxals.Factors:
    """Train what `IALSRecommender(data)` of irspack is, on the values as they are."""
    from irspack import IALSRecommender

    matrix = scipy.sparse.csr_matrix(data.to_scipy().astype(np.float32))
    model = IALSRecommender(matrix, random_seed=seed, n_threads=2).learn()
    return jaxals.Factors(jnp.asarray(model.get_user_embedding()), jnp.asarray(model.get_item_embedding()))


# What makes a scorer of training data and a seed. Where there are several candidates, validation chooses.
MODELS: dict[str, dict[str, Callable[[jaxals.Interactions, int], Scorer]]] = {
    "popularity": {"": lambda data, seed: Popularity.from_interactions(data)},
    "item-kNN, chosen": {
        f"{k} neighbours, {weighting}": lambda data, seed, k=k, how=weighting: jaxals.ItemKNN(k, how).fit(data)
        for k, weighting in itertools.product((20, 100), ("cosine", "bm25"))
    },
    "EASE, chosen": {
        f"λ {ridge:g}": lambda data, seed, ridge=ridge: jaxals.EASE(ridge).fit(data) for ridge in (50.0, 200.0, 800.0)
    },
    "implicit's default": {"": train_implicit},
    "irspack's default": {"": train_irspack},
    DEFAULT: {"": lambda data, seed: jaxals.fit(data, seed=seed, progress=False).factors},
    "jaxals, chosen": {
        name: lambda data, seed, objective=objective: train(data, objective, seed) for name, objective in GRID.items()
    },
}


def measure(name: str) -> None:
    """Measure models on a set, and write what came out after each."""
    file = arguments.out / f"default_objective-{name}.json"
    record = json.loads(file.read_text()) if file.exists() else {"validation": {}, "chosen": {}, "test": {}}
    split_of, negatives = read(name)
    validation = leave_k_out(split_of(0).train, k=1, seed=0)
    validating = plan_evaluation(validation.train, validation.test, [METRIC])
    for model in arguments.models or MODELS:
        candidates, chosen = MODELS[model], ""
        if len(candidates) > 1:
            on_validation = {
                c: run_plan(make(validation.train, 0), validating)[METRIC] for c, make in candidates.items()
            }
            chosen = max(on_validation, key=lambda candidate: on_validation[candidate])
            record["validation"][model], record["chosen"][model] = on_validation, chosen
        record["test"][model] = columns = collections.defaultdict(list)
        for seed in range(arguments.seeds):
            split = split_of(seed)
            scorer = candidates[chosen](split.train, seed)
            columns[METRIC].append(run_plan(scorer, plan_evaluation(split.train, split.test, [METRIC]))[METRIC])
            if negatives is not None:
                among = plan_negatives(split.train, split.test, negatives, ["hit_rate@10"])
                columns["hit_rate@10"].append(run_plan(scorer, among)["hit_rate@10"])
        print(name, model, chosen, dict(columns), flush=True)
        file.write_text(json.dumps(record | {"data": repr(split_of(0).train), **environment()}, indent=1) + "\n")


def table(records: dict[str, dict]) -> str:
    """Write the mean over seeds of each model and set, and how often that of popularity it is."""
    lines = [f"| NDCG@10 | {' | '.join(TITLES[name] for name in records)} |", "|---" * (len(records) + 1) + "|"]
    for model in MODELS:
        cells = []
        for record in records.values():
            if model not in record["test"]:
                cells.append("")
                continue
            value = statistics.fmean(record["test"][model][METRIC])
            times = value / statistics.fmean(record["test"]["popularity"][METRIC])
            chosen = record["chosen"].get(model)
            cells.append(f"{value:.4f} ({times:.1f})".removeprefix("0") + (f", {chosen}" if chosen else ""))
        lines.append(f"| {model} | {' | '.join(cells)} |")
    lines += ["", "| HR@10 among 99 negatives | ML-1M, NCF | Last.fm, DeepCF |", "|---|---|---|"]
    for model in MODELS:
        rates = [records[name]["test"].get(model, {}).get("hit_rate@10") for name in ("ml-1m", "deepcf-lastfm")]
        lines.append(
            f"| {model} | {' | '.join(f'{statistics.fmean(rate):.4f}'[1:] if rate else '' for rate in rates)} |"
        )
    return "\n".join(lines) + "\n"


def standing(records: dict[str, dict]) -> pd.DataFrame:
    """Return what share of the best NDCG@10 on validation each point has, the best at its worst first."""
    measured = pd.DataFrame(
        {name: record["validation"].get("jaxals, chosen") or {} for name, record in records.items()}
    )
    shares = measured / measured.max()
    return shares.assign(worst=shares.min(axis=1)).sort_values("worst", ascending=False).round(3)


for name in arguments.data:
    measure(name)
records = {
    name: json.loads((arguments.out / f"default_objective-{name}.json").read_text())
    for name in TITLES
    if (arguments.out / f"default_objective-{name}.json").exists()
}
if len(records) == len(TITLES):
    text = table(records)
    (arguments.out / "default_objective.md").write_text(text)
    print(text)
print(standing(records).head(12).to_string())
