"""Which rows are cut alike: classes by length, weighed by what they save and what compiling them takes. Host side.

Every class of rows is a loop of its own in the compiled program. More classes pad less and let the exact solver use
smaller systems, but each takes about a second to compile: for a small data set that is longer than all of training.
So the time of a fit is estimated, compilation included, and the cheapest set of classes is taken. Measurements behind
the estimates: `docs/why/layout.md`.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

_WIDTHS = (4, 8, 16, 32, 48, 64, 96, 128)
_MIDDLE_ROW_ENTRIES = 512
_WIDE_ROW_ENTRIES = 16_384
# Gathered rows of one chunk, in bytes: what stays in cache between the passes over them.
_CHUNK_CACHE_BYTES = 2**21
# But this many entries at least: systems are solved faster in larger batches (`docs/performance.md`).
_LEAST_CHUNK_ENTRIES = 2048
# Blocks of factors are read one after another: chunks are as many times larger, but no more than this, for derivatives
# read all factors of the same chunks.
_MOST_BLOCK_CHUNKS = 4
# In the dual form vectors are there twice, beside a matrix of each row's entries: chunks are a part as large, of this
# many systems at least.
_DUAL_CHUNKS, _LEAST_DUAL_TILES = 4, 32
# How much longer the passes over a chunk take that leaves the cache.
_SPILL = 1.3
# Sweeps that the time saved by a class is counted for: as many as `ALS` makes by default, and as 16 such fits make.
ONE_FIT, MANY_FITS = 15, 240
# Microseconds of one core that it takes to compile a class, and what each unknown of its systems adds.
_COMPILE, _COMPILE_UNKNOWN = 1e6, 2e4


@dataclasses.dataclass(frozen=True)
class RowClass:
    """Rows of up to `longest` entries (and more than the class before), and how they are cut.

    Attributes:
        longest: Most entries of a row.
        width: Entries of a tile.
        tiles_per_chunk: About how many tiles are solved at a time.
    """

    longest: int
    width: int
    tiles_per_chunk: int


def most_dual_entries(factors: int, gram_size: int) -> int:
    """Return how many entries a row may have for the dual form, a system of its entries in the place of its factors.

    In blocks of `gram_size` factors, rows of up to twice as many entries are solved in one system, too: that is faster
    than one for each block (`docs/why/solvers.md`).
    """
    return factors - 1 if gram_size == factors else min(2 * gram_size, factors - 1)


def choose_classes(
    counts: Int[np.ndarray, " rows"],
    factors: int,
    gram_size: int,
    item_bytes: int,
    most_tiles: int,
    sweeps: int = ONE_FIT,
) -> list[RowClass]:
    """Choose how rows of each length are cut.

    Args:
        counts: Entries of each row.
        factors: Number of factors.
        gram_size: Size of the Gram matrices that the solver forms, 0 for none; below `factors`, it solves for blocks of
            so many factors, one after another.
        item_bytes: Bytes of one number.
        most_tiles: Most tiles of a chunk, unless one row alone has more.
        sweeps: How many sweeps a class has to pay for its compilation.

    Returns:
        Classes in the order of their lengths; longer rows than the last one's are cut into steps.
    """
    lengths, n_rows = np.unique(counts[counts > 0], return_counts=True)
    entries_in_cache = lambda numbers: max(_CHUNK_CACHE_BYTES // (numbers * item_bytes), _LEAST_CHUNK_ENTRIES)
    most_dual = most_dual_entries(factors, gram_size)
    whole, in_blocks = entries_in_cache(factors), entries_in_cache(gram_size or factors)
    in_blocks = min(in_blocks, _MOST_BLOCK_CHUNKS * whole)
    # What is solved in blocks and what is not must not depend on what else there is.
    border = max((width for width in _WIDTHS if width <= most_dual), default=0) if gram_size < factors else 0
    ends = sorted({0, *_WIDTHS, _MIDDLE_ROW_ENTRIES, _WIDE_ROW_ENTRIES})
    # The cheapest way to cover all rows of up to `end` entries, and its cost.
    best: dict[int, tuple[float, list[RowClass]]] = {0: (0.0, [])}
    for end in ends[1:]:
        options = []
        for start in ends[: ends.index(end)]:
            if start < border < end:
                continue
            cost, before = best[start]
            is_in = (lengths > start) & (lengths <= end)
            if not is_in.any():
                options.append((cost, before))
                continue
            longest = int(lengths[is_in].max())
            entries = in_blocks if gram_size and end > most_dual else whole
            for kind in _kinds(end, longest, entries, factors, gram_size, most_tiles):
                more, compilation = _cost(kind, lengths[is_in], n_rows[is_in], factors, gram_size)
                if kind.width * kind.tiles_per_chunk > 2 * entries:
                    more *= _SPILL
                options.append((cost + sweeps * more + compilation, [*before, kind]))
        # Where nothing may end, as at a width that the solver has no use for, there is no way.
        best[end] = min(options, key=lambda option: option[0], default=(np.inf, []))
    return best[_WIDE_ROW_ENTRIES][1]


def _kinds(end: int, longest: int, entries: int, factors: int, gram_size: int, most_tiles: int) -> Iterator[RowClass]:
    """List the ways to cut rows of up to `end` entries, the longest of which has `longest`."""
    most_dual = most_dual_entries(factors, gram_size)
    if end < _MIDDLE_ROW_ENTRIES:
        # One tile a row: with more entries than the dual form is for, several narrower ones are padded less.
        if not gram_size or end <= max(most_dual + 1, min(_WIDTHS)):
            tiles = entries // end
            if end <= most_dual:
                tiles = min(max(tiles // _DUAL_CHUNKS, _LEAST_DUAL_TILES), tiles)
            yield RowClass(end, end, max(min(tiles, most_tiles), 1))
        return
    for width in _WIDTHS:
        most_of_a_row = -(-longest // width)
        # A row lies whole in a chunk.
        if width == max(_WIDTHS) or most_of_a_row <= most_tiles:
            yield RowClass(end, width, max(min(entries // width, most_tiles), most_of_a_row))


def _cost(
    kind: RowClass, lengths: Int[np.ndarray, " kinds"], n_rows: Int[np.ndarray, " kinds"], factors: int, gram_size: int
) -> tuple[float, float]:
    """Estimate what a class costs a sweep, and what its compilation costs, in microseconds of one core."""
    n_tiles = float(np.sum(n_rows * -(-lengths // kind.width)))
    if not gram_size:
        # A tile costs about as much as 3 extra entries, for its partial sums are written and added up.
        return 0.0015 * factors * n_tiles * (kind.width + 3), _COMPILE
    n_blocks, solved = -(-factors // gram_size), gram_size
    if kind.longest == kind.width <= most_dual_entries(factors, gram_size):
        n_blocks, solved = 1, kind.width
        by_tile = kind.width**2 * 1.25e-5 * factors + 0.0018 * kind.width * factors
    else:
        # Blocks read once more for the scores of what they add, and all factors once for those of the start.
        reading = 9e-4 if n_blocks == 1 else 2.7e-3
        by_tile = gram_size**2 * (1.1e-5 * kind.width + 2.5e-4) + reading * kind.width * gram_size
    a_sweep = n_blocks * (n_tiles * by_tile + float(n_rows.sum()) * 0.0025 * solved**2)
    return a_sweep, _COMPILE + _COMPILE_UNKNOWN * solved
