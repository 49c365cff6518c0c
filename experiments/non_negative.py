"""What factors that are not below 0 cost: loss, seconds and zeros, by passes of coordinate descent in a half step.

Prints one row for the exact solver without the constraint and one for each number of passes.

    JAXALS_DATA=... python experiments/non_negative.py --data lastfm-2k
    python experiments/non_negative.py --data synthetic
"""

import argparse

import pandas as pd

import jaxals

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", choices=["lastfm-2k", "synthetic"], default="lastfm-2k")
parser.add_argument("--factors", type=int, default=64)
parser.add_argument("--sweeps", type=int, default=15)
parser.add_argument("--passes", type=int, nargs="+", default=[1, 2, 4, 8, 32])
arguments = parser.parse_args()
jaxals.use_all_cores()

if arguments.data == "synthetic":
    data = jaxals.datasets.synthetic(n_users=20_000, n_items=10_000, n_interactions=1_000_000, seed=0)
    objective = jaxals.Objective.ials()
else:
    data = jaxals.datasets.load(arguments.data)
    objective = jaxals.Objective.log(1.0, regularization=30.0)

rows = []
for solver in (jaxals.Cholesky(), *map(jaxals.NonNegative, arguments.passes)):
    run = jaxals.fit(data, objective, jaxals.ALS(arguments.factors, arguments.sweeps, solver), progress=False)
    zeros = float((run.factors.item == 0).mean())
    rows.append((repr(solver), run.history["loss"].iloc[-1], run.history["seconds"].diff().median(), zeros))
print(pd.DataFrame(rows, columns=["solver", "loss", "seconds a sweep", "items' factors at 0"]).to_string(index=False))
