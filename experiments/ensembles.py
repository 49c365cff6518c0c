"""What averaging models of several seeds gains in NDCG@10, beside one model of as many factors in all.

Each size's λ and w0 are those with the best NDCG@10 on a validation split of the training data, found by a sweep; the
test is looked at once, with seeds of its own. Last.fm 2K: one artist of each listener hidden; ML-1M: the NCF split,
ranked among all films (not among negatives). Writes JSON.

    JAXALS_DATA=... python experiments/ensembles.py --data lastfm-2k
"""

import argparse
import json
import pathlib

import numpy as np
import pandas as pd

import jaxals
from jaxals._base.environment import environment
from jaxals.datasets.published import find_published, read_ncf
from jaxals.evaluation import compare, evaluate, leave_k_out

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", choices=["lastfm-2k", "ml-1m"], default="lastfm-2k")
parser.add_argument("--factors", type=int, default=32)
parser.add_argument("--models", type=int, default=4)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()
jaxals.use_all_cores()

if arguments.data == "ml-1m":
    split = read_ncf(find_published("ncf-ml-1m"))
else:
    split = leave_k_out(jaxals.datasets.load("lastfm-2k"), k=1, seed=0)
validation = leave_k_out(split.train, k=1, seed=1)
grid = {"unobserved_weight": [0.03, 0.1, 0.3], "regularization": [0.001, 0.003, 0.01, 0.03]}


def train(factors: int, seeds: range) -> jaxals.hyper.Runs:
    """Train a model for each seed, with the settings that are best at this size."""
    trainer = jaxals.ALS(factors=factors, sweeps=15, solver=jaxals.ConjugateGradient())
    known = {"validation": validation.test, "metrics": "ndcg@10", "keep": "best"}
    found = jaxals.hyper.fit_many(validation.train, jaxals.Objective.ials, trainer, space=grid, seed=[100], **known)
    best = dict(found.models[found.best["model"]].settings)
    print(f"{factors} factors: {best}, validation {found.table['ndcg@10'].max():.4f}")
    return jaxals.hyper.fit_many(split.train, jaxals.Objective.ials, trainer, space=[best], seed=seeds)


def measure(scorer: jaxals.Factors) -> jaxals.evaluation.Evaluation:
    return evaluate(scorer, split.train, split.test, ["ndcg@10"])


small = train(arguments.factors, range(arguments.models))
large = train(arguments.factors * arguments.models, range(arguments.models))
members = [small.run(number).factors for number in small.table.index]
ensemble = jaxals.Ensemble.of(members)
of_small, of_large = ([measure(run.run(n).factors) for n in run.table.index] for run in (small, large))
of_ensemble = measure(ensemble.factors)

values = lambda measured: [evaluation["ndcg@10"] for evaluation in measured]
rows = [
    (f"one model of {arguments.factors} factors", values(of_small)),
    (f"{arguments.models} of them, scores averaged", values([of_ensemble])),
    (f"one model of {arguments.factors * arguments.models} factors", values(of_large)),
]
table = pd.DataFrame(
    [
        {"model": name, "ndcg@10": np.mean(n), "deviation of seeds": np.std(n, ddof=1) if n[1:] else None, "runs": n}
        for name, n in rows
    ]
)
print(table.drop(columns="runs").to_string(index=False))
comparison = compare(of_ensemble, of_large[0])
print(comparison.to_string(index=False))

# Do the models disagree most where the list is worst?
user = of_ensemble.user
spread = np.asarray(ensemble.user_variance())[user] ** 0.5
correlation = pd.Series(spread).corr(pd.Series(of_ensemble.values[:, 0]), method="spearman")
print(f"rank correlation of a user's standard deviation between models and the user's NDCG@10: {correlation:.3f}")
arguments.out.mkdir(parents=True, exist_ok=True)
record = {
    "data": repr(split.train),
    **environment(),
    "rows": json.loads(table.to_json(orient="records")),
    "ensemble against the large model": json.loads(comparison.to_json(orient="records")),
    "rank correlation of deviation and ndcg@10": float(correlation),
}
file = arguments.out / f"ensembles-{arguments.data}.json"
file.write_text(json.dumps(record, indent=2) + "\n")
print(f"wrote {file.name}")
