"""`Linear` on the CPU: its three verbs, over rows of the stored weight, the fan-outs of the inputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from sparsespike.backends.cpu.grouped import ROWS, group
from sparsespike.backends.cpu.simd import (
    FOUR,
    ONE,
    THREE,
    TWO,
    folded,
    lanes,
    load,
    load_four,
    plus,
    scaled,
    store,
    times,
    total,
    totals,
)
from sparsespike.backends.cpu.sites import touch_all
from sparsespike.backends.cpu.verbs import INLINE, accumulate, bring, collect, gather, scatter
from sparsespike.compiling.compiled import compiled


class LinearWeight(NamedTuple):
    """A `Linear`, or its gradient, as kernels take it.

    Attributes:
        weight: (n_in, n), C-contiguous; n is n_out padded with zeros to whole blocks.
        bias: (n,), or None.
    """

    weight: NDArray
    bias: NDArray | None


class TiledWeight(NamedTuple):
    """A transposed `Linear`, by tiles of four blocks of columns, then of one: what is used together is near.

    Attributes:
        tiled: (n_out, n) in size; n is n_in padded with zeros to whole blocks. The tile that begins at
            column `at` is a C-contiguous (n_out, columns of the tile) at n_out * at.
    """

    tiled: NDArray


def _is_linear(connection) -> bool:
    return getattr(connection, "instance_class", None) is LinearWeight


def _has_bias(connection) -> bool:
    # Decided when compiling: a test at run time made the loop without bias twice as slow.
    return not isinstance(connection[1], types.NoneType)


@njit(**INLINE)
def _strength(coefficient, k, factor):
    """factor, times coefficient[k] if there are any."""
    if coefficient is None:
        return factor
    return coefficient[k] * factor


@njit(**INLINE)
def _add_at(row, at, part, old, factor):
    """row[at:] = old + factor * part."""
    store(row, at, plus(old, scaled(part, factor)))


@njit(**INLINE)
def _sum(load, weight, base, n, unit, coefficient, start, stop):
    """The sum over the events start:stop, start < stop, of the parts at base + unit * n of the weight."""
    if coefficient is None:
        a = load(weight, base + unit[start] * n)
        for k in range(start + ONE, stop):
            a = plus(a, load(weight, base + unit[k] * n))
    else:
        a = scaled(load(weight, base + unit[start] * n), coefficient[start])
        for k in range(start + ONE, stop):
            a = plus(a, scaled(load(weight, base + unit[k] * n), coefficient[k]))
    return a


@njit(**INLINE)
def _scatter_rows(weight, current, unit, start, stop, factor):
    """current += factor * the sum of the weight's rows unit[start:stop], four blocks at a time."""
    if start == stop:
        return
    n, width = weight.shape[1], lanes(weight)
    at = 0
    while at + FOUR * width <= n:
        a = _sum(load_four, weight, at, n, unit, None, start, stop)
        _add_at(current, at, a, load_four(current, at), factor)
        at += FOUR * width
    while at < n:
        a = _sum(load, weight, at, n, unit, None, start, stop)
        _add_at(current, at, a, load(current, at), factor)
        at += width


@compiled
def _bring_rows(tiled, currents, unit, coefficient, bounds, n_rows):
    n_out, n = tiled.shape
    width = lanes(tiled)
    n_tiled = n // (FOUR * width) * (FOUR * width)
    for at in range(0, n_tiled, FOUR * width):
        for r in range(n_rows):
            start, stop = bounds[0, r], bounds[1, r]
            a = _sum(load_four, tiled, at * n_out, FOUR * width, unit, coefficient, start, stop)
            store(currents, r * n + at, a)
    for at in range(n_tiled, n, width):
        for r in range(n_rows):
            start, stop = bounds[0, r], bounds[1, r]
            a = _sum(load, tiled, at * n_out, width, unit, coefficient, start, stop)
            store(currents, r * n + at, a)


@njit(**INLINE)
def _accumulate_rows(weight, vector, unit, coefficient, start, stop, factor):
    """Each of the weight's rows unit[start:stop] += factor * vector, four blocks at a time."""
    if start == stop:
        return
    n, width = weight.shape[1], lanes(weight)
    at = 0
    while at + FOUR * width <= n:
        a = load_four(vector, at)
        for k in range(start, stop):
            p = unit[k] * n + at
            _add_at(weight, p, a, load_four(weight, p), _strength(coefficient, k, factor))
        at += FOUR * width
    while at < n:
        a = load(vector, at)
        for k in range(start, stop):
            p = unit[k] * n + at
            _add_at(weight, p, a, load(weight, p), _strength(coefficient, k, factor))
        at += width


@njit(**INLINE)
def _dot(weight, row, delta):
    """<the weight's row that starts at the flat index `row`, delta>."""
    n, width = weight.shape[1], lanes(weight)
    a = times(load(weight, row), load(delta, 0))
    at = width
    if n >= FOUR * width:
        four = times(load_four(weight, row), load_four(delta, 0))
        at = FOUR * width
        while at + FOUR * width <= n:
            four = plus(four, times(load_four(weight, row + at), load_four(delta, at)))
            at += FOUR * width
        a = folded(four)
    while at < n:
        a = plus(a, times(load(weight, row + at), load(delta, at)))
        at += width
    return total(a)


@njit(**INLINE)
def _four_dots(weight, unit, k, delta):
    """<the weight's rows unit[k:k + 4], delta>, as a vector of four."""
    n, width = weight.shape[1], lanes(weight)
    p, q = unit[k] * n, unit[k + ONE] * n
    r, s = unit[k + TWO] * n, unit[k + THREE] * n
    x = load(delta, 0)
    a, b = times(load(weight, p), x), times(load(weight, q), x)
    c, d = times(load(weight, r), x), times(load(weight, s), x)
    for at in range(width, n, width):
        x = load(delta, at)
        a, b = plus(a, times(load(weight, p + at), x)), plus(b, times(load(weight, q + at), x))
        c, d = plus(c, times(load(weight, r + at), x)), plus(d, times(load(weight, s + at), x))
    return totals(a, b, c, d)


@njit(**INLINE)
def add(a, b, factor):
    """a += factor * b."""
    for at in range(0, a.shape[0], lanes(a)):
        _add_at(a, at, load(b, at), load(a, at), factor)


@njit(**INLINE)
def _add_kept(load, weight, at, width, kept):
    """Adds the tiles at column `at` of the rows kept."""
    n_in, n = weight.shape
    delta, row, end, tile = kept.delta, kept.row, kept.end, ROWS * at
    k = np.uint64(0)
    for i in range(n_in):
        last = end[i]
        if k < last:
            a = load(weight, i * n + at)
            b = load(
                delta, tile + np.intp(row[k]) * width
            )  # two sums: each waits for its last addition
            k += ONE
            while k + ONE < last:
                a = plus(a, load(delta, tile + np.intp(row[k]) * width))
                b = plus(b, load(delta, tile + np.intp(row[k + ONE]) * width))
                k += TWO
            if k < last:
                a = plus(a, load(delta, tile + np.intp(row[k]) * width))
                k += ONE
            store(weight, i * n + at, plus(a, b))


@compiled
def _collect_rows(weight, kept, unit):
    """Adds the rows kept to the weight's rows of the inputs that meet them."""
    group(kept, unit)
    n, width = weight.shape[1], lanes(weight)
    n_tiled = n // (FOUR * width) * (FOUR * width)
    for at in range(0, n_tiled, FOUR * width):
        _add_kept(load_four, weight, at, FOUR * width, kept)
    for at in range(n_tiled, n, width):
        _add_kept(load, weight, at, width, kept)


@overload(scatter, jit_options=INLINE)
def _scatter(connection, current, unit, start, stop, factor, sites):
    if not _is_linear(connection):
        return None

    def kernel(connection, current, unit, start, stop, factor, sites):
        _scatter_rows(connection.weight, current, unit, start, stop, factor)
        if sites is not None and start < stop:
            touch_all(sites)

    def biased(connection, current, unit, start, stop, factor, sites):
        _scatter_rows(connection.weight, current, unit, start, stop, factor)
        add(current, connection.bias, factor)
        touch_all(sites)

    return biased if _has_bias(connection) else kernel


@overload(bring, jit_options=INLINE)
def _bring(connection, currents, unit, coefficient, bounds, n_rows):
    if getattr(connection, "instance_class", None) is not TiledWeight:
        return None
    return lambda connection, currents, unit, coefficient, bounds, n_rows: _bring_rows(
        connection.tiled, currents, unit, coefficient, bounds, n_rows
    )


@overload(accumulate, jit_options=INLINE)
def _accumulate(connection, vector, unit, coefficient, start, stop, factor):
    if not _is_linear(connection):
        return None

    def kernel(connection, vector, unit, coefficient, start, stop, factor):
        _accumulate_rows(connection.weight, vector, unit, coefficient, start, stop, factor)

    def biased(connection, vector, unit, coefficient, start, stop, factor):
        _accumulate_rows(connection.weight, vector, unit, coefficient, start, stop, factor)
        add(connection.bias, vector, factor)

    return biased if _has_bias(connection) else kernel


@overload(collect, jit_options=INLINE)
def _collect(gradient, kept, unit):
    if not _is_linear(gradient):
        return None
    return lambda gradient, kept, unit: _collect_rows(gradient.weight, kept, unit)


@overload(gather, jit_options=INLINE)
def _gather(connection, delta, unit, start, stop, factor, gathered):
    if not _is_linear(connection):
        return None

    def kernel(connection, delta, unit, start, stop, factor, gathered):
        weight, k = connection.weight, start
        while k + THREE < stop:
            store(gathered, k, scaled(_four_dots(weight, unit, k, delta), factor))
            k += THREE + ONE
        while k < stop:
            gathered[k] = factor * _dot(weight, unit[k] * weight.shape[1], delta)
            k += ONE

    return kernel
