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

from jaxals.als.layout.machine import CPU, Machine

_WIDTHS = (4, 8, 16, 32, 48, 64, 96, 128)
_MIDDLE_ROW_ENTRIES = 512
# On an accelerator classes may end at any of these, too, and whole rows' widths are multiples of a step.
_WIDE_ENDS, _WIDTH_STEP = tuple(round(2 ** (half / 2)) for half in range(15, 40)), 8
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
# Launches of a chunk, and block of factors, on an accelerator (`docs/why/accelerators.md`).
_LAUNCHES = 25


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
    machine: Machine = CPU,
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
        machine: What they are cut for.
        sweeps: How many sweeps a class has to pay for its compilation.

    Returns:
        Classes in the order of their lengths; longer rows than the last one's are cut into steps.
    """
    lengths, n_rows = np.unique(counts[counts > 0], return_counts=True)
    entries_in_cache = lambda numbers: max(machine.vector_bytes // (numbers * item_bytes), machine.least_chunk_entries)
    most_dual = most_dual_entries(factors, gram_size)
    whole, in_blocks = entries_in_cache(factors), entries_in_cache(gram_size or factors)
    if not gram_size and not machine.in_cache:
        # Every pass reads vectors anew, so that a half step holds none; derivatives do.
        whole *= 2
    in_blocks = min(in_blocks, _MOST_BLOCK_CHUNKS * whole)
    # What is solved in blocks and what is not must not depend on what else there is.
    border = max((width for width in _WIDTHS if width <= most_dual), default=0) if gram_size < factors else 0
    further = (_MIDDLE_ROW_ENTRIES,) if machine.in_cache else _WIDE_ENDS
    ends = sorted({0, *_WIDTHS, *further, machine.longest_row})
    kinds = _kinds if machine.in_cache else _kinds_of_few_steps
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
            rows = lengths[is_in], n_rows[is_in]
            for kind in kinds(end, longest, entries, most_dual, gram_size, most_tiles, border or most_dual):
                if machine.in_cache:
                    more = _time(kind, *rows, factors, gram_size, most_dual)
                    if kind.width * kind.tiles_per_chunk > 2 * entries:
                        more *= _SPILL
                else:
                    more = _modelled_time(kind, *rows, factors, gram_size, most_dual, item_bytes, machine)
                solved = kind.width if kind.longest <= kind.width <= most_dual else gram_size
                compilation = machine.compile + machine.compile_unknown * solved
                options.append((cost + sweeps * more + compilation, [*before, kind]))
        # Where nothing may end, as at a width that the solver has no use for, there is no way.
        best[end] = min(options, key=lambda option: option[0], default=(np.inf, []))
    return best[machine.longest_row][1]


def _kinds(
    end: int, longest: int, entries: int, most_dual: int, gram_size: int, most_tiles: int, border: int
) -> Iterator[RowClass]:
    """List the ways to cut rows of up to `end` entries, the longest of which has `longest`."""
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


def _kinds_of_few_steps(
    end: int, longest: int, entries: int, most_dual: int, gram_size: int, most_tiles: int, border: int
) -> Iterator[RowClass]:
    """List the ways to cut the same rows for an accelerator, of up to `border` entries for the dual form."""
    # Whole in a tile of any width: what tiles leave of a matrix would be slow to add up, and to compile.
    width = -(-longest // _WIDTH_STEP) * _WIDTH_STEP
    if gram_size and longest <= border:
        width = min(width, most_dual)
        most_tiles = most_tiles * gram_size**2 // width**2
    elif gram_size and width <= most_dual:
        # Wider than what is solved in the dual form.
        width = (most_dual // _WIDTH_STEP + 1) * _WIDTH_STEP
    yield RowClass(longest, width, max(min(entries // width, most_tiles), 1))
    if gram_size:
        return
    for narrow in _WIDTHS:
        if _WIDTH_STEP <= narrow < width:
            yield RowClass(longest, narrow, max(min(entries // narrow, most_tiles), -(-longest // narrow)))


def _time(
    kind: RowClass,
    lengths: Int[np.ndarray, " kinds"],
    n_rows: Int[np.ndarray, " kinds"],
    factors: int,
    gram_size: int,
    most_dual: int,
) -> float:
    """Estimate what a class costs a sweep on a CPU, in microseconds of one core."""
    n_tiles = float(np.sum(n_rows * -(-lengths // kind.width)))
    if not gram_size:
        # A tile costs about as much as 3 extra entries, for its partial sums are written and added up.
        return 0.0015 * factors * n_tiles * (kind.width + 3)
    n_blocks, solved = -(-factors // gram_size), gram_size
    if kind.longest == kind.width <= most_dual:
        n_blocks, solved = 1, kind.width
        by_tile = kind.width**2 * 1.25e-5 * factors + 0.0018 * kind.width * factors
    else:
        # Blocks read once more for the scores of what they add, and all factors once for those of the start.
        reading = 9e-4 if n_blocks == 1 else 2.7e-3
        by_tile = gram_size**2 * (1.1e-5 * kind.width + 2.5e-4) + reading * kind.width * gram_size
    return n_blocks * (n_tiles * by_tile + float(n_rows.sum()) * 0.0025 * solved**2)


def _modelled_time(
    kind: RowClass,
    lengths: Int[np.ndarray, " kinds"],
    n_rows: Int[np.ndarray, " kinds"],
    factors: int,
    gram_size: int,
    most_dual: int,
    item_bytes: int,
    machine: Machine,
) -> float:
    """Estimate what a class costs a sweep on an accelerator by bytes and launches, in microseconds."""
    n_tiles, total = float(np.sum(n_rows * -(-lengths // kind.width))), float(n_rows.sum())
    n_chunks, n_blocks = np.ceil(n_tiles / kind.tiles_per_chunk), 1
    if not gram_size:
        # Eight passes read the vectors; four of them leave sums of a tile, which may have to be added up.
        numbers = n_tiles * factors * (8 * kind.width + (12 if kind.longest > kind.width else 8))
    elif kind.longest <= kind.width <= most_dual:
        numbers = n_tiles * kind.width * (7 * factors + 10 * kind.width)
    else:
        # Vectors are read, kept as they are and weighted, and multiplied; matrices are made, added up, factorised.
        n_blocks = -(-factors // gram_size)
        numbers = n_blocks * gram_size * (5 * n_tiles * kind.width + 9 * total * gram_size)
    return float(numbers * item_bytes / machine.bandwidth + n_chunks * n_blocks * _LAUNCHES * machine.launch)
