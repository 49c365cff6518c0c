"""Time and memory to measure the rankings of 100,000 users over 50,000 items.

python benchmarks/evaluation.py --users 100000 --items 50000 --factors 64 --k 20
"""

import argparse
import json
import os
import pathlib
import threading
import time

import jax
import pandas as pd
import psutil

import jaxals
from jaxals._base.environment import environment
from jaxals.evaluation import evaluate, random_holdout

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--users", type=int, default=100_000)
parser.add_argument("--items", type=int, default=50_000)
parser.add_argument("--interactions-per-user", type=int, default=50)
parser.add_argument("--factors", type=int, default=64)
parser.add_argument("--k", type=int, default=20)
parser.add_argument("--auc", action="store_true", help="the AUC, too: it compares all items, and takes far longer")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()

data = jaxals.datasets.synthetic(
    n_users=arguments.users,
    n_items=arguments.items,
    n_interactions=arguments.interactions_per_user * arguments.users,
    seed=0,
)
split = random_holdout(data, 0.2, seed=0)
# What is measured takes as long for random factors as for trained ones.
factors = jaxals.initial_factors(jax.random.key(0), *data.shape, arguments.factors, scale=1.0)
lists = [f"{kind}@{arguments.k}" for kind in ("recall", "ndcg", "map", "hit_rate", "novelty", "coverage", "gini")]
questions = {"lists": lists, **({"lists and AUC": [*lists, "auc"]} if arguments.auc else {})}


class Memory(threading.Thread):
    """The most memory that the process holds while this runs, above what it held before, in bytes."""

    def __enter__(self) -> "Memory":
        self.before, self.peak, self.is_over = psutil.Process().memory_info().rss, 0, threading.Event()
        self.start()
        return self

    def run(self) -> None:
        while not self.is_over.wait(0.01):
            self.peak = max(self.peak, psutil.Process().memory_info().rss - self.before)

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self.join()


rows, load = [], os.getloadavg()[0]  # processes that ran beside, if more than 0
for name, metrics in questions.items():
    for state in ("first", "again"):
        with Memory() as memory:
            start, cpu = time.perf_counter(), time.process_time()
            measured = evaluate(factors, split.train, split.test, metrics)
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        row = {"metrics": name, "compiled": state == "again", "users": measured.n_users, "seconds": seconds}
        rows.append({**row, "cpu_seconds": cpu_seconds, "peak_megabytes": memory.peak / 1e6})
        print(rows[-1], flush=True)
table = pd.DataFrame(rows)
print(f"{data!r}, {len(split.test):,} held out, {arguments.factors} factors, {os.cpu_count()} cores")
print(table.round(1).to_string(index=False))
record = {
    **{key: value for key, value in vars(arguments).items() if key != "out"},
    "held_out": len(split.test),
    "rows": json.loads(table.to_json(orient="records")),
    "load_before": load,
    **environment(),
}
arguments.out.mkdir(parents=True, exist_ok=True)
name = "evaluation-auc" if arguments.auc else "evaluation"
(arguments.out / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
