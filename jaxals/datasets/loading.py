"""Public data sets by name: found on disk, or downloaded, checked and unpacked. Host side."""

import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from jaxals._base.arguments import checked_path, first_line
from jaxals._base.checks import require_one_of
from jaxals.data.interactions import Interactions
from jaxals.datasets.lastfm import read_2k, read_360k
from jaxals.datasets.movielens import read_movielens
from jaxals.datasets.registry import DatasetInfo, IdKind, info
from jaxals.datasets.retail import read_retail
from jaxals.errors import DataError

_READERS: dict[str, Callable[[Path, IdKind], Interactions]] = {
    "lastfm-360k": read_360k,
    "lastfm-2k": read_2k,
    "movielens-100k": read_movielens,
    "movielens-1m": read_movielens,
    "movielens-20m": read_movielens,
    "online-retail": read_retail,
}


def load(name: str, path: str | os.PathLike | None = None, ids: IdKind = "names") -> Interactions:
    r"""Load a public data set by name, from disk if it is there, else from those who publish it.

    Without `path`, the files are looked for in the folder that the environment variable `JAXALS_DATA` names and in
    its subfolders (`info(name).folders`). If they are not there, the archive is downloaded to the user's cache
    folder, its checksum compared, and its licence and citation are printed to stderr.

    Args:
        name: One of `names()`.
        path: The file of interactions, with those that belong to it beside it, or the folder that holds them; then
            nothing is downloaded.
        ids: Whether items go by their "names" (artists, titles, descriptions) or by the "raw" ids of the files;
            `info(name).items` says what both are.

    Returns:
        The interactions: play counts, ratings or units bought.

    Raises:
        DataError: There is no such data set, `path` or `JAXALS_DATA` leads nowhere, a file is broken, or the
            download fails or does not match its checksum.
        ConfigurationError: `ids` is neither "names" nor "raw".
        MissingDependencyError: The file needs an optional package.

    Example:
        >>> import pathlib, tempfile
        >>> import jaxals
        >>> folder = pathlib.Path(tempfile.mkdtemp())  # without one, `load("lastfm-2k")` looks for it or downloads it
        >>> _ = (folder / "artists.dat").write_text("id\tname\n51\tDuran Duran\n52\tMorcheeba\n")
        >>> _ = (folder / "user_artists.dat").write_text("userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n")
        >>> jaxals.datasets.load("lastfm-2k", folder).to_frame().to_dict("list")
        {'user': [2, 2], 'item': ['Duran Duran', 'Morcheeba'], 'value': [13883.0, 11690.0]}
    """
    info(name)  # the first complaint is about the name
    require_one_of("ids", ids, "names", "raw")
    return _READERS[name](locate(name, path), ids)


def locate(name: str, path: str | os.PathLike | None = None) -> Path:
    r"""Return the file of interactions that `load` reads, with those that belong to it beside it.

    Args:
        name: One of `names()`.
        path: As in `load`; without it, a file that is not found is downloaded.

    Returns:
        The path of the file.

    Raises:
        DataError: As in `load`.

    Example:
        >>> import pathlib, tempfile
        >>> import jaxals
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "artists.dat").write_text("id\tname\n51\tDuran Duran\n")
        >>> _ = (folder / "user_artists.dat").write_text("userID\tartistID\tweight\n2\t51\t13883\n")
        >>> jaxals.datasets.locate("lastfm-2k", folder).name
        'user_artists.dat'
    """
    dataset = info(name)
    if path is not None:
        return _given(dataset, checked_path("path", path, DataError))
    return find(name) or _downloaded(dataset)


def find(name: str, folder: str | os.PathLike | None = None) -> Path | None:
    """Find a data set on disk; nothing is downloaded.

    Args:
        name: One of `names()`.
        folder: Where to look; by default in the folder that the environment variable `JAXALS_DATA` names and in its
            subfolders.

    Returns:
        The file of interactions, or None where it, or a file that belongs to it, is missing.

    Raises:
        DataError: There is no such data set, or `JAXALS_DATA` leads nowhere.

    Example:
        >>> import jaxals
        >>> jaxals.datasets.find("lastfm-2k", "no/such/folder") is None
        True
    """
    dataset = info(name)
    if folder is not None:
        return _find(dataset, checked_path("folder", folder, DataError))
    root = os.environ.get("JAXALS_DATA")
    if not root:
        return None
    if not Path(root).is_dir():
        raise DataError(f"The environment variable JAXALS_DATA names {root!r}, which is not a folder.")
    folders = [*(Path(root, subfolder) for subfolder in dataset.folders), Path(root)]
    return next(filter(None, (_find(dataset, folder) for folder in folders)), None)


def _given(dataset: DatasetInfo, path: Path) -> Path:
    found = _find(dataset, path) if path.is_dir() else path
    if found is None or not found.is_file():
        wanted = " and ".join(_base_names(dataset.files))
        raise DataError(f"{str(path)!r} is neither a folder with {wanted} of {dataset.title}, nor such a file.")
    for companion in _base_names(dataset.files)[1:]:
        if not found.with_name(companion).is_file():
            raise DataError(f"Beside {str(found)!r} there is no {companion!r}, which belongs to {dataset.title}.")
    return found


def _find(dataset: DatasetInfo, folder: Path) -> Path | None:
    """Return the file of interactions if the folder has it and all that belongs to it."""
    for alternative in dataset.alternatives:
        if (folder / alternative).is_file():
            return folder / alternative
    files = [folder / name for name in _base_names(dataset.files)]
    return files[0] if all(file.is_file() for file in files) else None


def _base_names(files: tuple[str, ...]) -> list[str]:
    return [Path(file).name for file in files]


def _downloaded(dataset: DatasetInfo) -> Path:
    # Not at the top: importing it takes time, and hardly ever is anything downloaded.
    import pooch

    cache, archive = Path(pooch.os_cache("jaxals")), f"{dataset.name}-{dataset.url.rsplit('/', 1)[-1]}"
    if not (cache / archive).exists():
        print(f"Downloading {dataset.size} MB: {dataset.terms}", file=sys.stderr)
    unpack = pooch.Untar if archive.endswith(".tar.gz") else pooch.Unzip
    try:
        files = pooch.retrieve(
            dataset.url,
            known_hash=dataset.checksum,
            fname=archive,
            path=cache,
            processor=unpack(members=list(dataset.files)),
            progressbar=True,
        )
    except OSError as error:  # every error of requests is one
        raise DataError(f"{dataset.title} could not be downloaded from {dataset.url}: {first_line(error)}.") from None
    except ValueError:
        raise DataError(
            f"What came from {dataset.url} does not match the checksum of {dataset.title}, {dataset.checksum}, and was "
            f"thrown away; try again, or download it from {dataset.homepage} and pass its folder as `path`."
        ) from None
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise DataError(
            f"The archive {cache / archive} is not what it should be; delete it: {first_line(error)}."
        ) from None
    wanted = Path(dataset.files[0])
    for file in map(Path, files):
        if file.parts[-len(wanted.parts) :] == wanted.parts:
            return file
    raise DataError(f"The archive {cache / archive} holds no {str(wanted)!r}; delete it and try again.")
