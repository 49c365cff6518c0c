"""Does a logistic loss on what was observed find more than a squared one, when both are tuned alike?

Squared: c (1 - s)² on observed pairs, solved by ALS. Logistic: c (2 / a) log(1 + exp(-a (s - 1/2))) in its place, by
Adam on the exact loss. Unobserved pairs keep w0 s² and the ridge stays for both. Each link gets the same number of
random trials, chosen by NDCG@10 on validation interactions; the best one of each trains on all training data with
several seeds. Prints and writes what was found.

    JAXALS_DATA=... OPENBLAS_NUM_THREADS=1 python experiments/logistic_link.py --data lastfm-2k
"""

import argparse
import json
import pathlib

import jax.numpy as jnp
import numpy as np
import optax

import jaxals
from jaxals import ALS, Gradient, Objective
from jaxals._base.environment import environment
from jaxals.datasets.published import find_published, read_ncf
from jaxals.evaluation import leave_k_out, plan_evaluation, plan_negatives, random_holdout, run_plan

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", choices=["lastfm-2k", "ml-1m"], default="lastfm-2k")
parser.add_argument("--trials", type=int, default=16)
parser.add_argument("--seeds", type=int, default=5)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()
jaxals.use_all_cores()

if arguments.data == "lastfm-2k":
    split = random_holdout(jaxals.datasets.load("lastfm-2k"), 0.2, seed=0)
    inner = random_holdout(split.train, 0.2, seed=1)
    plan = plan_evaluation(split.train, split.test, ["ndcg@10", "recall@20"])
    factors, steps = 32, 150
    ranges = {"w0": (1.0, 1.0), "α": (0.1, 30.0), "λ": (3.0, 100.0), "a": (2.0, 16.0)}
else:
    split = read_ncf(find_published("ncf-ml-1m"))
    inner = leave_k_out(split.train, 1, seed=1)
    plan = plan_negatives(split.train, split.test, split.negatives, ["ndcg@10", "hit_rate@10"])
    factors, steps = 64, 80
    ranges = {"w0": (0.03, 1.0), "α": (0.0, 0.0), "λ": (1e-3, 3e-2), "a": (2.0, 16.0)}
validation = plan_evaluation(inner.train, inner.test, ["ndcg@10"])


def objective(setting: dict[str, float]) -> Objective:
    """Return the weights of observed and unobserved pairs; of values alone in Last.fm, of activity in MovieLens."""
    if arguments.data == "lastfm-2k":
        return Objective.log(alpha=setting["α"], regularization=setting["λ"])
    return Objective.ials(unobserved_weight=setting["w0"], regularization=setting["λ"])


def squared(setting: dict[str, float]) -> ALS:
    return ALS(factors, sweeps=15)


def logistic(setting: dict[str, float]) -> Gradient:
    # α log(1 + r) more for r plays, as in the squared loss; scaled by 2 / a so that the pull at a score of 0 is that
    # of the squared loss, 2 c, for every slope that is steep.
    weight = lambda value: (1 + setting["α"] * jnp.log1p(value)) * 2 / setting["a"]
    link = lambda value, score: weight(value) * jnp.logaddexp(0.0, -setting["a"] * (score - 0.5))
    rate = optax.cosine_decay_schedule(0.1, steps, 0.02)
    return Gradient(factors, steps, optax.adam(rate), observed_loss=link, report_every=steps)


def measure(link, setting, data, plan, seed=0):
    run = jaxals.fit(data, objective(setting), link(setting), seed=seed, progress=False, loss_every=0)
    return run_plan(run.factors, plan)


rng = np.random.default_rng(0)
names = ("squared, ALS", "logistic, Adam")
report: dict = {"data": repr(split.train), "factors": factors, "ranges": ranges, "links": {}}
# The same draws for both; the squared loss has no slope.
drawn = [
    {
        name: low if low == high else float(np.exp(rng.uniform(np.log(low), np.log(high))))
        for name, (low, high) in ranges.items()
    }
    for _ in range(arguments.trials)
]
for name, link in zip(names, (squared, logistic), strict=True):
    trials = []
    for setting in drawn:
        try:
            found = measure(link, setting, inner.train, validation)["ndcg@10"]
        except jaxals.errors.NumericalError:
            found = 0.0
        trials.append({**setting, "ndcg@10": found})
    best = max(trials, key=lambda trial: trial["ndcg@10"])
    tests = [measure(link, best, split.train, plan, seed).metrics for seed in range(arguments.seeds)]
    means = {
        metric: [float(np.mean(values := [one[metric] for one in tests])), float(np.std(values, ddof=1))]
        for metric in tests[0]
    }
    report["links"][name] = {"best": best, "test": means, "trials": trials}
    print(name, {key: round(value, 4) for key, value in best.items()}, means, flush=True)
    for trial in sorted(trials, key=lambda trial: -trial["ndcg@10"])[:5]:
        print("   ", {key: round(value, 4) for key, value in trial.items()}, flush=True)
arguments.out.mkdir(parents=True, exist_ok=True)
report |= environment()
(arguments.out / f"logistic_link-{arguments.data}.json").write_text(json.dumps(report, indent=1) + "\n")
