"""MovieLens 100K, 1M and 20M, each in its own file format; values are ratings. Host side."""

from pathlib import Path

from jaxals.data.interactions import Interactions
from jaxals.datasets.labels import read_names, with_names
from jaxals.datasets.registry import IdKind

_COLUMNS = ["userId", "movieId", "rating", "timestamp"]


def read_movielens(path: Path, ids: IdKind) -> Interactions:
    """Read the ratings of a MovieLens data set (Harper and Konstan 2015).

    Args:
        path: `u.data` (100K), `ratings.dat` (1M) or `ratings.csv` (20M), with its file of titles beside it.
        ids: Films by "names" (title and year, and the id where two films share them), or by "raw" integer ids.

    Returns:
        Ratings of users (integers) x films.
    """
    user, item, rating, _ = _COLUMNS
    names = None if path.suffix == ".csv" else _COLUMNS
    data = Interactions.from_file(path, user, item, rating, names=names)
    return data if ids == "raw" else with_names(data, titles(path))


def titles(path: Path) -> dict:
    """Read the title of each film that lies beside a file of ratings; see `read_movielens`."""
    # 100K and 1M were published as Latin-1; 10M, in the format of 1M, and what others made of them are UTF-8.
    if path.suffix == ".csv":
        return read_names(path.with_name("movies.csv"), ",", header=True)
    if path.suffix == ".dat":
        return read_names(path.with_name("movies.dat"), "::", or_latin_1=True)
    return read_names(path.with_name("u.item"), "|", or_latin_1=True)
