"""`SparseLinear` on the CPU: its three verbs, over the synapses of each input side by side.

Numbers are added one at a time: the targets of an input lie anywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from sparsespike.backends.cpu.linear import add
from sparsespike.backends.cpu.simd import ONE
from sparsespike.backends.cpu.sites import touch, touch_all
from sparsespike.backends.cpu.verbs import INLINE, accumulate, gather, scatter
from sparsespike.compiling.compiled import compiled


class SparseWeight(NamedTuple):
    """A `SparseLinear`, or its gradient, as kernels take it; synapses by input.

    Attributes:
        weight: (n_synapses,).
        bias: (n,), at the neurons' places; or None.
        bound: (n_in + 1,) uint64, bounds of each input's synapses.
        place: (n_synapses,) uint32, where in the state they lead.
        size: entries of the state per site.
    """

    weight: NDArray
    bias: NDArray | None
    bound: NDArray
    place: NDArray
    size: np.uint64


def _is_sparse(connection) -> bool:
    return getattr(connection, "instance_class", None) is SparseWeight


def _has_bias(connection) -> bool:
    return not isinstance(connection[1], types.NoneType)


@compiled
def _scatter_synapses(connection, current, unit, start, stop, factor, mark):
    weight, bound, place = connection.weight, connection.bound, connection.place
    size = np.uint32(connection.size)
    for k in range(start, stop):
        i = np.uint64(unit[k])
        for s in range(bound[i], bound[i + ONE]):
            p = place[s]
            current[p] += factor * weight[s]
            touch(mark, np.uint64(p // size), ONE)


@compiled
def _accumulate_synapses(connection, vector, unit, start, stop, factor):
    weight, bound, place = connection.weight, connection.bound, connection.place
    for k in range(start, stop):
        i = np.uint64(unit[k])
        for s in range(bound[i], bound[i + ONE]):
            weight[s] += factor * vector[place[s]]


@compiled
def _gather_synapses(connection, delta, unit, start, stop, factor, gathered):
    weight, bound, place = connection.weight, connection.bound, connection.place
    for k in range(start, stop):
        i = np.uint64(unit[k])
        total = factor - factor
        for s in range(bound[i], bound[i + ONE]):
            total += weight[s] * delta[place[s]]
        gathered[k] = factor * total


@overload(scatter, jit_options=INLINE)
def _scatter(connection, current, unit, start, stop, factor, sites):
    if not _is_sparse(connection):
        return None

    def kernel(connection, current, unit, start, stop, factor, sites):
        if start < stop:
            _scatter_synapses(connection, current, unit, start, stop, factor, sites.mark)

    def biased(connection, current, unit, start, stop, factor, sites):
        if start < stop:
            _scatter_synapses(connection, current, unit, start, stop, factor, sites.mark)
        add(current, connection.bias, factor)
        touch_all(sites)

    return biased if _has_bias(connection) else kernel


@overload(accumulate, jit_options=INLINE)
def _accumulate(connection, vector, unit, coefficient, start, stop, factor):
    if not _is_sparse(connection):
        return None

    def kernel(connection, vector, unit, coefficient, start, stop, factor):
        if start < stop:
            _accumulate_synapses(connection, vector, unit, start, stop, factor)

    def biased(connection, vector, unit, coefficient, start, stop, factor):
        if start < stop:
            _accumulate_synapses(connection, vector, unit, start, stop, factor)
        add(connection.bias, vector, factor)

    return biased if _has_bias(connection) else kernel


@overload(gather, jit_options=INLINE)
def _gather(connection, delta, unit, start, stop, factor, gathered):
    if not _is_sparse(connection):
        return None

    def kernel(connection, delta, unit, start, stop, factor, gathered):
        if start < stop:
            _gather_synapses(connection, delta, unit, start, stop, factor, gathered)

    return kernel
