"""The few sizes that questions of all sizes are brought to, so that few programs are compiled. Host side.

Why these: `docs/why/serving.md`.
"""

from collections.abc import Iterator

# Rows of one batch, however short they are, and of the batches that smaller requests are cut into.
_MOST_ROWS, _FEW_ROWS = 1024, 16
# Up to so many rows lie beside a table, or a 64th of it where that is more: copying the table for each 64th of it costs
# less than the rest of folding in.
_LATE_ROWS = 8192
# Tables up to so many rows get room for twice as many, longer ones for an eighth.
_DOUBLED_ROWS = 2**18


def power_of_two(number: int) -> int:
    """Round up to a power of two, 1 at least: a kernel is then compiled for few lengths."""
    return 1 << max(number - 1, 0).bit_length()


def power(base: int, number: int, least: int) -> int:
    """Round up to `least` times a power of `base`.

    Example:
        >>> from jaxals.recommend.sizes import power
        >>> power(8, number=130, least=16)
        1024
    """
    size = least
    while size < number:
        size *= base
    return size


def cut(n_rows: int, most: int) -> Iterator[tuple[int, int, int]]:
    """Cut rows into batches of three sizes: 1, a few, and as many as are scored at once.

    A batch is taken where at least half of it is filled.

    Args:
        n_rows: How many there are.
        most: Rows of the largest batches.

    Yields:
        Where a batch begins and ends, and its size, which is what was cut off or more.

    Example:
        >>> from jaxals.recommend.sizes import cut
        >>> list(cut(1042, most=5000))
        [(0, 1024, 1024), (1024, 1040, 16), (1040, 1041, 1), (1041, 1042, 1)]
    """
    most = min(most, _MOST_ROWS)
    sizes = [most, min(_FEW_ROWS, most), 1]
    start = 0
    while start < n_rows:
        size = next(size for size in sizes if 2 * (n_rows - start) >= size)
        yield start, min(start + size, n_rows), size
        start += size


def list_length(n: int, n_rows: int, n_columns: int) -> int:
    """Return how many columns to rank in a batch of `n_rows`, `n` at least.

    10, 20, 50, 100, ... for many rows: what people ask for, for there a longer list than is wanted costs time. For few
    rows it costs little, for one nothing.

    Example:
        >>> from jaxals.recommend.sizes import list_length
        >>> [list_length(10, 1, 5000), list_length(30, 16, 5000), list_length(30, 64, 5000), list_length(70, 1, 90)]
        [200, 100, 50, 90]
    """
    if n_rows == 1:
        size = power(10, n, 200)
    elif n_rows <= _FEW_ROWS:
        size = 20 if n <= 20 else power(10, n, 100)
    else:
        size = min(power(10, n, least) for least in (10, 20, 50))
    return min(size, n_columns)


def late_limit(n_trained: int) -> int:
    """Return how many late rows may lie beside trained ones."""
    return max(_LATE_ROWS, n_trained // 64)


def roomy(n_rows: int) -> int:
    """Round a number of rows up, to a power of two where it is small, so that growing tables have few shapes.

    Example:
        >>> from jaxals.recommend.sizes import roomy
        >>> roomy(9_000), roomy(1_000_000)
        (16384, 1048576)
    """
    step = power_of_two(n_rows)
    if n_rows > _DOUBLED_ROWS:
        step //= 8
    return -(-n_rows // step) * step
