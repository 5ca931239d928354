"""Rows of currents and of δ, for the walks over time: a connection whose events are the rows themselves.

The dense form (`unpacked.py`) brings the currents of all steps at once and wants δ of all steps at once. So
the row r is the one event of step r, and it *scatters* the r-th row of currents; backwards it *accumulates* δ
into the r-th row. With these two verbs it goes through the walks of `drive.py` and `adjoint.py` as any
connection does, and with any neuron that they know.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import overload
from numpy.typing import NDArray

from sparsespike.backends.cpu.simd import FOUR, lanes, load, load_four, plus, scaled, store
from sparsespike.backends.cpu.verbs import INLINE, accumulate, scatter
from sparsespike.compiling.compiled import compiled


class Rows(NamedTuple):
    """Rows side by side, as a connection.

    Attributes:
        row: (rows, n_out), C-contiguous: currents, or δ.
        first: sample * T + step of the first.
    """

    row: NDArray
    first: np.uint64


@compiled
def unpack(unit, offset, begin, end, first, dense):
    """Writes how often rows begin:end list each unit into dense (rows, n_in), whose first row is `first`."""
    one, zero = dense.dtype.type(1), dense.dtype.type(0)
    for row in range(np.uint64(begin), np.uint64(end)):
        at = row - np.uint64(first)
        for i in range(np.uint64(dense.shape[1])):
            dense[at, i] = zero
        for k in range(offset[row], offset[row + np.uint64(1)]):
            dense[at, unit[k]] += one


@compiled
def pick(grad, active_unit, active_offset, begin, end, first, gathered):
    """Hands the active inputs of rows begin:end their entries of grad (rows, n_in), from row `first` on."""
    for row in range(np.uint64(begin), np.uint64(end)):
        at = row - np.uint64(first)
        for k in range(active_offset[row], active_offset[row + np.uint64(1)]):
            gathered[k] = grad[at, active_unit[k]]


@njit(**INLINE)
def _add_row(state, row, at, factor):
    """state[:n_out] += factor * row[at]."""
    n, width = row.shape[1], lanes(state)
    base, j = np.intp(at) * n, 0
    while j + FOUR * width <= n:
        store(state, j, plus(load_four(state, j), scaled(load_four(row, base + j), factor)))
        j += FOUR * width
    while j + width <= n:
        store(state, j, plus(load(state, j), scaled(load(row, base + j), factor)))
        j += width
    while j < n:  # no whole block: the next would be of another row, or of nothing
        state[j] += factor * row[at, j]
        j += 1


@njit(**INLINE)
def _put_row(row, at, delta, factor):
    """row[at] = factor * delta[:n_out]."""
    n, width = row.shape[1], lanes(delta)
    base, j = np.intp(at) * n, 0
    while j + width <= n:
        store(row, base + j, scaled(load(delta, j), factor))
        j += width
    while j < n:
        row[at, j] = factor * delta[j]
        j += 1


@overload(scatter, jit_options=INLINE)
def _scatter(connection, current, unit, start, stop, factor, sites):
    if not _is_rows(connection):
        return None

    def kernel(connection, current, unit, start, stop, factor, sites):
        _add_row(current, connection.row, start - connection.first, factor)

    return kernel


@overload(accumulate, jit_options=INLINE)
def _accumulate(connection, vector, unit, coefficient, start, stop, factor):
    if not _is_rows(connection):
        return None

    def kernel(connection, vector, unit, coefficient, start, stop, factor):
        _put_row(connection.row, start - connection.first, vector, factor)

    return kernel


def _is_rows(connection) -> bool:
    return getattr(connection, "instance_class", None) is Rows
