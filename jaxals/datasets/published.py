"""Splits and raw files in the formats that published tables were measured on. Host side.

None of them is downloaded: `find_published` looks where `JAXALS_DATA` points.
"""

import gzip
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from jaxals._base.arguments import checked_path, first_line
from jaxals.data.interactions import Interactions
from jaxals.data.split import NegativesSplit, Split
from jaxals.data.tables import read_table
from jaxals.errors import DataError

_PAIR = re.compile(r"\((\d+),(\d+)\)")

T = TypeVar("T")


def find_published(file: str | os.PathLike) -> Path:
    """Find a file or folder in the folder that the environment variable `JAXALS_DATA` names.

    Args:
        file: Its path below that folder.

    Returns:
        The whole path.

    Raises:
        DataError: `JAXALS_DATA` is not set, or there is nothing of that name.

    Example:
        >>> import os, pathlib, tempfile
        >>> from unittest import mock
        >>> from jaxals.datasets.published import find_published
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> (root / "ml-20m").mkdir()
        >>> with mock.patch.dict(os.environ, JAXALS_DATA=str(root)):
        ...     find_published("ml-20m") == root / "ml-20m"
        True
    """
    file = checked_path("file", file, DataError)
    root = os.environ.get("JAXALS_DATA")
    if not root:
        raise DataError(f"The environment variable JAXALS_DATA must name the folder that {str(file)!r} is in.")
    if not Path(root, file).exists():
        raise DataError(f"There is no {str(file)!r} in {root!r}, where JAXALS_DATA points.")
    return Path(root, file)


def read_ncf(folder: str | os.PathLike) -> NegativesSplit:
    r"""Read a leave-one-out split with sampled negatives, as published with Neural Collaborative Filtering.

    The format of He et al. 2017, and of those who compare with them (DeepCF, for one): `*.train.rating` and
    `*.test.rating` (user, item, value and perhaps a time; tabs between them) and `*.test.negative` (`(user,item)` and
    that user's negatives), each perhaps with `.gz` at its end. Users and items are numbered from 0.

    Args:
        folder: Where the three files are; there must be one of each.

    Returns:
        Train with the values of the file; test and negatives with values of 1.

    Raises:
        DataError: A file is missing or there twice, a line is broken, or the test's two files differ.

    Example:
        >>> import pathlib, tempfile
        >>> from jaxals.datasets.published import read_ncf
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "ml.train.rating").write_text("0\t1\t4\n1\t0\t5\n")
        >>> _ = (folder / "ml.test.rating").write_text("0\t2\t3\n1\t1\t4\n")
        >>> _ = (folder / "ml.test.negative").write_text("(0,2)\t0\t3\n(1,1)\t2\t3\n")
        >>> split = read_ncf(folder)
        >>> split.train.shape, split.test.item.tolist(), split.negatives.item.tolist()
        ((2, 4), [2, 1], [0, 3, 2, 3])
    """
    folder = checked_path("folder", folder, DataError)
    train = _read_columns(_one_file(folder, ".train.rating"))
    test = _read_columns(_one_file(folder, ".test.rating"))
    pairs, negatives = _read_negatives(_one_file(folder, ".test.negative"))
    if not np.array_equal(pairs, test[["user", "item"]].to_numpy()):
        raise DataError(f"The files of test items and of negatives in {str(folder)!r} are about different pairs.")
    shape = _shape(train, test, negatives)
    make = lambda frame, value: Interactions.from_arrays(frame["user"], frame["item"], value, shape=shape)
    without_repeats = negatives.drop_duplicates()
    return NegativesSplit(make(train, train["value"]), make(test, None), make(without_repeats, None))


def read_adjacency(train: str | os.PathLike, test: str | os.PathLike) -> Split:
    r"""Read a split in the format of LightGCN (He et al. 2020): in each line a user and then that user's items.

    Args:
        train: The file to train on; spaces between numbers that count from 0.
        test: The file to find again, likewise; a user may have no items.

    Returns:
        Both with values of 1.

    Raises:
        DataError: A file is missing or empty, or a line is broken.

    Example:
        >>> import pathlib, tempfile
        >>> from jaxals.datasets.published import read_adjacency
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "train.txt").write_text("0 0 1\n1 2\n")
        >>> _ = (folder / "test.txt").write_text("0 2\n1\n")
        >>> split = read_adjacency(folder / "train.txt", folder / "test.txt")
        >>> len(split.train), split.test.user.tolist(), split.test.item.tolist()
        (3, [0], [2])
    """
    paths = checked_path("train", train, DataError), checked_path("test", test, DataError)
    frames = [_read_lines(path, _adjacent) for path in paths]
    pairs = [pd.DataFrame([pair for line in lines for pair in line], columns=["user", "item"]) for lines in frames]
    shape = _shape(*pairs)
    first, second = (Interactions.from_arrays(pair["user"], pair["item"], shape=shape) for pair in pairs)
    return Split(first, second)


def read_ml_20m(file: str | os.PathLike) -> pd.DataFrame:
    r"""Read `ratings.csv` of MovieLens 20M into columns user, item and value, in the order of the file.

    Args:
        file: The file, with columns userId, movieId and rating.

    Returns:
        One row per line, for `strong_generalization` or `Interactions.from_frame`.

    Raises:
        DataError: The file is missing, or a line is broken.

    Example:
        >>> import pathlib, tempfile
        >>> from jaxals.datasets.published import read_ml_20m
        >>> file = pathlib.Path(tempfile.mkdtemp(), "ratings.csv")
        >>> _ = file.write_text("userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n")
        >>> read_ml_20m(file).to_dict("records")
        [{'user': 1, 'item': 2, 'value': 3.5}]
    """
    frame = read_table(checked_path("file", file, DataError), "userId", "movieId", "rating")
    return frame.rename(columns={"userId": "user", "movieId": "item", "rating": "value"})


def read_msd(file: str | os.PathLike) -> pd.DataFrame:
    r"""Read `train_triplets.txt` of the Million Song Dataset's taste profiles: columns user, item and value (plays).

    Args:
        file: The file, without a header; tabs between columns.

    Returns:
        One row per line, for `strong_generalization` or `Interactions.from_frame`.

    Raises:
        DataError: The file is missing, or a line is broken.

    Example:
        >>> import pathlib, tempfile
        >>> from jaxals.datasets.published import read_msd
        >>> file = pathlib.Path(tempfile.mkdtemp(), "train_triplets.txt")
        >>> _ = file.write_text("b80344d0\tSOAKIMP1\t1\nb80344d0\tSOAPDEY1\t2\n")
        >>> read_msd(file)["value"].tolist()
        [1.0, 2.0]
    """
    return read_table(checked_path("file", file, DataError), "user", "item", "value", names=["user", "item", "value"])


def _one_file(folder: Path, ending: str) -> Path:
    found = sorted(path for end in (ending, f"{ending}.gz") for path in folder.glob(f"*{end}"))
    if len(found) != 1:
        raise DataError(f"In {str(folder)!r} there must be one file *{ending}[.gz]; there are {len(found)}.")
    return found[0]


def _read_columns(path: Path) -> pd.DataFrame:
    try:
        # By type, so that nothing passes through floats on its way to integers.
        types = {"user": np.int64, "item": np.int64, "value": np.float64}
        return pd.read_csv(path, sep="\t", header=None, usecols=[0, 1, 2], names=[*types], dtype=types)
    except (OSError, EOFError, zlib.error, ValueError, OverflowError) as error:  # pandas' own are ValueErrors
        raise DataError(
            f"{path} cannot be read as tab-separated users, items and values: {first_line(error)}."
        ) from None


def _read_negatives(path: Path) -> tuple[np.ndarray, pd.DataFrame]:
    lines = _read_lines(path, _negatives)
    pairs = np.array([pair for pair, _ in lines])
    counts = [len(items) for _, items in lines]
    items = np.array([item for _, items in lines for item in items], np.int64)
    return pairs, pd.DataFrame({"user": np.repeat(pairs[:, 0], counts), "item": items})


def _negatives(line: str) -> tuple[tuple[int, int], list[int]]:
    first, *items = line.split()
    match = _PAIR.fullmatch(first)
    if not match:
        raise ValueError("the line begins with no (user,item)")
    return (int(match[1]), int(match[2])), [int(item) for item in items]


def _adjacent(line: str) -> list[tuple[int, int]]:
    user, *items = (int(field) for field in line.split())
    return [(user, item) for item in items]


def _read_lines(path: Path, parse: Callable[[str], T]) -> list[T]:
    parsed: list[T] = []
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                parsed.append(parse(line))
    except ValueError:  # of `parse`, or of bytes that are no text
        raise DataError(f"Line {len(parsed) + 1} of {path} is not what its format asks for.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}.") from None
    if not parsed:
        raise DataError(f"{path} is empty.")
    return parsed


def _shape(*frames: pd.DataFrame) -> tuple[int, int]:
    n_users, n_items = (max(int(frame[side].max()) for frame in frames if len(frame)) + 1 for side in ("user", "item"))
    return n_users, n_items
