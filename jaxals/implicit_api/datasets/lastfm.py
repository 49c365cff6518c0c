"""Last.fm 360K as `implicit.datasets.lastfm` returns it. Host side."""

import numpy as np
import scipy.sparse

import jaxals.datasets


def get_lastfm() -> tuple[np.ndarray, np.ndarray, scipy.sparse.csr_matrix]:
    """Load Last.fm 360K: from disk if it is there, else from Zenodo; see `jaxals.datasets.load`.

    Rows without an artist and plays of 0 are left out, which implicit's file has.

    Returns:
        Names of artists and of users, both sorted, and the plays of artists x users (float32).

    Raises:
        DataError: The files are broken, or the download fails.

    Example:
        >>> from jaxals.implicit_api.datasets.lastfm import get_lastfm
        >>> from jaxals.models import model
        >>> artists, users, plays = get_lastfm()                      # doctest: +SKIP
        >>> model.fit(plays.T.tocsr())                                # doctest: +SKIP
    """
    data = jaxals.datasets.load("lastfm-360k")
    artists, artist = np.unique(data.catalog.items.to_numpy(str), return_inverse=True)
    users, user = np.unique(data.catalog.users.to_numpy(str), return_inverse=True)
    cells = artist[data.item], user[data.user]
    plays = scipy.sparse.csr_matrix((data.value.astype(np.float32), cells), shape=(len(artists), len(users)))
    return artists, users, plays
