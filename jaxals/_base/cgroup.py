"""What a container leaves of its machine: control groups of Linux, versions 1 and 2. Host side."""

from collections.abc import Iterator
from pathlib import Path


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return how many processors' time this process may take; None where nothing limits it.

    Args:
        root: Where `proc` and `sys` lie.
    """
    quotas = []
    for folder in _folders("cpu", root):
        for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
            numbers = [number for name in names for number in _numbers(folder / name)]
            if len(numbers) == 2 and min(numbers) > 0:  # no limit is "max", or -1
                quotas.append(numbers[0] / numbers[1])
    return min(quotas, default=None)


def memory_left(root: Path = Path("/")) -> int | None:
    """Return the bytes of memory that this process may still take; None where nothing limits it.

    Args:
        root: Where `proc` and `sys` lie.
    """
    left = []
    for folder in _folders("memory", root):
        for limit, used, files in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            sizes = [*_numbers(folder / limit), *_numbers(folder / used)]
            if len(sizes) == 2:
                # Files that were read stay counted until their memory is wanted.
                given_back = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
                left.append(max(0, sizes[0] - sizes[1] + int(given_back.get(files, 0))))
    return min(left, default=None)


def _folders(controller: str, root: Path) -> Iterator[Path]:
    """List the groups that this process is in, from its own to the outermost that it sees: each one may limit it."""
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines() or ["0::/"]:
        if line.count(":") < 2:  # no system writes such a line, and no message is worth it
            continue
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for mount in (mounts / controllers, mounts / (controller if controllers else "unified")):
            # What is outside of the container's view begins with "..".
            parts = [part for part in path.split("/") if part not in ("", "..")]
            yield from (mount.joinpath(*parts[:length]) for length in range(len(parts), -1, -1))


def _numbers(path: Path) -> list[int]:
    """Read the numbers of a file; none where it is not there, or says "max"."""
    try:
        return [int(text) for text in _read(path).split()]
    except ValueError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # another system, or no such group
        return ""
