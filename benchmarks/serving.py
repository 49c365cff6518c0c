"""Time to recommend to many users at once: jaxals beside the implicit library, on the same factors.

pip install 'jaxals[peers]'
OPENBLAS_NUM_THREADS=1 python benchmarks/serving.py --users 20000 --items 160000 --factors 64
"""

import argparse
import json
import os
import pathlib
import statistics
import time

import jax
import numpy as np
import pandas as pd
from implicit.cpu.als import AlternatingLeastSquares

import jaxals
from jaxals._base.environment import environment

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--users", type=int, default=20_000)
parser.add_argument("--items", type=int, default=160_000)
parser.add_argument("--factors", type=int, default=64)
parser.add_argument("--n", type=int, default=10)
parser.add_argument("--repeats", type=int, default=5)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()

data = jaxals.datasets.synthetic(
    n_users=arguments.users, n_items=arguments.items, n_interactions=50 * arguments.users, seed=0
)
factors = jaxals.initial_factors(jax.random.key(0), *data.shape, arguments.factors, scale=1.0)
recommender = jaxals.Recommender(factors, data)
peer = AlternatingLeastSquares(factors=arguments.factors, num_threads=os.cpu_count())
peer.user_factors, peer.item_factors = (np.asarray(table) for table in (factors.user, factors.item))
matrix = data.to_scipy().astype(np.float32)
users = np.arange(data.shape[0], dtype=np.int32)
items = np.random.default_rng(0).choice(data.shape[1], 2000, replace=False).astype(np.int32)

questions = {
    "items for users": (
        lambda: recommender.top_items(users, arguments.n)[0],
        lambda: peer.recommend(users, matrix[users], N=arguments.n, filter_already_liked_items=True)[0],
    ),
    "similar items": (
        lambda: recommender.nearest(items, arguments.n)[0],
        lambda: peer.similar_items(items, N=arguments.n + 1)[0][:, 1:],  # the first is the item itself
    ),
}


def seconds(ask) -> float:
    start = time.perf_counter()
    ask()
    return time.perf_counter() - start


rows = []
for name, (ours, theirs) in questions.items():
    start = time.perf_counter()
    agreement = float(np.mean([len(np.intersect1d(a, b)) / arguments.n for a, b in zip(ours(), theirs(), strict=True)]))
    times: dict[str, list[float]] = {"jaxals": [], "implicit": []}
    for _ in range(arguments.repeats):
        times["jaxals"].append(seconds(ours))
        times["implicit"].append(seconds(theirs))
    medians = {who: statistics.median(values) for who, values in times.items()}
    rows.append({"question": name, **medians, "ratio": medians["jaxals"] / medians["implicit"], "same": agreement})
table = pd.DataFrame(rows)
print(f"{data!r}, {arguments.factors} factors, {os.cpu_count()} cores\n{table.to_string(index=False)}")
record = {
    **{key: value for key, value in vars(arguments).items() if key != "out"},
    "rows": json.loads(table.to_json(orient="records")),
    **environment(),
}
arguments.out.mkdir(parents=True, exist_ok=True)
(arguments.out / "serving.json").write_text(json.dumps(record, indent=2) + "\n")
