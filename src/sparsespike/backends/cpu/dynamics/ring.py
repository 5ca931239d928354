"""A ring of the steps to come, in which currents wait; on the way back, δ of later steps (`docs/method.md`).

Slot m holds two numbers of every neuron side by side: what taps of even number bring to update m, and what
taps of odd number bring to update m + 1. So the two taps of a delay are one pair. The way back reads
(δ[m], δ[m + 1]) in the same place. The slots in use move up, or down, by one with every update; at the end
of the ring they are copied to its other end, so that no index is wrapped around.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparsespike.backends.cpu.pairs import firsts, paired_high, paired_low, seconds
from sparsespike.backends.cpu.simd import aligned, lanes, load, nothing, plus, store
from sparsespike.backends.cpu.sites import Sites
from sparsespike.backends.cpu.verbs import INLINE
from sparsespike.compiling.compiled import compiled

ROLL = 64  # updates between two copies, or as many as there are slots in use: a copy costs one slot an update


class Ring(NamedTuple):
    """The ring of one thread.

    Attributes:
        slot: ((roll + rows) * 2 n), pairs by slot and place.
        before: (n), of the way back: δ of the update walked last.
        row: (n), scratch.
        rows: for how many updates an event may wait.
        roll: updates between two copies, >= rows.
        sites: scratch, where the neurons lie (`sites.py`), or None: side by side.
    """

    slot: NDArray
    before: NDArray
    row: NDArray
    rows: int
    roll: int
    sites: Sites | None


def make_ring(rows: int, n: int, dtype: np.dtype, sites: Sites | None) -> Ring | None:
    """A ring for neurons of n places whose events wait for so many updates; None if there are none."""
    if not rows:
        return None
    roll = max(ROLL, rows)
    slot = aligned(((roll + rows) * 2 * n,), dtype)
    return Ring(slot, aligned((n,), dtype), aligned((n,), dtype), rows, roll, sites)


@njit(**INLINE)
def opened(ring, given, sample, now):
    """Begins a sample with update `now`, with what waits in the last 2 rows of the state given, if any."""
    if ring is not None:
        _open(ring.slot, len(ring.row), ring.rows, now % ring.roll + 1, given, sample)


@compiled(borrows=True)
def _open(slot, n, rows, p, given, sample):
    slot[:] = 0
    if len(given) > 0:
        base = given.shape[1] - 2 * rows
        for m in range(rows):
            for j in range(n):
                slot[2 * ((p + m) * n + j)] = given[sample, base + m, j]
                slot[2 * ((p - 1 + m) * n + j) + 1] = given[sample, base + rows + m, j]


@njit(**INLINE)
def closed(ring, ends, sample, now):
    """Writes what still waits to the state at the end; `now`: the update that comes next."""
    if ring is not None:
        _close(ring.slot, len(ring.row), ring.rows, now % ring.roll + 1, ends, sample)


@compiled(borrows=True)
def _close(slot, n, rows, p, ends, sample):
    base = ends.shape[1] - 2 * rows
    for m in range(rows):
        for j in range(n):
            ends[sample, base + m, j] = slot[2 * ((p + m) * n + j)]
            ends[sample, base + rows + m, j] = slot[2 * ((p - 1 + m) * n + j) + 1]


@njit(**INLINE)
def arrived(ring, current, now):
    """Adds to the current what has waited for this update."""
    if ring is not None:
        _arrive(ring.slot, ring.rows, ring.roll, current, now)


@compiled(borrows=True)
def _arrive(slot, rows, roll, current, now):
    n, width, empty = len(current), lanes(current), nothing(current)
    p = now % roll + 1
    for at in range(0, n, width):
        here, before = 2 * (p * n + at), 2 * ((p - 1) * n + at)
        near = firsts(load(slot, here), load(slot, here + width))
        far = seconds(load(slot, before), load(slot, before + width))
        store(current, at, plus(load(current, at), plus(near, far)))
        store(slot, before, empty)
        store(slot, before + width, empty)
    if p == roll:
        for at in range(0, 2 * rows * n, width):
            store(slot, at, load(slot, 2 * roll * n + at))
            store(slot, 2 * roll * n + at, empty)


@njit(**INLINE)
def handed(ring, later, sample, now):
    """Begins the way back, with ∂L/∂ of what waited at the end, if any; `now`: the update after the last."""
    if ring is not None:
        _hand(ring.slot, ring.before, ring.rows, now % ring.roll, later, sample)


@compiled(borrows=True)
def _hand(slot, before, rows, p, later, sample):
    slot[:] = 0
    before[:] = 0
    n = len(before)
    if len(later) > 0:
        base = later.shape[1] - 2 * rows
        for m in range(rows):
            for j in range(n):
                slot[2 * ((p + m) * n + j)] = later[sample, base + m, j]
                if m > 0:
                    slot[2 * ((p + m - 1) * n + j) + 1] = later[sample, base + rows + m, j]
                else:
                    before[j] = later[sample, base + rows, j]


@njit(**INLINE)
def kept(ring, delta, now):
    """Keeps δ of this update for events that were on their way."""
    if ring is not None:
        _keep(ring.slot, ring.before, ring.rows, ring.roll, delta, now)


@compiled(borrows=True)
def _keep(slot, before, rows, roll, delta, now):
    n, width = len(delta), lanes(delta)
    p = now % roll
    if p == roll - 1:
        for at in range(0, 2 * rows * n, width):
            store(slot, 2 * roll * n + at, load(slot, at))
    for at in range(0, n, width):
        here, after = load(delta, at), load(before, at)
        store(slot, 2 * (p * n + at), paired_low(here, after))
        store(slot, 2 * (p * n + at) + width, paired_high(here, after))
        store(before, at, here)


@njit(**INLINE)
def returned(ring, earlier, sample, now):
    """Writes ∂L/∂ of what waited at the start, whose first update was `now`, if it is wanted."""
    if ring is not None and len(earlier) > 0:
        _return(ring.slot, ring.before, ring.rows, now % ring.roll, earlier, sample)


@compiled(borrows=True)
def _return(slot, before, rows, p, earlier, sample):
    n, base = len(before), earlier.shape[1] - 2 * rows
    for m in range(rows):
        for j in range(n):
            earlier[sample, base + m, j] = slot[2 * ((p + m) * n + j)]
            far = before[j] if m == 0 else slot[2 * ((p + m - 1) * n + j) + 1]
            earlier[sample, base + rows + m, j] = far
