"""Last.fm 2K, all artists ranked: what each preset's confidence does to the artists many listen to, and to the others.

Five artists of each listener are hidden (leave-k-out), all others but those in training are ranked. Each preset's two
settings are those with the best NDCG@20 on a validation split made from the training data in the same way; nothing is
chosen on the test. Head are the artists with the most listeners that have half of the training pairs between them.

    JAXALS_DATA=... python experiments/reproduce/lastfm_2k.py
"""

import collections
import itertools

import report

import jaxals
from jaxals.evaluation import Popularity, by_popularity, leave_k_out, plan_evaluation, run_plan

# How strong an observed pair is against an unobserved one, and the ridge: values to choose from.
PRESETS = {
    "hkv, raw plays": (jaxals.Objective.hkv, (0.001, 0.01, 0.1, 1.0), (1.0, 10.0, 100.0)),
    "log": (
        lambda alpha, ridge: jaxals.Objective.log(alpha=alpha, regularization=ridge),
        (0.3, 1.0, 3.0, 10.0),
        (10.0, 30.0, 100.0, 300.0),
    ),
    "implicit": (jaxals.Objective.implicit, (0.001, 0.01, 0.1, 1.0), (1.0, 10.0, 100.0, 1000.0)),
    "ials": (jaxals.Objective.ials, (0.03, 0.1, 0.3, 1.0, 3.0), (0.0003, 0.001, 0.003, 0.01)),
    "spark": (jaxals.Objective.spark, (0.00001, 0.0001, 0.001, 0.01), (0.01, 0.1, 1.0, 10.0)),
}

options = report.parser(__doc__, seeds=5)
options.add_argument("--factors", type=int, default=64)
options.add_argument("--sweeps", type=int, default=15)
options.add_argument("--quick", action="store_true", help="try one pair of settings a preset, not all")
arguments = options.parse_args()
jaxals.use_all_cores()

plays = jaxals.datasets.load("lastfm-2k")
split = leave_k_out(plays, k=5, seed=0)
validation = leave_k_out(split.train, k=5, seed=1)
trainer = jaxals.ALS(factors=arguments.factors, sweeps=arguments.sweeps)


def train(data: jaxals.Interactions, objective: jaxals.Objective, seed: int) -> jaxals.Factors:
    return jaxals.fit(data, objective, trainer, seed=seed, progress=False, loss_every=0).factors


def choose(make, first: tuple, second: tuple) -> tuple[float, float]:
    """Return the two settings with the best NDCG@20 on the validation split."""
    if arguments.quick:
        return first[1], second[1]
    validating = plan_evaluation(validation.train, validation.test, ["ndcg@20"])
    measured = {
        pair: run_plan(train(validation.train, make(*pair), seed=0), validating)["ndcg@20"]
        for pair in itertools.product(first, second)
    }
    return max(measured, key=lambda pair: measured[pair])


plan = plan_evaluation(split.train, split.test, ["recall@20", "ndcg@20", "coverage@20"])


def measure(scorers: list) -> dict[str, list[float]]:
    """Measure scorers, one for each seed: over all hidden artists, and over those of head and tail alone."""
    columns = collections.defaultdict(list)
    for scorer in scorers:
        measured = run_plan(scorer, plan)
        for name, value in measured.metrics.items():
            columns[name].append(value)
        tail, head = by_popularity(measured, split.train, k=20, buckets=2).to_dict("records")
        columns["recall@20 of head"].append(head["mean"])
        columns["recall@20 of tail"].append(tail["mean"])
        columns["tail's share of lists"].append(tail["exposure"])
    return dict(columns)


popularity = Popularity.from_interactions(split.train)
n_tail, n_head = by_popularity(run_plan(popularity, plan), split.train, k=20, buckets=2)["items"]
rows = [report.Row("popularity", measure([popularity]))]
for name, (make, first, second) in PRESETS.items():
    chosen = choose(make, first, second)
    scorers = [train(split.train, make(*chosen), seed) for seed in range(arguments.seeds)]
    rows.append(report.Row(f"{name} ({chosen[0]:g}, λ {chosen[1]:g})", measure(scorers)))
    print(rows[-1].model)

report.write(
    "lastfm_2k",
    "Last.fm 2K, recall@20 / NDCG@20 / recall@20 of tail",
    f"Five artists of each listener hidden, all {plays.n_items:,} artists ranked but those in training; α (w0 of "
    "ials) and λ chosen on a validation split of the training data, the seeds draw the initial factors. Head: the "
    f"{n_head} artists with most listeners, which have half of the training pairs; tail: the other {n_tail:,}. "
    f"{arguments.factors} factors, {arguments.sweeps} sweeps.",
    rows,
    arguments.out,
    shown=["recall@20", "ndcg@20", "recall@20 of tail"],
)
