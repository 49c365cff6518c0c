"""Feed jaxals malformed tables, files, settings, ids, models and checkpoints: only its own errors may come out.

Every input is drawn from the seed and its number alone. An input passes if it is used or refused by a `JaxalsError`
(or, on the command line, by an exit code); anything else that is raised, and whatever takes longer than `--seconds`,
fails and is printed with what makes it again. `--only hang` shows that this notices what does not end.

    python benchmarks/fuzz.py --inputs 10000 --seed 0
    python benchmarks/fuzz.py --only folders --first 1234 --inputs 1      # one input again
"""

import argparse
import collections
import contextlib
import functools
import gzip
import io
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unittest.mock
import warnings
from typing import Any

import jax
import numpy as np
import pandas as pd

import jaxals
from jaxals import Interactions
from jaxals._base.environment import environment
from jaxals.cli import main as command_line
from jaxals.errors import JaxalsError
from jaxals.models import folder as storage
from jaxals.training.checkpoint import load_checkpoint

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--inputs", type=int, default=10_000)
parser.add_argument("--first", type=int, default=0, help="number of the first input")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--only", help="one kind of input")
parser.add_argument("--seconds", type=float, default=20, help="the most that an input may take")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()

ODD: list[Any] = [
    *(
        0,
        1,
        -1,
        2,
        10**9,
        2**31,
        2**63,
        10**40,
        0.5,
        -0.0,
        1e-40,
        1e38,
        1e308,
        float("nan"),
        float("inf"),
        -float("inf"),
    ),
    *(None, True, "", "a", "NaN", "1e999", "007", " x", "\0", "\ud800", "💥", "a\tb", b"bytes", "x" * 5000),
    *((), (1,), ("a", ("b", 2)), [], [1], {}, {"a": 1}, {1}, frozenset({1}), object(), pd.NaT, pd.NA, print, type),
    *(np.float32("nan"), np.int8(-3), np.array(2.5), np.array([1, 2]), np.datetime64("NaT"), 1j, range(3)),
]
DATA = jaxals.datasets.synthetic(n_users=12, n_items=9, n_interactions=40, seed=0)
IDS = Interactions.from_arrays(
    DATA.user, DATA.item, DATA.value, catalog=jaxals.Catalog([f"u{n}" for n in range(12)], range(100, 109))
)
OBJECTIVE = jaxals.Objective.hkv()
TRAINER = jaxals.ALS(factors=2, sweeps=1)
RECOMMENDER = jaxals.Recommender(jaxals.fit(IDS, OBJECTIVE, TRAINER, progress=False).factors, IDS, OBJECTIVE)


def odd(rng: np.random.Generator) -> Any:
    return ODD[rng.integers(len(ODD))]


def some(rng: np.random.Generator, most: int) -> int:
    return int(rng.integers(most + 1))


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Change, cut out, repeat or insert some bytes."""
    content = bytearray(content)
    for _ in range(1 + some(rng, 3)):
        at, length = some(rng, len(content)), some(rng, 8)
        piece = [
            b"",
            rng.bytes(length),
            b"\t" * length,
            b"\n\n",
            b'"',
            b"\xff\xfe",
            b"\0",
            b"::",
            b"1e400",
            b"," * length,
        ]
        part = bytes(content[at : at + length])
        content[at : at + length] = [*piece, part * 3][rng.integers(len(piece) + 1)]
    return bytes(content)


def tables(rng: np.random.Generator, folder: pathlib.Path) -> None:
    """A frame, a matrix or arrays."""
    n_rows = some(rng, 5)
    column = lambda: [odd(rng) if rng.random() < 0.3 else some(rng, 3) for _ in range(n_rows)]
    kind = some(rng, 2)
    if kind == 0:
        frame = pd.DataFrame({name: pd.Series(column(), dtype=object) for name in ("user", "item", "value")})
        if rng.random() < 0.2:
            frame = frame.rename(columns={"item": odd(rng)}) if rng.random() < 0.5 else frame[["user", "user", "value"]]
        Interactions.from_frame(frame, duplicates=["sum", "max", "last", "error", "x"][some(rng, 4)])
    elif kind == 1:
        Interactions.from_arrays(column(), column(), odd(rng) if rng.random() < 0.3 else column())
    else:
        shape = [None, (some(rng, 4), some(rng, 4)), (2**40, 3), (-1, 2)][some(rng, 3)]
        Interactions.from_arrays(column(), column(), column(), shape=shape)


TEXT = b"user\titem\tvalue\n" + b"".join(b"u%d\tartist %d\t%d\n" % (n, n % 5, n + 1) for n in range(9))


def files(rng: np.random.Generator, folder: pathlib.Path) -> None:
    """A table on disk: text, packed or not, or Parquet."""
    ending = [".tsv", ".csv", ".txt", ".dat", ".tsv.gz", ".csv.bz2", ".parquet"][some(rng, 6)]
    content = TEXT.replace(b"\t", b",") if "csv" in ending else TEXT.replace(b"\t", b"::") if "dat" in ending else TEXT
    if ending == ".parquet":
        stream = io.BytesIO()
        pd.read_csv(io.BytesIO(TEXT), sep="\t").to_parquet(stream)
        content = stream.getvalue()
    content = mutate(content, rng) if rng.random() < 0.8 else rng.bytes(some(rng, 60))
    if ending == ".tsv.gz":
        content = gzip.compress(content)
        content = mutate(content, rng) if rng.random() < 0.5 else content
    path = folder / f"table{ending}"
    path.write_bytes(content)
    names = ["user", "item", "value"] if rng.random() < 0.2 else None
    Interactions.from_file(path, value=None if rng.random() < 0.2 else "value", names=names)


def settings(rng: np.random.Generator, folder: pathlib.Path) -> None:
    """An objective to train with, or a setting of something else."""
    kinds: list[Any] = [jaxals.ALS, jaxals.Gradient, jaxals.EarlyStopping, jaxals.ConjugateGradient, jaxals.Subspace]
    kinds += [jaxals.UserBatches, jaxals.SampledNegatives, jaxals.Alternating, jaxals.LogUniform, jaxals.Uniform]
    kinds += [lambda **given: jaxals.Checkpoint(folder, **given), jaxals.Choice]
    fields = [
        *[["factors", "sweeps", "solver", "acceleration", "initial_scale", "dtype", "table_dtype", "chunk_bytes"]],
        *[
            [
                "factors",
                "steps",
                "optimizer",
                "batch",
                "penalty",
                "observed_loss",
                "report_every",
                "initial_scale",
                "dtype",
            ]
        ],
        *[["monitor", "min_improvement", "patience"], ["steps", "tolerance"], ["block"], ["size"]],
        *[["size", "per_entry", "weight"], ["inner_steps"], ["low", "high"], ["low", "high"]],
        *[["every", "keep", "best"], ["options"]],
    ]
    choice = some(rng, len(kinds) + 2)
    if choice < len(kinds):
        given = {name: odd(rng) for name in fields[choice] if rng.random() < 0.5 or choice in (4, 8, 9, 11)}
        kinds[choice](**given)
    elif choice == len(kinds):
        seed, loss_every = (odd(rng) if rng.random() < 0.5 else 0 for _ in range(2))
        jaxals.fit(IDS, OBJECTIVE, TRAINER, seed=seed, loss_every=loss_every, progress=False)
    else:
        presets = [jaxals.Objective.hkv, jaxals.Objective.log, jaxals.Objective.ials, jaxals.Objective.spark]
        number = lambda: [0.0, -1.0, 1e-30, 1e30, 1e300, float("nan"), float("inf"), 0.1, 3][some(rng, 8)]
        preset = presets[some(rng, 3)]
        names = ["unobserved_weight", "regularization", "frequency_exponent"] if preset == presets[2] else ["alpha"]
        objective = preset(**{name: float(number()) for name in names})
        run = jaxals.fit(IDS, objective, TRAINER, progress=False)
        assert all(np.isfinite(table).all() for table in jax.tree.leaves(run.factors))


def ids(rng: np.random.Generator, folder: pathlib.Path) -> None:
    """A question about ids that are there, or not, or no ids at all."""
    given = [odd(rng), "u3", 101, [odd(rng), "u1"], np.array(["u1", "u2"]), pd.Series([101, None])][some(rng, 5)]
    choice = some(rng, 6)
    if choice == 0:
        RECOMMENDER.recommend(given, n=[3, 0, -1, 10**12][some(rng, 3)])
    elif choice == 1:
        RECOMMENDER.recommend("u1", items=given)
    elif choice == 2:
        RECOMMENDER.similar_items(given, n=2)
    elif choice == 3:
        RECOMMENDER.explain("u1", given if rng.random() < 0.5 else 101)
    elif choice == 4:
        RECOMMENDER.top_items(given if rng.random() < 0.5 else np.array([some(rng, 20) - 5]), 3)
    elif choice == 5:
        RECOMMENDER.nearest(np.array([some(rng, 20) - 5]), 2, ["user", "item", odd(rng)][some(rng, 2)])
    else:
        jaxals.Catalog(given if np.iterable(given) else [given], [odd(rng), odd(rng)])


WORDS = [
    "fit",
    "recommend",
    "similar",
    "evaluate",
    "tune",
    "datasets",
    "--json",
    "--n",
    "--factors",
    "--sweeps",
    "-1",
    "0",
]
WORDS += [
    "--objective",
    "--alpha",
    "nan",
    "hkv",
    "ials",
    "x",
    "--seed",
    "9" * 30,
    "--output",
    "--resume",
    "--checkpoint",
]
WORDS += [
    "table.tsv",
    "folder",
    "--holdout",
    "--dtype",
    "--solver",
    "exact",
    "--user",
    "",
    "\0",
    "💥",
    "--help",
    "--every",
]


def commands(rng: np.random.Generator, folder: pathlib.Path) -> None:
    """A command line."""
    path = folder / "table.tsv"
    path.write_bytes(TEXT)
    words = [WORDS[rng.integers(len(WORDS))] for _ in range(some(rng, 6))]
    words = [str(folder / word) if word in ("table.tsv", "folder") else word for word in words]
    before = os.getcwd()
    os.chdir(folder)  # whatever is written, is written there
    try:
        # Training is for `settings`: it compiles.
        if "fit" in words or "evaluate" in words or "tune" in words:
            words += ["--no-such-option"]
        assert command_line(words) in (0, 1, 2, 130)
    finally:
        os.chdir(before)


def replaced(node: Any, rng: np.random.Generator) -> Any:
    """Replace something in a JSON document."""
    choices = [None, 0, -1, 2**70, 1e999, "x", [], {}, [[[]]], True, "a" * 1000, [1, 2], {"start": 0, "stop": 10**18}]
    if rng.random() < 0.2 or not isinstance(node, (dict, list)) or not node:
        return choices[rng.integers(len(choices))]
    if isinstance(node, list):
        at = some(rng, len(node) - 1)
        return [*node[:at], replaced(node[at], rng), *node[at + 1 :]]
    key = list(node)[some(rng, len(node) - 1)]
    return {name: value for name, value in node.items() if name != key} | (
        {} if rng.random() < 0.3 else {key: replaced(node[key], rng)}
    )


def damage(model: pathlib.Path, rng: np.random.Generator) -> None:
    """Damage a folder, or make it deceive; its checksums are in order more often than not."""
    for _ in range(1 + some(rng, 1)):
        paths = sorted(path for path in model.rglob("*") if path.is_file() and not path.is_symlink())
        path = paths[rng.integers(len(paths))]
        how = some(rng, 5)
        if how == 0:
            path.write_bytes(mutate(path.read_bytes(), rng))
        elif how == 1:
            path.write_bytes(path.read_bytes()[: some(rng, path.stat().st_size)])
        elif how == 2:
            path.unlink()
        elif how == 3:
            path.write_bytes(paths[rng.integers(len(paths))].read_bytes())
        elif how == 4:
            target = [path, model / "document.json", model / "checksums.json"][some(rng, 2)]
            with contextlib.suppress(ValueError, OSError):
                target = target if target in paths else path
                target.write_text(json.dumps(replaced(json.loads(target.read_text()), rng)))
        else:
            path.unlink()
            instead = [lambda path: path.symlink_to("/dev/zero"), os.mkfifo, pathlib.Path.mkdir]
            instead[some(rng, 2)](path)
    is_plain = all(path.is_file() and not path.is_symlink() for path in model.rglob("*") if not path.is_dir())
    if rng.random() < 0.7 and is_plain:
        with contextlib.suppress(ValueError, OSError, TypeError, KeyError):
            checksums = json.loads((model / "checksums.json").read_text())
            checksums["files"] = {name: storage._summary(model / name) for name in storage._files(model)}
            (model / "checksums.json").write_text(json.dumps(checksums))


WHOLE = pathlib.Path(tempfile.mkdtemp())
RECOMMENDER.save(WHOLE / "model")
WATCHED = functools.partial(
    jaxals.fit, IDS, OBJECTIVE, TRAINER, progress=False, early_stopping=jaxals.EarlyStopping(patience=5)
)
WATCHED(checkpoint=jaxals.Checkpoint(WHOLE / "run"))


def folders(rng: np.random.Generator, folder: pathlib.Path) -> None:
    """A model folder."""
    shutil.copytree(WHOLE / "model", folder / "model")
    damage(folder / "model", rng)
    loaded = jaxals.Recommender.load(folder / "model")
    loaded.recommend(loaded.catalog.users[:1].tolist(), n=1)


def checkpoints(rng: np.random.Generator, folder: pathlib.Path) -> None:
    """A checkpoint to read, or to go on from."""
    shutil.copytree(WHOLE / "run", folder / "run")
    damage(folder / "run" / "step-0000000001", rng)
    if rng.random() < 0.5:
        load_checkpoint(folder / "run")
    else:
        WATCHED(checkpoint=jaxals.Checkpoint(folder / "run"), resume="anyway")


def hang(rng: np.random.Generator, folder: pathlib.Path) -> None:
    """A model that takes forever to read."""
    with unittest.mock.patch.object(storage, "_summary", side_effect=lambda _: time.sleep(10 * arguments.seconds)):
        jaxals.Recommender.load(WHOLE / "model")


class Hang(BaseException):
    """Took too long; no `Exception`, such as jaxals answers with one of its own."""


def give_up(*_: Any) -> None:
    raise Hang(f"longer than {arguments.seconds} s")


def main() -> int:
    kinds = [hang] if arguments.only == "hang" else [tables, files, settings, ids, commands, folders, checkpoints]
    counts: dict[str, collections.Counter] = {kind.__name__: collections.Counter() for kind in kinds}
    failures, start = 0, time.perf_counter()
    signal.signal(signal.SIGALRM, give_up)
    warnings.simplefilter("ignore")
    for number in range(arguments.first, arguments.first + arguments.inputs):
        kind = kinds[number % len(kinds)]
        if arguments.only and kind.__name__ != arguments.only:
            continue
        rng = np.random.default_rng((arguments.seed, number))
        said = io.StringIO()
        signal.setitimer(signal.ITIMER_REAL, arguments.seconds)
        try:
            with (
                tempfile.TemporaryDirectory() as folder,
                contextlib.redirect_stdout(said),
                contextlib.redirect_stderr(said),
            ):
                kind(rng, pathlib.Path(folder))
            outcome = "used"
        except JaxalsError as error:
            outcome = f"refused: {type(error).__name__}"
        except BaseException:
            outcome, failures = "FAILED", failures + 1
            print(f"--only {kind.__name__} --first {number} --inputs 1\n{traceback.format_exc(limit=-6)}", flush=True)
        signal.setitimer(signal.ITIMER_REAL, 0)
        counts[kind.__name__][outcome] += 1
    frame = pd.DataFrame(counts).fillna(0).astype(int)
    total = int(frame.to_numpy().sum())
    print(frame.to_string())
    print(f"{total:,} inputs, {failures} failures, {time.perf_counter() - start:.0f} s")
    if not arguments.only:
        document = {
            "settings": {k: str(v) for k, v in vars(arguments).items() if k != "out"},
            **environment(),
            "failures": failures,
            "inputs": counts,
        }
        arguments.out.mkdir(parents=True, exist_ok=True)
        name = f"fuzz-seed{arguments.seed}-from{arguments.first}.json"
        (arguments.out / name).write_text(json.dumps(document, indent=1) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
