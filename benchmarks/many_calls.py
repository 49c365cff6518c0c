"""A service's day: what many calls of many sizes compile, and how long single ones take.

    python benchmarks/many_calls.py

Counts the programs that JAX compiles, and the process's memory, over a random mix of calls by raw id: numbers of users,
of items to rank and of entries, filters, and fold-ins that make the model grow. Then times single calls, each after a
first one: the least and the median of many, and the CPU time of one.
"""

import argparse
import gc
import json
import pathlib
import time
from collections import Counter

import jax
import numpy as np
import pandas as pd
import psutil

import jaxals
from jaxals._base.environment import environment

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--calls", type=int, default=1000)
parser.add_argument("--items", type=int, default=50_000)
parser.add_argument("--users", type=int, default=1_000_000)
parser.add_argument("--factors", type=int, default=64)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()

compiled: Counter = Counter()
jax.monitoring.register_event_duration_secs_listener(lambda event, seconds, **_: compiled.update([event]))


def n_compiled() -> int:
    return compiled["/jax/core/compile/backend_compile_duration"]


def megabytes() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6


def model(n_users: int, n_items: int, n_interactions: int) -> jaxals.Recommender:
    data = jaxals.datasets.synthetic(n_users=n_users, n_items=n_items, n_interactions=n_interactions, seed=0)
    factors = jaxals.initial_factors(jax.random.key(0), *data.shape, arguments.factors, scale=1.0)
    return jaxals.Recommender(factors, data, jaxals.Objective.hkv(alpha=1.0))


def history(users: list, items: list, rng: np.random.Generator, n_entries: int) -> jaxals.Interactions:
    frame = pd.DataFrame({"user": rng.choice(users, n_entries), "item": rng.choice(items, n_entries), "value": 1.0})
    return jaxals.Interactions.from_frame(frame)


def mix(recommender: jaxals.Recommender) -> dict:
    """Call everything at random; the model grows on both sides."""
    rng, before = np.random.default_rng(arguments.seed), n_compiled()
    users, items = (list(index) for index in (recommender.catalog.users, recommender.catalog.items))
    names = ["recommend", "similar_items", "similar_users", "explain", "fold_in users", "fold_in items"]
    start, halfway, calls = (
        time.perf_counter(),
        0.0,
        Counter(rng.choice(names, arguments.calls, p=[0.3, 0.2, 0.1, 0.2, 0.15, 0.05]).tolist()),
    )
    for number, name in enumerate(rng.permutation([name for name, count in calls.items() for _ in range(count)])):
        n, count = int(rng.integers(1, 200)), int(rng.integers(1, 120))
        if name == "recommend":
            filters = (
                {"exclude": rng.choice(items, rng.integers(50))}
                if rng.random() < 0.5
                else {"items": rng.choice(items, 200)}
            )
            recommender.recommend(
                rng.choice(users, count), n, bool(rng.random() < 0.5), **filters, scale=rng.choice(["raw", "unit"])
            )
        elif name == "similar_items":
            recommender.similar_items(rng.choice(items, count), n, measure=rng.choice(["cosine", "dot"]))
        elif name == "similar_users":
            recommender.similar_users(rng.choice(users, count), n)
        elif name == "explain":
            recommender.explain(rng.choice(users), rng.choice(items))
        elif name == "fold_in users":
            new = [*range(10**6 + len(users), 10**6 + len(users) + int(rng.integers(1, 8))), int(rng.choice(users))]
            recommender = recommender.fold_in(history(new, items, rng, int(rng.integers(1, 400))))
            users = sorted({*users, *new} & set(recommender._model.user_ids.whole()))
        else:
            new = [*range(10**6 + len(items), 10**6 + len(items) + int(rng.integers(1, 4)))]
            recommender = recommender.fold_in(history(users, new, rng, int(rng.integers(1, 400))), side="item")
            items = sorted({*items, *new} & set(recommender._model.item_ids.whole()))
        if number == arguments.calls // 2:
            halfway = megabytes()
    return {
        **{name: count for name, count in sorted(calls.items())},
        "programs": n_compiled() - before,
        "seconds": time.perf_counter() - start,
        "MB halfway": halfway,
        "MB at the end": megabytes(),
    }


def timed(what: str, call, times: int = 200) -> dict:
    call()
    before, cpu, seconds = n_compiled(), time.process_time(), []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / times
    least, median = 1000 * min(seconds), 1000 * float(np.median(seconds))
    return {
        "call": what,
        "least ms": least,
        "median ms": median,
        "CPU ms": 1000 * cpu,
        "programs": n_compiled() - before,
    }


small = {size: mix(model(*size)) for size in ((1000, 500, 20_000), (20_000, arguments.items, 500_000))}
mixes = pd.DataFrame(small).T
mixes.index = [f"{users:,} users x {items:,} items" for users, items, _ in small]
print(f"{arguments.calls} calls, {arguments.factors} factors\n{mixes.T.round(1).to_string()}\n")

rows, rng = [], np.random.default_rng(0)
recommender = model(1000, arguments.items, 50_000)
where = f"{arguments.items:,} items"
rows.append(timed(f"recommend to one user, {where}", lambda: recommender.recommend(int(rng.integers(1000)))))
rows.append(timed(f"similar_items of one, {where}", lambda: recommender.similar_items(int(rng.integers(1000)))))
rows.append(timed(f"explain, {where}", lambda: recommender.explain(int(rng.integers(1000)), int(rng.integers(1000)))))
recommender = model(arguments.users, arguments.items, 10 * arguments.users)
items, where = list(recommender.catalog.items), f"{arguments.users:,} users"
new = [history([10**7 + number], items, rng, 50) for number in range(300)]
grown, numbers = recommender, iter(range(300))


def fold_in_next() -> None:
    global grown
    grown = grown.fold_in(new[next(numbers)])


rows.append(timed(f"fold_in of one user, {where}", lambda: recommender.fold_in(new[0])))
rows.append(timed(f"fold_in of one user after another, {where}", fold_in_next))
rows.append(timed(f"recommend to a folded-in user, {where}", lambda: grown.recommend(10**7 + 7)))
rows.append(timed(f"similar_users of one, {where}", lambda: grown.similar_users(10**7 + 7), times=20))
table = pd.DataFrame(rows)
print(table.round(2).to_string(index=False))
arguments.out.mkdir(parents=True, exist_ok=True)
record = {
    "calls": arguments.calls,
    "factors": arguments.factors,
    "mixes": json.loads(mixes.to_json()),
    "single": rows,
    **environment(),
}
(arguments.out / "many_calls.json").write_text(json.dumps(record, indent=2) + "\n")
