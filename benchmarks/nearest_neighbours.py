"""Export factors, put the items into an index of FAISS, and compare what it finds with the exact top-k.

The score of a pair is a dot product, so an index for the largest inner product serves recommendations as it is. Prints
the share of the exact top 10 that an index by inverted lists finds, and seconds for all users, by how many of its lists
are looked at, beside FAISS's exhaustive index and jaxals itself. Then the same of graphs, those of hnswlib and usearch
too where they are installed: of the items as they are, by inner products, and of augmented ones, by cosines.

    pip install 'jaxals[parquet,index]' hnswlib usearch
    python benchmarks/nearest_neighbours.py
"""

import argparse
import functools
import importlib.util
import pathlib
import tempfile
import time
from collections.abc import Callable

import faiss
import numpy as np
import pandas as pd

import jaxals
from jaxals.models import exports

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--users", type=int, default=20_000)
parser.add_argument("--items", type=int, default=50_000)
parser.add_argument("--interactions", type=int, default=1_000_000)
parser.add_argument("--factors", type=int, default=32)
parser.add_argument("--lists", type=int, default=256)
parser.add_argument("--k", type=int, default=10)
arguments = parser.parse_args()
jaxals.use_all_cores()

data = jaxals.datasets.synthetic(
    n_users=arguments.users, n_items=arguments.items, n_interactions=arguments.interactions, seed=0
)
trainer = jaxals.ALS(factors=arguments.factors, sweeps=8, solver=jaxals.ConjugateGradient())
run = jaxals.fit(data, jaxals.Objective.log(alpha=2.0, regularization=10.0), trainer, progress=False)
recommender = jaxals.Recommender(run.factors, data)

with tempfile.TemporaryDirectory() as folder:
    exports.save_parquet(folder, run.factors, data.catalog)
    files = [pathlib.Path(folder, name) for name in ("users.parquet", "items.parquet")]
    # What a service in another program would do: read two columns, and know nothing of jaxals.
    users, items = (np.stack(pd.read_parquet(file)["factors"].to_list()).astype(np.float32) for file in files)

exhaustive = faiss.IndexFlatIP(arguments.factors)
exhaustive.add(items)
inverted = faiss.IndexIVFFlat(
    faiss.IndexFlatIP(arguments.factors), arguments.factors, arguments.lists, faiss.METRIC_INNER_PRODUCT
)
inverted.train(items)
inverted.add(items)

rows = []
has_entries = data.counts("user") > 0


def measure(name: str, find: Callable[[], np.ndarray]) -> np.ndarray:
    find()  # jaxals compiles
    start = time.perf_counter()
    found = find()
    rows.append({"index": name, "seconds": time.perf_counter() - start})
    return found[has_entries]


everyone = np.arange(arguments.users)
exact = measure("jaxals, exact", lambda: recommender.top_items(everyone, arguments.k, exclude_seen=False)[0])
founds = {"FAISS, exhaustive": measure("FAISS, exhaustive", lambda: exhaustive.search(users, arguments.k)[1])}
for probes in (4, 16, 64):
    inverted.nprobe = probes
    name = f"FAISS, {probes} of {arguments.lists} lists"
    founds[name] = measure(name, lambda: inverted.search(users, arguments.k)[1])
augmented = exports.augmented(run.factors)
searches = {
    "faiss": lambda index, vectors: index.search(vectors, arguments.k)[1],
    "hnswlib": lambda index, vectors: index.knn_query(vectors, k=arguments.k)[0].astype(np.int64),
    "usearch": lambda index, vectors: index.search(vectors, arguments.k).keys.astype(np.int64),
}
for library, search in searches.items():
    if importlib.util.find_spec(library) is None:
        continue
    make = getattr(exports, f"{library}_index")
    for measured, table, vectors in (("dot", items, users), ("cosine", augmented.item, np.asarray(augmented.user))):
        for effort in (50, 200):
            index = make(table, measured, neighbours=16, effort=effort)
            name = f"{library}, graph, {'augmented' if measured == 'cosine' else 'as they are'}, effort {effort}"
            founds[name] = measure(name, functools.partial(search, index, vectors))
recalls = {
    name: np.mean([np.isin(a, b).mean() for a, b in zip(exact, one, strict=True)]) for name, one in founds.items()
}
frame = pd.DataFrame(rows).assign(recall=[1.0, *recalls.values()])
print(f"{arguments.users:,} users, {arguments.items:,} items, {arguments.factors} factors, top {arguments.k}")
print(frame.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
