"""The two Last.fm data sets: 360K (play counts by artist name) and HetRec 2011's 2K. Host side."""

from pathlib import Path

from jaxals.data.interactions import Interactions
from jaxals.data.tables import read_table
from jaxals.datasets.labels import read_names, with_names
from jaxals.datasets.registry import IdKind

_COLUMNS_360K = ["user", "mbid", "name", "plays"]


def read_360k(path: Path, ids: IdKind) -> Interactions:
    """Read the plays of Last.fm 360K (Celma 2010); rows without an artist or with 0 plays are dropped.

    Artists that share a name are one item when `ids` is "names": only their MusicBrainz ids tell them apart, and
    many rows have none.

    Args:
        path: `usersha1-artmbid-artname-plays.tsv`: no header, no quoting.
        ids: Items by artist "names", or "raw" MusicBrainz ids.

    Returns:
        Play counts of users (sha1 of their mail address) x artists.
    """
    artist = "name" if ids == "names" else "mbid"
    plays = read_table(path, "user", artist, "plays", names=_COLUMNS_360K, missing="drop")
    return Interactions.from_frame(plays[plays["plays"] > 0], "user", artist, "plays")


def read_2k(path: Path, ids: IdKind) -> Interactions:
    """Read the play counts of HetRec 2011's Last.fm 2K.

    Args:
        path: `user_artists.dat`, with `artists.dat` beside it.
        ids: Items by artist "names", or "raw" integer ids.

    Returns:
        Play counts of users (integers) x artists.
    """
    data = Interactions.from_frame(read_table(path, "userID", "artistID", "weight"), "userID", "artistID", "weight")
    if ids == "raw":
        return data
    return with_names(data, read_names(path.with_name("artists.dat"), "\t", header=True))
