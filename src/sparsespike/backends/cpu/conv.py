"""Convolution on the CPU: its three verbs. An event reaches a patch, for each of its rows one run of sites.

Along each axis a table says which taps lead from an input position to which output positions: stride,
padding and dilation are in the tables, and no verb knows of them. Along a row the taps of a kernel lie in
such an order that the sites which an event reaches, and the weights that lead there, are both one run in
memory (`conv_form.py`): a 3 x 3 patch of 64 channels is three runs of 192 numbers.
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
from sparsespike.backends.cpu.sites import ONE, touch, touch_all
from sparsespike.backends.cpu.verbs import INLINE, accumulate, gather, scatter
from sparsespike.compiling.compiled import compiled

ENOUGH = 2  # taps that reach a site in a step, on average, from which all are visited


class Axis(NamedTuple):
    """What an input position reaches along one axis, in runs; all of uint64.

    Attributes:
        bound: (positions + 1,) bounds of each position's runs in the rest.
        weight: where the weights of the run begin, in numbers.
        site: the output position that the run begins with, in sites.
        length: output positions of the run, 64 at most.
    """

    bound: NDArray
    weight: NDArray
    site: NDArray
    length: NDArray


class ConvWeight(NamedTuple):
    """A convolution, or its gradient, as kernels take it; the numbers are uint64.

    Attributes:
        weight: (C_in * taps, n), row (c * kH + tap_y) * kW + place of tap_x: the outputs of that tap side by
            side, n of them, padded with zeros to whole blocks.
        bias: (size,), one per channel of a site, padded with zeros; or None.
        column: (C_in,) where a row begins within a site; 0 without groups.
        position: (H * W, 2) row and column of each input position.
        y: the rows' axis, in runs of one.
        x: the columns', in longer runs where the sites are as wide as the rows of `weight`.
        n_position: H * W of the input.
        n_tap: kH * kW.
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


# In the next four the arrays are taken out of their tuples first: within a loop that would count references.


@compiled
def _touch_patches(connection, unit, start, stop, mark):
    n_position, position = connection.n_position, connection.position
    (y_bound, _, y_site, _), (x_bound, _, x_site, x_length) = connection.y, connection.x
    for k in range(start, stop):
        at = np.uint64(np.uint32(unit[k]) % np.uint32(n_position))
        i, j = position[at, 0], position[at, 1]
        for b in range(x_bound[j], x_bound[j + ONE]):
            for a in range(y_bound[i], y_bound[i + ONE]):
                touch(mark, y_site[a] + x_site[b], x_length[b])


@compiled
def _scatter_patches(connection, current, unit, start, stop, factor):
    weight, column, position = connection.weight, connection.column, connection.position
    (y_bound, y_weight, y_site, _), (x_bound, x_weight, x_site, x_length) = (
        connection.y,
        connection.x,
    )
    n, n_position, size = np.uint64(weight.shape[1]), connection.n_position, connection.size
    of_channel = connection.n_tap * n
    for k in range(start, stop):
        channel = np.uint64(np.uint32(unit[k]) // np.uint32(n_position))
        at = np.uint64(unit[k]) - channel * n_position
        i, j, base = position[at, 0], position[at, 1], column[channel]
        for b in range(x_bound[j], x_bound[j + ONE]):
            first, site, length = channel * of_channel + x_weight[b], x_site[b], x_length[b] * n
            for a in range(y_bound[i], y_bound[i + ONE]):
                p, q = first + y_weight[a], (site + y_site[a]) * size + base
                _add_row(current, q, weight, p, length, factor)


@compiled
def _accumulate_patches(connection, vector, unit, start, stop, factor):
    weight, column, position = connection.weight, connection.column, connection.position
    (y_bound, y_weight, y_site, _), (x_bound, x_weight, x_site, x_length) = (
        connection.y,
        connection.x,
    )
    n, n_position, size = np.uint64(weight.shape[1]), connection.n_position, connection.size
    of_channel = connection.n_tap * n
    for k in range(start, stop):
        channel = np.uint64(np.uint32(unit[k]) // np.uint32(n_position))
        at = np.uint64(unit[k]) - channel * n_position
        i, j, base = position[at, 0], position[at, 1], column[channel]
        for b in range(x_bound[j], x_bound[j + ONE]):
            first, site, length = channel * of_channel + x_weight[b], x_site[b], x_length[b] * n
            for a in range(y_bound[i], y_bound[i + ONE]):
                p, q = first + y_weight[a], (site + y_site[a]) * size + base
                _add_row(weight, p, vector, q, length, factor)


@compiled
def _gather_patches(connection, delta, unit, start, stop, factor, gathered):
    weight, column, position = connection.weight, connection.column, connection.position
    (y_bound, y_weight, y_site, _), (x_bound, x_weight, x_site, x_length) = (
        connection.y,
        connection.x,
    )
    n, n_position, size = np.uint64(weight.shape[1]), connection.n_position, connection.size
    of_channel = connection.n_tap * n
    width = np.uint64(lanes(weight))
    wide = np.uint64(FOUR) * width
    for k in range(start, stop):
        channel = np.uint64(np.uint32(unit[k]) // np.uint32(n_position))
        at = np.uint64(unit[k]) - channel * n_position
        i, j, base = position[at, 0], position[at, 1], column[channel]
        one, four = nothing(weight), nothing_four(weight)
        for b in range(x_bound[j], x_bound[j + ONE]):
            first, site, length = channel * of_channel + x_weight[b], x_site[b], x_length[b] * n
            for a in range(y_bound[i], y_bound[i + ONE]):
                p, q = first + y_weight[a], (site + y_site[a]) * size + base
                at = np.uint64(0)
                while at + wide <= length:
                    four = plus(four, times(load_four(weight, p + at), load_four(delta, q + at)))
                    at += wide
                while at < length:
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


@njit(**INLINE)
def _touch(connection, unit, start, stop, sites):
    """Marks what the events reach; all, where they are too many for that to leave much out."""
    if (stop - start) * connection.n_tap > np.uint64(ENOUGH) * sites.n_sites:
        touch_all(sites)
    else:
        _touch_patches(connection, unit, start, stop, sites.mark)


@overload(scatter, jit_options=INLINE)
def _scatter(connection, current, unit, start, stop, factor, sites):
    if not _is_conv(connection):
        return None

    def kernel(connection, current, unit, start, stop, factor, sites):
        if start < stop:
            _touch(connection, unit, start, stop, sites)
            _scatter_patches(connection, current, unit, start, stop, factor)

    def biased(connection, current, unit, start, stop, factor, sites):
        if start < stop:
            _scatter_patches(connection, current, unit, start, stop, factor)
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
