"""Rows of δ that are kept for a while, so that what many of them add to ∇W is summed at once.

∇W[i] += δ[t] for every event writes a whole row of ∇W, and a store costs twice what a load does. Here up to
`ROWS` rows of δ are kept; then the events that meet them are grouped by input, and each input's row of ∇W
is written once: one load per event and block, from the nearest caches, as the rows kept lie by tiles of
columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparsespike.backends.cpu.simd import FOUR, ONE, aligned, lanes, load, load_four, scaled, store
from sparsespike.backends.cpu.verbs import INLINE

ROWS = 255  # kept at a time; odd, or a row's tiles would compete for one set of the caches
EVENTS = 2**15  # that they meet, if no row meets more


class Kept(NamedTuple):
    """Rows of δ, and the events that meet them.

    Attributes:
        delta: (ROWS * n,), by tiles of columns: the tile of row r that begins at column `at` lies at
            ROWS * at + r * (columns of the tile).
        bounds: (2, ROWS), of the input events of each row.
        held: (2,), how many rows and events.
        end: (n_in + 1,), scratch: where each input's group ends.
        row: (EVENTS,), scratch: rows, grouped by input.
    """

    delta: NDArray
    bounds: NDArray
    held: NDArray
    end: NDArray
    row: NDArray


def room(n_in: int, n: int, most: int, dtype: np.dtype) -> Kept:
    """Room for rows of n columns that events of n_in inputs meet, `most` of them a row."""
    return Kept(
        aligned((ROWS * n,), dtype, None),
        np.empty((2, ROWS), np.uint64),
        np.zeros(2, np.uint64),
        np.empty(n_in + 1, np.uint64),
        np.empty(max(EVENTS, most), np.uint32),
    )


@njit(**INLINE)
def full(kept, n_events):
    """Whether there is no room for another row that this many events meet."""
    held = kept.held
    return held[0] == np.uint64(ROWS) or held[1] + n_events > np.uint64(len(kept.row))


@njit(**INLINE)
def keep(kept, delta, factor, start, stop):
    """Keeps factor * delta for the events start:stop."""
    if start == stop:
        return
    row = kept.held[0]
    kept.bounds[0, row], kept.bounds[1, row] = start, stop
    kept.held[0] = row + ONE
    kept.held[1] += stop - start
    n, width = delta.shape[0], lanes(delta)
    at, r = 0, np.intp(row)
    while at + FOUR * width <= n:
        store(kept.delta, ROWS * at + r * FOUR * width, scaled(load_four(delta, at), factor))
        at += FOUR * width
    while at < n:
        store(kept.delta, ROWS * at + r * width, scaled(load(delta, at), factor))
        at += width


@njit(**INLINE)
def group(kept, unit):
    """Lists the rows kept that each input meets, input by input: a counting sort. Forgets their bounds."""
    bounds, end, row = kept.bounds, kept.end, kept.row
    n_rows = kept.held[0]
    kept.held[0] = kept.held[1] = 0
    for i in range(len(end)):
        end[i] = 0
    for r in range(n_rows):
        for k in range(bounds[0, r], bounds[1, r]):
            end[np.uint64(unit[k]) + ONE] += ONE
    before = end[0]
    for i in range(len(end)):
        before += end[i]
        end[i] = before
    for r in range(n_rows):
        for k in range(bounds[0, r], bounds[1, r]):
            i = unit[k]
            at = end[i]
            row[at] = r
            end[i] = at + ONE
