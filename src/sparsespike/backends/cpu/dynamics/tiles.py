"""Some blocks of a row as one value, a tile, and tuples of tiles: the vectors and matrices of many neurons.

A tile goes through registers. `load` reads a block, two or four at once (`simd.py`). Numbers are flat,
a row of n places each (`unit.py`); tuples are unrolled when a kernel is compiled.
"""

from __future__ import annotations

from numba import njit
from numba.extending import overload

from sparsespike.backends.cpu.dynamics.unit import FIRST, SELF
from sparsespike.backends.cpu.simd import plus, store, times
from sparsespike.backends.cpu.verbs import INLINE


def tiles(load, rows, array, n, at):
    """The tiles at `at`, `at + n`, ... of a flat array, as many as `rows`: a tuple."""
    raise NotImplementedError


@overload(tiles, jit_options=INLINE)
def _tiles(load, rows, array, n, at):
    def one(load, rows, array, n, at):
        return (load(array, at),)

    def several(load, rows, array, n, at):
        return (load(array, at), *tiles(load, rows[1:], array, n, at + n))

    return one if len(rows) == 1 else several


def put(array, n, at, values):
    """Writes tiles to the places that `tiles` reads."""
    raise NotImplementedError


@overload(put, jit_options=INLINE)
def _put(array, n, at, values):
    def one(array, n, at, values):
        store(array, at, values[0])

    def several(array, n, at, values):
        store(array, at, values[0])
        put(array, n, at + n, values[1:])

    return one if len(values) == 1 else several


def matrix(load, rows, columns, array, row_stride, stride, at):
    """The tiles of a matrix, a tuple of its rows: entry (i, j) at at + i row_stride + j stride."""
    raise NotImplementedError


@overload(matrix, jit_options=INLINE)
def _matrix(load, rows, columns, array, row_stride, stride, at):
    def one(load, rows, columns, array, row_stride, stride, at):
        return (tiles(load, columns, array, stride, at),)

    def several(load, rows, columns, array, row_stride, stride, at):
        below = matrix(load, rows[1:], columns, array, row_stride, stride, at + row_stride)
        return (tiles(load, columns, array, stride, at), *below)

    return one if len(rows) == 1 else several


def dot(a, b):
    """The sum of the products of two tuples of tiles."""
    raise NotImplementedError


@overload(dot, jit_options=INLINE)
def _dot(a, b):
    if len(a) == 1:
        return lambda a, b: times(a[0], b[0])
    return lambda a, b: plus(times(a[0], b[0]), dot(a[1:], b[1:]))


def mixed(rows, values):
    """The product of a matrix with a tuple of tiles."""
    raise NotImplementedError


@overload(mixed, jit_options=INLINE)
def _mixed(rows, values):
    if len(rows) == 1:
        return lambda rows, values: (dot(rows[0], values),)
    return lambda rows, values: (dot(rows[0], values), *mixed(rows[1:], values))


def with_scaled(a, b, factor):
    """a + factor * b, for tuples a and b of tiles."""
    raise NotImplementedError


@overload(with_scaled, jit_options=INLINE)
def _with_scaled(a, b, factor):
    def one(a, b, factor):
        return (plus(a[0], times(b[0], factor)),)

    def several(a, b, factor):
        return (plus(a[0], times(b[0], factor)), *with_scaled(a[1:], b[1:], factor))

    return one if len(a) == 1 else several


@njit(**INLINE)
def combined(load, unit, vector, kind, at, values):
    """vector . values: one number of each neuron from its k, `kind` being what is known of the vector."""
    if kind == SELF:
        found = values[0]
    elif kind == FIRST:
        found = times(load(vector, at), values[0])
    else:
        found = dot(tiles(load, unit.states, vector, unit.n, at), values)
    return found
