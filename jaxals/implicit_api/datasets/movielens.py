"""MovieLens as `implicit.datasets.movielens` returns it. Host side."""

from typing import Any

import numpy as np
import scipy.sparse

import jaxals.datasets
from jaxals._base.checks import require_one_of


def get_movielens(variant: Any = "20m") -> tuple[np.ndarray, scipy.sparse.csr_matrix]:
    """Load a MovieLens data set: from disk if it is there, else from GroupLens; see `jaxals.datasets.load`.

    Args:
        variant: "20m", "1m" or "100k"; implicit has "10m", too.

    Returns:
        Titles by MovieLens id, "" where there is no such film, and the ratings of films x users by their ids (float32):
        rows and columns of ids that are not given are empty, row and column 0 among them.

    Raises:
        ConfigurationError: There is no such variant.
        DataError: The files are broken, or the download fails.

    Example:
        >>> from jaxals.implicit_api.datasets.movielens import get_movielens
        >>> titles, ratings = get_movielens("100k")                   # doctest: +SKIP
    """
    require_one_of("variant", variant, "20m", "1m", "100k")
    data = jaxals.datasets.load(f"movielens-{variant}", ids="raw")
    names = jaxals.datasets.movielens.titles(jaxals.datasets.locate(f"movielens-{variant}"))
    titles = np.array([names.get(film, "") for film in range(max(names) + 1)])
    film, user = (index.to_numpy(np.int64) for index in (data.catalog.items, data.catalog.users))
    cells = film[data.item], user[data.user]
    return titles, scipy.sparse.csr_matrix((data.value.astype(np.float32), cells))
