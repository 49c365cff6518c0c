"""Peak memory of a fit of Last.fm's size: jaxals beside implicit and irspack, each alone in a process of its own.

Each process reads the same file of (user, item, value), makes of it what its library trains on, and takes two sweeps by
conjugate gradient; none imports another's library. "The data alone" reads the file and makes a SciPy matrix. What a
process holds at its peak is told by Linux (VmHWM): `getrusage` would count what the process that started it held.

    pip install 'jaxals[peers]'
    OPENBLAS_NUM_THREADS=1 python benchmarks/memory.py --factors 64
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

import numpy as np
import scipy.sparse

SIZES = {"medium": (100_000, 50_000, 4_800_000), "lastfm-sized": (360_000, 160_000, 17_000_000)}
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", choices=[*SIZES], default="lastfm-sized")
parser.add_argument("--factors", type=int, default=64)
parser.add_argument("--sweeps", type=int, default=2)
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)  # what to do, and the file
arguments = parser.parse_args()
N_USERS, N_ITEMS, N_ENTRIES = SIZES[arguments.data]
CORES = os.cpu_count()


def write_data(file: str) -> None:
    import jaxals

    data = jaxals.datasets.synthetic(n_users=N_USERS, n_items=N_ITEMS, n_interactions=N_ENTRIES, seed=0)
    np.savez(file, user=data.user, item=data.item, value=data.value)


def read_matrix(file: str) -> scipy.sparse.csr_matrix:
    with np.load(file) as arrays:
        entries = arrays["value"].astype(np.float32), (arrays["user"], arrays["item"])
    return scipy.sparse.csr_matrix(entries, shape=(N_USERS, N_ITEMS))


def train_jaxals(file: str, acceleration: str | None = "momentum") -> None:
    import jaxals

    jaxals.use_all_cores()
    with np.load(file) as arrays:
        data = jaxals.Interactions.from_arrays(arrays["user"], arrays["item"], arrays["value"])
    trainer = jaxals.ALS(
        arguments.factors, arguments.sweeps, solver=jaxals.ConjugateGradient(), acceleration=acceleration
    )
    objective = jaxals.Objective.implicit(alpha=2.0, regularization=1.0)
    jaxals.fit(data, objective, trainer, progress=False, loss_every=0)


def train_implicit(file: str) -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=arguments.factors, regularization=1.0, alpha=2.0, iterations=arguments.sweeps, num_threads=CORES
    )
    model.fit(read_matrix(file), show_progress=False)


def train_irspack(file: str) -> None:
    from irspack.recommenders.ials import IALSTrainer, LossType, SolverType

    matrix = read_matrix(file)
    matrix.data = 2.0 * matrix.data - 1
    trainer = IALSTrainer(
        matrix,
        n_components=arguments.factors,
        alpha0=1.0,
        reg=1.0,
        nu=0.0,
        init_std=0.1,
        solver_type=SolverType.CG,
        max_cg_steps=3,
        ialspp_subspace_dimension=64,
        loss_type=LossType.ORIGINAL,
        random_seed=0,
        n_threads=CORES,
        prediction_time_max_cg_steps=5,
        prediction_time_ialspp_iteration=7,
    )
    for _ in range(arguments.sweeps):
        trainer.run_epoch()


CONTENDERS = {
    "the data alone": read_matrix,
    "jaxals": train_jaxals,
    "jaxals, no momentum": lambda file: train_jaxals(file, acceleration=None),
    "implicit": train_implicit,
    "irspack": train_irspack,
}


def alone(what: str, file: str) -> float:
    """Do one thing in a process of its own; return its peak in GB."""
    same = ["--data", arguments.data, "--factors", str(arguments.factors), "--sweeps", str(arguments.sweeps)]
    command = [sys.executable, __file__, *same, "--alone", what, file]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


if arguments.alone:
    what, file = arguments.alone
    (write_data if what == "write" else CONTENDERS[what])(file)
    status = pathlib.Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e9)
    sys.exit()

with tempfile.TemporaryDirectory() as folder:
    file = os.path.join(folder, "entries.npz")
    alone("write", file)
    every = {name: [round(alone(name, file), 3) for _ in range(arguments.repeats)] for name in CONTENDERS}
peaks = {name: statistics.median(values) for name, values in every.items()}
for name, peak in peaks.items():
    print(f"{name:20} {peak:.2f} GB, {peak / peaks['implicit']:.2f} of implicit's")
arguments.out.mkdir(parents=True, exist_ok=True)
# Not at the top, which the processes of the peers read, too.
from jaxals._base.environment import environment  # noqa: E402

document = {
    "data": arguments.data,
    "factors": arguments.factors,
    **environment(),
    "peak GB": every,
}
out = arguments.out / f"memory-{arguments.data}-f{arguments.factors}.json"
out.write_text(json.dumps(document, indent=2) + "\n")
