"""What is known about each public data set: where it lives, how to check it, its licence and its source. Host side."""

import dataclasses
import difflib
from typing import Literal

from jaxals._base.arguments import require_text, told
from jaxals.errors import DataError

IdKind = Literal["names", "raw"]


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """A public data set that `jaxals.datasets.load` can read and download.

    Attributes:
        name: What to pass to `load`.
        title: Its full name.
        homepage: Page of those who publish it.
        url: Address of the archive.
        checksum: Published hash of the archive, `md5:...` or `sha256:...`; None if there is none.
        size: Size of the archive in megabytes.
        files: Names of the files that are read, as they are called inside the archive, the interactions first.
        alternatives: Other files that hold the same interactions, looked for before the first of `files`.
        folders: Subfolders of `$JAXALS_DATA` where they are looked for.
        licence: Terms of use.
        citation: What to cite.
        items: What the items are; "names" and "raw" tell the two kinds of item ids apart.

    Example:
        >>> import jaxals
        >>> info = jaxals.datasets.info("lastfm-2k")
        >>> info.title, info.size, info.files
        ('HetRec 2011 Last.fm 2K', 3, ('user_artists.dat', 'artists.dat'))
    """

    name: str
    title: str
    homepage: str
    url: str
    checksum: str | None
    size: int
    files: tuple[str, ...]
    folders: tuple[str, ...]
    licence: str
    citation: str
    items: str
    alternatives: tuple[str, ...] = ()

    @property
    def terms(self) -> str:
        """Licence and citation, as announced before a download."""
        return f"{self.title} ({self.homepage})\nLicence: {self.licence}\nPlease cite: {self.citation}"


_HARPER_KONSTAN = (
    "F. Maxwell Harper and Joseph A. Konstan (2015): The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5(4), article 19. https://doi.org/10.1145/2827872"
)
_MOVIELENS_TERMS = "research use; no redistribution and no commercial use without permission of GroupLens"
_MOVIELENS_ITEMS = 'films: "names" are titles, "raw" are MovieLens ids'

# The checksums of MovieLens are those that GroupLens publishes beside each archive, that of Last.fm 360K is Zenodo's;
# those of HetRec 2011 and Online Retail are what several independent public projects pin.
DATASETS = {
    info.name: info
    for info in (
        DatasetInfo(
            name="lastfm-360k",
            title="Last.fm Dataset 360K, version 1.2",
            homepage="https://zenodo.org/records/6090214",
            url="https://zenodo.org/records/6090214/files/lastfm-dataset-360K.tar.gz",
            checksum="md5:635e6ed3fc873aa4ba33aba0ebce02b1",
            size=569,
            files=("lastfm-dataset-360K/usersha1-artmbid-artname-plays.tsv",),
            folders=("lastfm-360k", "lastfm-dataset-360K", "lastfm-360k-format"),
            licence="non-commercial use, by permission of Last.fm",
            citation=(
                "Òscar Celma (2010): Music Recommendation and Discovery in the Long Tail. Springer. "
                "https://doi.org/10.5281/zenodo.6090214"
            ),
            items='artists: "names" are names, "raw" are MusicBrainz ids (rows without one are dropped)',
        ),
        DatasetInfo(
            name="lastfm-2k",
            title="HetRec 2011 Last.fm 2K",
            homepage="https://grouplens.org/datasets/hetrec-2011",
            url="https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip",
            checksum="sha256:6738f48195667ff03caaab4d32ca9a3133d8cc026b7c3cdaf6ce1010e913c59c",
            size=3,
            files=("user_artists.dat", "artists.dat"),
            folders=("lastfm-2k", "hetrec2011-lastfm-2k"),
            licence="non-commercial use",
            citation=(
                "Iván Cantador, Peter Brusilovsky and Tsvi Kuflik (2011): 2nd Workshop on Information Heterogeneity "
                "and Fusion in Recommender Systems (HetRec 2011). RecSys 2011; and Last.fm, https://www.last.fm"
            ),
            items='artists: "names" are names, "raw" are artist ids',
        ),
        DatasetInfo(
            name="movielens-100k",
            title="MovieLens 100K",
            homepage="https://grouplens.org/datasets/movielens/100k",
            url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            checksum="md5:0e33842e24a9c977be4e0107933c0723",
            size=5,
            files=("ml-100k/u.data", "ml-100k/u.item"),
            folders=("movielens-100k", "ml-100k"),
            licence=_MOVIELENS_TERMS,
            citation=_HARPER_KONSTAN,
            items=_MOVIELENS_ITEMS,
        ),
        DatasetInfo(
            name="movielens-1m",
            title="MovieLens 1M",
            homepage="https://grouplens.org/datasets/movielens/1m",
            url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            checksum="md5:c4d9eecfca2ab87c1945afe126590906",
            size=6,
            files=("ml-1m/ratings.dat", "ml-1m/movies.dat"),
            folders=("movielens-1m", "ml-1m"),
            licence=_MOVIELENS_TERMS,
            citation=_HARPER_KONSTAN,
            items=_MOVIELENS_ITEMS,
        ),
        DatasetInfo(
            name="movielens-20m",
            title="MovieLens 20M",
            homepage="https://grouplens.org/datasets/movielens/20m",
            url="https://files.grouplens.org/datasets/movielens/ml-20m.zip",
            checksum="md5:cd245b17a1ae2cc31bb14903e1204af3",
            size=199,
            files=("ml-20m/ratings.csv", "ml-20m/movies.csv"),
            folders=("movielens-20m", "ml-20m"),
            licence=_MOVIELENS_TERMS,
            citation=_HARPER_KONSTAN,
            items=_MOVIELENS_ITEMS,
        ),
        DatasetInfo(
            name="online-retail",
            title="UCI Online Retail",
            homepage="https://archive.ics.uci.edu/dataset/352/online+retail",
            url="https://archive.ics.uci.edu/static/public/352/online+retail.zip",
            checksum="sha256:f5385cbb54bbebf7196389109c6b0621faab0c304e3702548165e71c84aede8b",
            size=24,
            files=("Online Retail.xlsx",),
            folders=("online-retail",),
            licence="CC BY 4.0",
            citation="Daqing Chen (2015): Online Retail. UCI Machine Learning Repository. https://doi.org/10.24432/C5BW33",
            items='products: "names" are descriptions, "raw" are stock codes',
            alternatives=("online_retail_uci.parquet",),
        ),
    )
}


def names() -> list[str]:
    """List the data sets that `load` knows.

    Returns:
        Their names, in the order of the registry.

    Example:
        >>> import jaxals
        >>> jaxals.datasets.names()
        ['lastfm-360k', 'lastfm-2k', 'movielens-100k', 'movielens-1m', 'movielens-20m', 'online-retail']
    """
    return list(DATASETS)


def info(name: str) -> DatasetInfo:
    """Return what is known about a data set: address, checksum, licence, citation.

    Args:
        name: One of `names()`.

    Returns:
        What is written down about it; nothing is read.

    Raises:
        DataError: There is no data set of that name.

    Example:
        >>> import jaxals
        >>> jaxals.datasets.info("online-retail").licence
        'CC BY 4.0'
    """
    require_text("name", name, f"one of {', '.join(DATASETS)}", DataError)
    if name not in DATASETS:
        near = difflib.get_close_matches(name.casefold(), list(DATASETS), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise DataError(
            f"There is no data set {told(name)}{hint}; there are {', '.join(DATASETS)}. "
            "Published splits are read by `jaxals.datasets.published`."
        )
    return DATASETS[name]
