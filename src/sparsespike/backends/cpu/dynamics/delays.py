"""Synapses with delays: events wait in a ring of currents, one row per step to come (`docs/method.md`).

Row m & mask of the ring holds what arrives in the update that leads to step m; on the way back, δ of that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from sparsespike.backends.cpu.verbs import INLINE, accumulate, gather, scatter
from sparsespike.compiling.compiled import compiled


class DelayedWeight(NamedTuple):
    """A `DelayedLinear`, or its gradient, as kernels take it.

    Attributes:
        near: (n_in, n), the share of each weight that arrives after `floor` steps more.
        far: (n_in, n), the share that arrives one step after.
        floor: (n_in, n), whole steps.
        bias: (n,), or None.
    """

    near: NDArray
    far: NDArray
    floor: NDArray
    bias: NDArray | None


def _is_delayed(connection) -> bool:
    return getattr(connection, "instance_class", None) is DelayedWeight


def send(connection, room, unit, start, stop, now, sites):
    """What the events unit[start:stop] bring: to the current of this update, or to the ring."""
    raise NotImplementedError


def send_all(terms, room, row, now, sites):
    """The same of the events of all terms in one row of input."""
    raise NotImplementedError


def take(gradient, room, unit, start, stop, now):
    """Adds δ to the gradient of what the events unit[start:stop] went through."""
    raise NotImplementedError


def sense(connection, room, unit, start, stop, now, gathered):
    """gathered[k] = <weights of active input unit[k], δ when they arrive> for k in start:stop."""
    raise NotImplementedError


@compiled(borrows=True)
def _wait(near, far, floor, ring, mask, unit, start, stop, now):
    n = np.uint64(near.shape[1])
    one, mask, now = np.uint64(1), np.uint64(mask), np.uint64(now)
    for e in range(np.uint64(start), np.uint64(stop)):
        i = np.uint64(unit[e])
        for j in range(n):
            due = now + np.uint64(floor[i, j])
            ring[(due & mask) * n + j] += near[i, j]
            ring[((due + one) & mask) * n + j] += far[i, j]


@compiled(borrows=True)
def _add_back(near, far, floor, ring, mask, unit, start, stop, now):
    n = np.uint64(near.shape[1])
    one, mask, now = np.uint64(1), np.uint64(mask), np.uint64(now)
    for e in range(np.uint64(start), np.uint64(stop)):
        i = np.uint64(unit[e])
        for j in range(n):
            due = now + np.uint64(floor[i, j])
            near[i, j] += ring[(due & mask) * n + j]
            far[i, j] += ring[((due + one) & mask) * n + j]


@compiled(borrows=True)
def _gather_back(near, far, floor, ring, mask, unit, start, stop, now, gathered):
    n = np.uint64(near.shape[1])
    one, mask, now = np.uint64(1), np.uint64(mask), np.uint64(now)
    for e in range(np.uint64(start), np.uint64(stop)):
        i = np.uint64(unit[e])
        total = near[i, 0] - near[i, 0]
        for j in range(n):
            due = now + np.uint64(floor[i, j])
            total += near[i, j] * ring[(due & mask) * n + j]
            total += far[i, j] * ring[((due + one) & mask) * n + j]
        gathered[e] = total


@njit(**INLINE)
def _add(into, vector):
    """into += vector; nothing where either is None."""
    if into is not None and vector is not None:
        for j in range(len(into)):
            into[j] += vector[j]


@overload(send, jit_options=INLINE)
def _send(connection, room, unit, start, stop, now, sites):
    def at_once(connection, room, unit, start, stop, now, sites):
        one = room.one
        scatter(connection, room.current, unit, start, stop, one, sites)

    def later(connection, room, unit, start, stop, now, sites):
        _wait(
            connection.near, connection.far, connection.floor, room.ring, room.mask, unit, start,
            stop, now,
        )  # fmt: skip
        _add(room.current, connection.bias)

    return later if _is_delayed(connection) else at_once


@overload(send_all, jit_options=INLINE)
def _send_all(terms, room, row, now, sites):
    if not isinstance(terms, types.BaseTuple):
        return None

    def one(terms, room, row, now, sites):
        term = terms[0]
        send(term.connection, room, term.unit, term.offset[row], term.offset[row + 1], now, sites)

    def several(terms, room, row, now, sites):
        send_all(terms[:1], room, row, now, sites)
        send_all(terms[1:], room, row, now, sites)

    return one if len(terms) == 1 else several


@overload(take, jit_options=INLINE)
def _take(gradient, room, unit, start, stop, now):
    def at_once(gradient, room, unit, start, stop, now):
        accumulate(gradient, room.delta, unit, None, start, stop, room.one)

    def later(gradient, room, unit, start, stop, now):
        _add_back(
            gradient.near,
            gradient.far,
            gradient.floor,
            room.ring,
            room.mask,
            unit,
            start,
            stop,
            now,
        )
        _add(gradient.bias, room.delta)

    return later if _is_delayed(gradient) else at_once


@overload(sense, jit_options=INLINE)
def _sense(connection, room, unit, start, stop, now, gathered):
    def at_once(connection, room, unit, start, stop, now, gathered):
        gather(connection, room.delta, unit, start, stop, room.one, gathered)

    def later(connection, room, unit, start, stop, now, gathered):
        _gather_back(
            connection.near, connection.far, connection.floor, room.ring, room.mask, unit, start,
            stop, now, gathered,
        )  # fmt: skip

    return later if _is_delayed(connection) else at_once


@njit(**INLINE)
def arrived(room, now):
    """Adds to the current what has waited for this update."""
    n = len(room.current)
    if len(room.ring) > 0:
        base = (now & room.mask) * n
        for j in range(n):
            room.current[j] += room.ring[base + j]
            room.ring[base + j] = 0


@njit(**INLINE)
def kept(room, now):
    """Keeps δ of this update for events that were on their way."""
    n = len(room.delta)
    if len(room.ring) > 0:
        base = (now & room.mask) * n
        for j in range(n):
            room.ring[base + j] = room.delta[j]
