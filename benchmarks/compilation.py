"""What a fit takes for compiling, in a first process and in one that finds its compiled programs.

Both processes lay out the same data and take three plain sweeps; JAX keeps compiled programs in a folder that the
second one finds (`jax_compilation_cache_dir`).

    python benchmarks/compilation.py --factors 64
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pandas as pd

import jaxals
from jaxals._base.environment import environment

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--users", type=int, default=100_000)
parser.add_argument("--items", type=int, default=50_000)
parser.add_argument("--entries", type=int, default=4_800_000)
parser.add_argument("--factors", type=int, default=64)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
parser.add_argument("--alone", help=argparse.SUPPRESS)
arguments = parser.parse_args()
SOLVERS = {"ConjugateGradient()": jaxals.ConjugateGradient(), "Cholesky()": jaxals.Cholesky()}

if arguments.alone:
    jaxals.use_all_cores()
    data = jaxals.datasets.synthetic(
        n_users=arguments.users, n_items=arguments.items, n_interactions=arguments.entries, seed=0
    )
    trainer = jaxals.ALS(arguments.factors, sweeps=3, solver=SOLVERS[arguments.alone], acceleration=None)
    history = jaxals.fit(data, jaxals.Objective.implicit(), trainer, progress=False, loss_every=0).history
    print(history["compile_seconds"].iloc[-1])
    sys.exit()

rows = []
for name in SOLVERS:
    sizes = [f"--{size}={getattr(arguments, size)}" for size in ("users", "items", "entries", "factors")]
    with tempfile.TemporaryDirectory() as folder:
        settings = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        run = lambda name=name, sizes=sizes, settings=settings: subprocess.run(
            [sys.executable, __file__, *sizes, "--alone", name],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **settings},
        )
        first, second = (float(run().stdout.split()[-1]) for _ in range(2))
    rows.append({"solver": name, "first process s": first, "second process s": second})
    print(pd.DataFrame(rows[-1:]).round(2).to_string(index=False, header=len(rows) == 1), flush=True)
arguments.out.mkdir(parents=True, exist_ok=True)
document = {"factors": arguments.factors, **environment(), "both sides": rows}
(arguments.out / "compilation.json").write_text(json.dumps(document, indent=2) + "\n")
