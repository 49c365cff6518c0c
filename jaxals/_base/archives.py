"""Archives of arrays (.npz) from anywhere: nothing is unpickled, none takes more memory than there is. Host side."""

import os
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np

from jaxals._base.arguments import first_line
from jaxals._base.memory import require_memory
from jaxals.errors import ConfigurationError, DataError


def read_arrays(file: Any, names: Collection[str], what: str) -> dict[str, np.ndarray]:
    """Read arrays of an .npz archive.

    Args:
        file: Path, or a file that is open for reading and seeking.
        names: Of the arrays to read; whatever else is there is not looked at.
        what: They should be, for messages: "factors".

    Returns:
        Those that are there, by name.

    Raises:
        DataError: The file is missing, damaged or no archive, or an array would have to be unpickled.
        ConfigurationError: The arrays do not fit into memory.

    Example:
        >>> import io
        >>> import numpy as np
        >>> from jaxals._base.archives import read_arrays
        >>> file = io.BytesIO()
        >>> np.savez(file, factors=np.ones(3))
        >>> read_arrays(file, ["factors", "ids"], "factors")
        {'factors': array([1., 1., 1.])}
    """
    where = file if isinstance(file, (str, os.PathLike)) else getattr(file, "name", "The file")
    try:
        with zipfile.ZipFile(file) as archive:
            members = {member.filename: member.file_size for member in archive.infolist()}
            wanted = {name: f"{name}.npy" for name in names if f"{name}.npy" in members}
            size = sum(members[member] for member in wanted.values())
            require_memory(size, f"Reading {where}", "free some memory")
            return {name: _array(archive, member) for name, member in wanted.items()}
    except ConfigurationError:
        raise
    # Archives are damaged in many ways, each with an error of its own.
    except Exception as error:
        raise DataError(f"{where} cannot be read as {what}: {first_line(error)}.") from None


def _array(archive: zipfile.ZipFile, member: str) -> Any:
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
