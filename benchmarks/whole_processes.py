"""How long a person waits: whole processes of five uses, without and with compiled programs kept, beside implicit's.

Every run is a process of its own; beside its seconds stand those that all cores were at work for it, which say more
where other programs run. Without the cache, each gets an empty folder (`JAXALS_CACHE`); with it, all share one
that a run before has filled. The needed folder of Last.fm 2K is looked for in `JAXALS_DATA`.

    JAXALS_DATA=... python benchmarks/whole_processes.py --repeats 5
"""

import argparse
import json
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import pandas as pd

from jaxals import datasets
from jaxals._base.environment import environment

HERE = pathlib.Path(__file__).resolve().parent.parent
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--repeats", type=int, default=5)
parser.add_argument("--package", type=pathlib.Path, default=HERE, help="folder whose jaxals is measured")
parser.add_argument("--only", nargs="+", help="names of uses")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
parser.add_argument("--name", default="whole_processes", help="of the file of results")
arguments = parser.parse_args()
plays = datasets.find("lastfm-2k")
if plays is None:
    sys.exit("JAXALS_DATA names no folder with lastfm-2k.")

README = re.findall(r"```python\n(.*?)```", (HERE / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]
KEEP = "from jaxals.training import use_compilation_cache; use_compilation_cache()\n"
IMPLICIT = f"""
import implicit, pandas, scipy.sparse
plays = pandas.read_csv({str(plays)!r}, sep="\\t")
user, users = pandas.factorize(plays["userID"])
item, items = pandas.factorize(plays["artistID"])
matrix = scipy.sparse.csr_matrix((plays["weight"].astype("float32"), (user, item)))
model = implicit.als.AlternatingLeastSquares(factors=32, iterations=15, random_state=0, use_gpu=False)
model.fit(matrix, show_progress=False)
print(items[model.recommend(0, matrix[0], N=10)[0]])
"""
CLI = [sys.executable, "-m", "jaxals"]
USES = {
    "import jaxals": [sys.executable, "-c", "import jaxals"],
    "jaxals --help": [*CLI, "--help"],
    "jaxals fit lastfm-2k, 32 factors": [*CLI, "fit", "lastfm-2k", "--output", "model", "--factors", "32"],
    "jaxals recommend": [*CLI, "recommend", "model", "2"],
    "README's example": [sys.executable, "-c", README],
    "README's example, keeping programs": [sys.executable, "-c", KEEP + README],
    "import implicit": [sys.executable, "-c", "import implicit"],
    "implicit, lastfm-2k, 32 factors": [sys.executable, "-c", IMPLICIT],
}
chosen = {name: command for name, command in USES.items() if arguments.only is None or name in arguments.only}


def run(command: list[str], folder: str, cache: str) -> tuple[float, float]:
    """Return the seconds that one process took, and those that cores were at work for it."""
    surroundings = {**os.environ, "PYTHONPATH": str(arguments.package.resolve()), "JAXALS_CACHE": cache}
    surroundings |= {"OPENBLAS_NUM_THREADS": "1"} if "implicit" in command[-1] else {}
    start, before = time.perf_counter(), at_work()
    subprocess.run(command, check=True, cwd=folder, env=surroundings, capture_output=True)
    return time.perf_counter() - start, at_work() - before


def at_work() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


KINDS = ("cold", "cold, of cores", "warm", "warm, of cores")
seconds: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in KINDS} for name in chosen}
with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as kept:
    if "jaxals recommend" in chosen:
        run(USES["jaxals fit lastfm-2k, 32 factors"], folder, kept)
    for command in chosen.values():  # what fills the cache, and the system's of files
        run(command, folder, kept)
    for _ in range(arguments.repeats):
        for name, command in chosen.items():
            with tempfile.TemporaryDirectory() as empty:
                times = *run(command, folder, empty), *run(command, folder, kept)
            for kind, time_taken in zip(KINDS, times, strict=True):
                seconds[name][kind].append(time_taken)

medians = {name: {kind: statistics.median(runs) for kind, runs in kinds.items()} for name, kinds in seconds.items()}
print(pd.DataFrame.from_dict(medians, orient="index").round(2).to_string())
arguments.out.mkdir(parents=True, exist_ok=True)
document = {**environment(), "seconds": seconds}
(arguments.out / f"{arguments.name}.json").write_text(json.dumps(document, indent=2) + "\n")
