"""`Linear` on the CPU: its three verbs, over rows of the stored weight, the fan-outs of the inputs."""

from __future__ import annotations

from typing import NamedTuple

from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from sparsespike.backends.cpu.simd import (
    lanes,
    load,
    plus,
    scaled,
    store,
    times,
    total,
)
from sparsespike.backends.cpu.verbs import INLINE, accumulate, gather, scatter


class LinearWeight(NamedTuple):
    """A `Linear`, or its gradient, as kernels take it.

    Attributes:
        weight: (n_in, n), C-contiguous; n is n_out padded with zeros to whole blocks.
        bias: (n,), or None.
    """

    weight: NDArray
    bias: NDArray | None


def _is_linear(connection) -> bool:
    return getattr(connection, "instance_class", None) is LinearWeight


def _has_bias(connection) -> bool:
    # Decided when compiling: a test at run time made the loop without bias twice as slow.
    return not isinstance(connection[1], types.NoneType)


@njit(**INLINE)
def _part(weight, at, coefficient, k):
    """The weight's block at the flat index `at`, times coefficient[k] if there are any."""
    if coefficient is None:
        return load(weight, at)
    return scaled(load(weight, at), coefficient[k])


@njit(**INLINE)
def _scatter_rows(weight, current, unit, coefficient, start, stop, factor):
    """current += factor * the sum of the weight's rows unit[start:stop], in four blocks at a time."""
    if start == stop:
        return
    n, width = weight.shape[1], lanes(weight)
    at = 0
    while at + 4 * width <= n:
        p = unit[start] * n + at
        a = _part(weight, p, coefficient, start)
        b = _part(weight, p + width, coefficient, start)
        c = _part(weight, p + 2 * width, coefficient, start)
        d = _part(weight, p + 3 * width, coefficient, start)
        for k in range(start + 1, stop):
            p = unit[k] * n + at
            a = plus(a, _part(weight, p, coefficient, k))
            b = plus(b, _part(weight, p + width, coefficient, k))
            c = plus(c, _part(weight, p + 2 * width, coefficient, k))
            d = plus(d, _part(weight, p + 3 * width, coefficient, k))
        _add_at(current, at, a, factor)
        _add_at(current, at + width, b, factor)
        _add_at(current, at + 2 * width, c, factor)
        _add_at(current, at + 3 * width, d, factor)
        at += 4 * width
    while at < n:
        a = _part(weight, unit[start] * n + at, coefficient, start)
        for k in range(start + 1, stop):
            a = plus(a, _part(weight, unit[k] * n + at, coefficient, k))
        _add_at(current, at, a, factor)
        at += width


@njit(**INLINE)
def _strength(coefficient, k, factor):
    """factor, times coefficient[k] if there are any."""
    if coefficient is None:
        return factor
    return coefficient[k] * factor


@njit(**INLINE)
def _accumulate_rows(weight, vector, unit, coefficient, start, stop, factor):
    """Each of the weight's rows unit[start:stop] += factor * vector, in four blocks at a time."""
    if start == stop:
        return
    n, width = weight.shape[1], lanes(weight)
    at = 0
    while at + 4 * width <= n:
        a, b = load(vector, at), load(vector, at + width)
        c, d = load(vector, at + 2 * width), load(vector, at + 3 * width)
        for k in range(start, stop):
            p, strength = unit[k] * n + at, _strength(coefficient, k, factor)
            _add_at(weight, p, a, strength)
            _add_at(weight, p + width, b, strength)
            _add_at(weight, p + 2 * width, c, strength)
            _add_at(weight, p + 3 * width, d, strength)
        at += 4 * width
    while at < n:
        a = load(vector, at)
        for k in range(start, stop):
            _add_at(weight, unit[k] * n + at, a, _strength(coefficient, k, factor))
        at += width


@njit(**INLINE)
def _dot(weight, row, delta):
    """<the weight's row that starts at the flat index `row`, delta>."""
    n, width = weight.shape[1], lanes(weight)
    a = times(load(weight, row), load(delta, 0))
    at = width
    if n >= 4 * width:
        b = times(load(weight, row + width), load(delta, width))
        c = times(load(weight, row + 2 * width), load(delta, 2 * width))
        d = times(load(weight, row + 3 * width), load(delta, 3 * width))
        at = 4 * width
        while at + 4 * width <= n:
            p = row + at
            a = plus(a, times(load(weight, p), load(delta, at)))
            b = plus(b, times(load(weight, p + width), load(delta, at + width)))
            c = plus(c, times(load(weight, p + 2 * width), load(delta, at + 2 * width)))
            d = plus(d, times(load(weight, p + 3 * width), load(delta, at + 3 * width)))
            at += 4 * width
        a = plus(plus(a, b), plus(c, d))
    while at < n:
        a = plus(a, times(load(weight, row + at), load(delta, at)))
        at += width
    return total(a)


@njit(**INLINE)
def _add_at(row, at, block, factor):
    """row += factor * block, at the block's place."""
    store(row, at, plus(load(row, at), scaled(block, factor)))


@njit(**INLINE)
def _add(a, b, factor):
    """a += factor * b."""
    for at in range(0, a.shape[0], lanes(a)):
        _add_at(a, at, load(b, at), factor)


@overload(scatter, jit_options=INLINE)
def _scatter(connection, current, unit, coefficient, start, stop, factor):
    if not _is_linear(connection):
        return None

    def kernel(connection, current, unit, coefficient, start, stop, factor):
        _scatter_rows(connection.weight, current, unit, coefficient, start, stop, factor)

    def biased(connection, current, unit, coefficient, start, stop, factor):
        _scatter_rows(connection.weight, current, unit, coefficient, start, stop, factor)
        _add(current, connection.bias, factor)

    return biased if _has_bias(connection) else kernel


@overload(accumulate, jit_options=INLINE)
def _accumulate(connection, vector, unit, coefficient, start, stop, factor):
    if not _is_linear(connection):
        return None

    def kernel(connection, vector, unit, coefficient, start, stop, factor):
        _accumulate_rows(connection.weight, vector, unit, coefficient, start, stop, factor)

    def biased(connection, vector, unit, coefficient, start, stop, factor):
        _accumulate_rows(connection.weight, vector, unit, coefficient, start, stop, factor)
        _add(connection.bias, vector, factor)

    return biased if _has_bias(connection) else kernel


@overload(gather, jit_options=INLINE)
def _gather(connection, delta, unit, start, stop, factor, gathered):
    if not _is_linear(connection):
        return None

    def kernel(connection, delta, unit, start, stop, factor, gathered):
        weight = connection.weight
        for k in range(start, stop):
            gathered[k] = factor * _dot(weight, unit[k] * weight.shape[1], delta)

    return kernel
