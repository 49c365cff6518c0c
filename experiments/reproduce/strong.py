"""What the tables of MovieLens 20M and the Million Song Dataset share: users nobody trained on are folded in."""

import argparse

import numpy as np
import report

import jaxals
from jaxals.evaluation import Evaluation, Popularity, UserSplit, paper_table, plan_evaluation, run_plan

METRICS = ["capped_recall@20", "capped_recall@50", "ndcg@100"]
Published = dict[str, tuple[tuple[float, float, float], str]]  # of each model: its numbers, and whose they are


def parse_options(description: str | None, held_out_users: int) -> argparse.Namespace:
    """Read the command line."""
    parser = report.parser(description, seeds=1)
    parser.add_argument("--factors", type=int, default=256)
    parser.add_argument("--sweeps", type=int, default=16)
    parser.add_argument("--held-out-users", type=int, default=held_out_users)
    parser.add_argument("--no-ease", action="store_true", help="leave out EASE, dense in items x items")
    return parser.parse_args()


def write_table(
    name: str,
    title: str,
    split: UserSplit,
    objective: jaxals.Objective,
    ease: float,
    published: Published,
    arguments: argparse.Namespace,
) -> None:
    """Measure popularity, EASE (with λ `ease`) and iALS (with `objective`) on the users held out, and write the table.

    Users are folded in with the ridge that they would have had in training.
    """
    plan = plan_evaluation(split.given, split.test, METRICS)
    measured = {"popularity": [run_plan(Popularity.from_interactions(split.train), plan)]}
    if not arguments.no_ease:
        model = jaxals.EASE(regularization=ease).fit(split.train).with_history(split.given)
        measured["EASE"] = [run_plan(model, plan)]
        del model  # items x items numbers: room that the factors need
    measured["iALS"] = [
        _fold_in_and_measure(split, objective, seed, plan, arguments) for seed in range(arguments.seeds)
    ]

    labels = {"popularity": "popularity", "EASE": f"EASE, λ {ease:g}", "iALS": f"iALS, {arguments.factors} factors"}
    rows = []
    for key, evaluations in measured.items():
        row = report.Row(labels[key], report.columns(evaluations))
        if key in published:
            numbers, row.source = published[key]
            row.published = dict(zip(METRICS, numbers, strict=True))
        rows.append(row)
    n_train, n_test = (len(np.unique(part.user)) for part in (split.train, split.test))
    protocol = (
        f"Liang et al. 2018, with their random numbers: {n_train:,} users to train on, {split.train.n_items:,} items; "
        f"{n_test:,} others are folded in from 80 % of their items, and the rest is to be found among all others. "
        "Recall is of min(k, relevant)."
    )
    tests = paper_table(measured, plan, reference="iALS").tests
    report.write(name, title, protocol, rows, arguments.out, tests=tests)


def _fold_in_and_measure(split, objective, seed, plan, arguments) -> Evaluation:
    # A block of the factors at a time, as iALS++ does, where a whole system a row would take long.
    solver = jaxals.Subspace(128) if arguments.factors > 256 else jaxals.Cholesky()
    trainer = jaxals.ALS(
        arguments.factors, arguments.sweeps, solver, acceleration=None, start="random", initial_scale=0.1
    )
    run = jaxals.fit(split.train, objective, trainer, seed=seed, loss_every=0)
    folded_in = jaxals.Recommender(run.factors, split.train, objective).fold_in(split.given)
    measured = run_plan(folded_in.factors, plan)
    print(f"seed {seed}: {measured}")
    return measured
