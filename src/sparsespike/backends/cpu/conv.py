"""Convolution on the CPU: its three verbs. An event reaches a patch, one row of channels per tap.

Along each axis a table says which taps lead from an input position to which output positions: stride,
padding and dilation are in the tables, and no verb knows of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from sparsespike.backends.cpu.simd import (
    FOUR,
    folded,
    lanes,
    load,
    load_four,
    nothing,
    nothing_four,
    plus,
    scaled,
    store,
    times,
    total,
)
from sparsespike.backends.cpu.sites import SIX, touch_all
from sparsespike.backends.cpu.verbs import INLINE, accumulate, gather, scatter
from sparsespike.compiling.compiled import compiled

ONE = np.uint64(1)


class Axis(NamedTuple):
    """What an input position reaches along one axis; all of uint64.

    Attributes:
        bound: (positions + 1,) bounds of each position's entries in the next two.
        tap: of the kernel.
        out: output position that it leads to.
    """

    bound: NDArray
    tap: NDArray
    out: NDArray


class ConvWeight(NamedTuple):
    """A convolution, or its gradient, as kernels take it; the numbers are uint64.

    Attributes:
        weight: (C_in * taps, n), row (c * kH + tap_y) * kW + tap_x: the outputs of that tap side by side,
            n of them, padded with zeros to whole blocks.
        bias: (size,), one per channel of a site, padded with zeros; or None.
        column: (C_in,) where a row begins within a site; 0 without groups.
        position: (H * W, 2) row and column of each input position.
        y: the rows' axis.
        x: the columns'.
        n_position: H * W of the input.
        n_tap: kH * kW.
        k_x: kW.
        w_out: W of the output.
        size: entries of the state per site.
    """

    weight: NDArray
    bias: NDArray | None
    column: NDArray
    position: NDArray
    y: Axis
    x: Axis
    n_position: np.uint64
    n_tap: np.uint64
    k_x: np.uint64
    w_out: np.uint64
    size: np.uint64


def _is_conv(connection) -> bool:
    return getattr(connection, "instance_class", None) is ConvWeight


def _has_bias(connection) -> bool:
    return not isinstance(connection[1], types.NoneType)


@njit(**INLINE)
def _add_row(into, q, row, p, n, factor):
    """into[q : q + n] += factor * row[p : p + n]."""
    width = np.uint64(lanes(into))
    at = np.uint64(0)
    while at + np.uint64(FOUR) * width <= n:
        store(into, q + at, plus(load_four(into, q + at), scaled(load_four(row, p + at), factor)))
        at += np.uint64(FOUR) * width
    while at < n:
        store(into, q + at, plus(load(into, q + at), scaled(load(row, p + at), factor)))
        at += width


# In the next three the arrays are taken out of their tuples first: within a loop that would count references.


@compiled
def _scatter_patches(connection, current, unit, start, stop, factor, mark, group):
    weight, column, position = connection.weight, connection.column, connection.position
    (y_bound, y_tap, y_out), (x_bound, x_tap, x_out) = connection.y, connection.x
    n, n_position, n_tap = np.uint64(weight.shape[1]), connection.n_position, connection.n_tap
    k_x, w_out, size = connection.k_x, connection.w_out, connection.size
    for k in range(start, stop):
        channel = np.uint64(np.uint32(unit[k]) // np.uint32(n_position))
        at = np.uint64(unit[k]) - channel * n_position
        i, j, base = position[at, 0], position[at, 1], column[channel]
        for a in range(y_bound[i], y_bound[i + ONE]):
            tap, out = channel * n_tap + y_tap[a] * k_x, y_out[a] * w_out
            for b in range(x_bound[j], x_bound[j + ONE]):
                site = out + x_out[b]
                mark[site] = 1
                group[site >> SIX] = 1
                p, q = (tap + x_tap[b]) * n, site * size + base
                _add_row(current, q, weight, p, n, factor)


@compiled
def _accumulate_patches(connection, vector, unit, start, stop, factor):
    weight, column, position = connection.weight, connection.column, connection.position
    (y_bound, y_tap, y_out), (x_bound, x_tap, x_out) = connection.y, connection.x
    n, n_position, n_tap = np.uint64(weight.shape[1]), connection.n_position, connection.n_tap
    k_x, w_out, size = connection.k_x, connection.w_out, connection.size
    for k in range(start, stop):
        channel = np.uint64(np.uint32(unit[k]) // np.uint32(n_position))
        at = np.uint64(unit[k]) - channel * n_position
        i, j, base = position[at, 0], position[at, 1], column[channel]
        for a in range(y_bound[i], y_bound[i + ONE]):
            tap, out = channel * n_tap + y_tap[a] * k_x, y_out[a] * w_out
            for b in range(x_bound[j], x_bound[j + ONE]):
                p, q = (tap + x_tap[b]) * n, (out + x_out[b]) * size + base
                _add_row(weight, p, vector, q, n, factor)


@compiled
def _gather_patches(connection, delta, unit, start, stop, factor, gathered):
    weight, column, position = connection.weight, connection.column, connection.position
    (y_bound, y_tap, y_out), (x_bound, x_tap, x_out) = connection.y, connection.x
    n, n_position, n_tap = np.uint64(weight.shape[1]), connection.n_position, connection.n_tap
    k_x, w_out, size = connection.k_x, connection.w_out, connection.size
    width = np.uint64(lanes(weight))
    wide = np.uint64(FOUR) * width
    for k in range(start, stop):
        channel = np.uint64(np.uint32(unit[k]) // np.uint32(n_position))
        at = np.uint64(unit[k]) - channel * n_position
        i, j, base = position[at, 0], position[at, 1], column[channel]
        one, four = nothing(weight), nothing_four(weight)
        for a in range(y_bound[i], y_bound[i + ONE]):
            tap, out = channel * n_tap + y_tap[a] * k_x, y_out[a] * w_out
            for b in range(x_bound[j], x_bound[j + ONE]):
                p, q = (tap + x_tap[b]) * n, (out + x_out[b]) * size + base
                at = np.uint64(0)
                while at + wide <= n:
                    four = plus(four, times(load_four(weight, p + at), load_four(delta, q + at)))
                    at += wide
                while at < n:
                    one = plus(one, times(load(weight, p + at), load(delta, q + at)))
                    at += width
        gathered[k] = factor * total(plus(one, folded(four)))


@njit(**INLINE)
def _add_to_sites(bias, current, factor):
    """Every site of `current` += factor * bias."""
    size, width = bias.shape[0], lanes(bias)
    for base in range(0, current.shape[0], size):
        for at in range(0, size, width):
            block = scaled(load(bias, at), factor)
            store(current, base + at, plus(load(current, base + at), block))


@njit(**INLINE)
def _add_sites(bias, vector, factor):
    """bias += factor * the sum of the sites of `vector`."""
    size, width = bias.shape[0], lanes(bias)
    for at in range(0, size, width):
        block = nothing(bias)
        for base in range(0, vector.shape[0], size):
            block = plus(block, load(vector, base + at))
        store(bias, at, plus(load(bias, at), scaled(block, factor)))


@overload(scatter, jit_options=INLINE)
def _scatter(connection, current, unit, start, stop, factor, sites):
    if not _is_conv(connection):
        return None

    def kernel(connection, current, unit, start, stop, factor, sites):
        if start < stop:
            _scatter_patches(
                connection, current, unit, start, stop, factor, sites.mark, sites.group
            )

    def biased(connection, current, unit, start, stop, factor, sites):
        if start < stop:
            _scatter_patches(
                connection, current, unit, start, stop, factor, sites.mark, sites.group
            )
        _add_to_sites(connection.bias, current, factor)
        touch_all(sites)

    return biased if _has_bias(connection) else kernel


@overload(accumulate, jit_options=INLINE)
def _accumulate(connection, vector, unit, coefficient, start, stop, factor):
    if not _is_conv(connection):
        return None

    def kernel(connection, vector, unit, coefficient, start, stop, factor):
        if start < stop:
            _accumulate_patches(connection, vector, unit, start, stop, factor)

    def biased(connection, vector, unit, coefficient, start, stop, factor):
        if start < stop:
            _accumulate_patches(connection, vector, unit, start, stop, factor)
        _add_sites(connection.bias, vector, factor)

    return biased if _has_bias(connection) else kernel


@overload(gather, jit_options=INLINE)
def _gather(connection, delta, unit, start, stop, factor, gathered):
    if not _is_conv(connection):
        return None

    def kernel(connection, delta, unit, start, stop, factor, gathered):
        if start < stop:
            _gather_patches(connection, delta, unit, start, stop, factor, gathered)

    return kernel
