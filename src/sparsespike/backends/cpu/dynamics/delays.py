"""What events bring through synapses with delays, and what they get back from δ of later updates (`ring.py`).

Each synapse may have a delay of its own (`DelayedWeight`), or each output neuron (`LateWeight`): then the
events of a step are added up first, and their sum waits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from sparsespike.backends.cpu.pairs import (
    add_pair,
    block_of_pairs,
    load_pair,
    pair_times,
    spread_pair,
)
from sparsespike.backends.cpu.simd import lanes, load, nothing, plus, store, times, total
from sparsespike.backends.cpu.verbs import INLINE, accumulate, gather, scatter
from sparsespike.compiling.compiled import compiled


class DelayedWeight(NamedTuple):
    """Synapses each with a delay, or their gradient; by input. Taps come in pairs, one after the other.

    Attributes:
        pair: (n_pairs * n_synapses * 2), what of each weight two taps bring; of a gradient, by these.
        offset: (n_synapses,), slots until the first tap, times n, plus the neuron's place.
        bound: (n_in + 1,) uint64, bounds of each input's synapses.
        n_pairs: half as many as there are taps.
        bias: (n,), or None.
    """

    pair: NDArray
    offset: NDArray
    bound: NDArray
    n_pairs: int
    bias: NDArray | None


class LateWeight(NamedTuple):
    """Synapses that share a delay per output neuron.

    Attributes:
        synapses: kernel form of the synapses, without bias.
        pair: (n_pairs * n * 2), shares of the taps.
        offset: (n,), slots until the first tap, times n, plus the place.
        n_pairs: half as many as there are taps.
        bias: (n,), or None.
    """

    synapses: Any
    pair: NDArray
    offset: NDArray
    n_pairs: int
    bias: NDArray | None


class LateGradient(NamedTuple):
    """The gradient of a `LateWeight`.

    Attributes:
        of: the connection.
        synapses: that of the synapses.
        pair: (n_pairs * n * 2), that of the shares; or None where it is not wanted.
        bias: (n,), or None.
    """

    of: LateWeight
    synapses: Any
    pair: NDArray | None
    bias: NDArray | None


def _is(kind, connection) -> bool:
    return getattr(connection, "instance_class", None) is kind


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
def _wait(pair, offset, bound, n_pairs, slot, base, n, unit, start, stop):
    """Adds the taps of the synapses of unit[start:stop] to the slots from base / n on."""
    n_synapses, one = np.uint64(len(offset)), np.uint64(1)
    for e in range(np.uint64(start), np.uint64(stop)):
        i = np.uint64(unit[e])
        for q in range(np.uint64(n_pairs)):
            first, own = np.uint64(base) + np.uint64(2) * q * np.uint64(n), q * n_synapses
            for s in range(bound[i], bound[i + one]):
                add_pair(slot, first + np.uint64(offset[s]), load_pair(pair, own + s))


@compiled(borrows=True)
def _add_back(pair, offset, bound, n_pairs, slot, base, n, unit, start, stop):
    n_synapses, one = np.uint64(len(offset)), np.uint64(1)
    half = np.uint64(lanes(pair) // 2)
    for e in range(np.uint64(start), np.uint64(stop)):
        i = np.uint64(unit[e])
        for q in range(np.uint64(n_pairs)):
            first, own = np.uint64(base) + np.uint64(2) * q * np.uint64(n), q * n_synapses
            s, end = bound[i], bound[i + one]
            while s + half <= end:
                at = (own + s) << one
                store(pair, at, plus(load(pair, at), block_of_pairs(slot, offset, s, first)))
                s += half
            while s < end:
                add_pair(pair, own + s, load_pair(slot, first + np.uint64(offset[s])))
                s += one


@compiled(borrows=True)
def _gather_back(pair, offset, bound, n_pairs, slot, base, n, unit, start, stop, gathered):
    n_synapses, one = np.uint64(len(offset)), np.uint64(1)
    half = np.uint64(lanes(pair) // 2)
    for e in range(np.uint64(start), np.uint64(stop)):
        i = np.uint64(unit[e])
        blocks = nothing(pair)
        rest = slot[0] - slot[0]
        for q in range(np.uint64(n_pairs)):
            first, own = np.uint64(base) + np.uint64(2) * q * np.uint64(n), q * n_synapses
            s, end = bound[i], bound[i + one]
            while s + half <= end:
                here = block_of_pairs(slot, offset, s, first)
                blocks = plus(blocks, times(load(pair, (own + s) << one), here))
                s += half
            while s < end:
                rest += pair_times(pair, own + s, slot, first + np.uint64(offset[s]))
                s += one
        gathered[e] = total(blocks) + rest


@compiled(borrows=True)
def _wait_together(pair, offset, n_pairs, slot, base, row):
    """Adds the taps of a row of currents to the slots; the row is zero afterwards."""
    n = np.uint64(len(row))
    for q in range(np.uint64(n_pairs)):
        first, own = np.uint64(base) + np.uint64(2) * q * n, q * n
        for j in range(n):
            add_pair(slot, first + np.uint64(offset[j]), spread_pair(pair, own + j, row[j]))
    row[:] = 0


@compiled(borrows=True)
def _come_back(pair, offset, n_pairs, slot, base, row):
    """row <- δ of later updates, each by its share."""
    n = np.uint64(len(row))
    row[:] = 0
    for q in range(np.uint64(n_pairs)):
        first, own = np.uint64(base) + np.uint64(2) * q * n, q * n
        for j in range(n):
            row[j] += pair_times(pair, own + j, slot, first + np.uint64(offset[j]))


@compiled(borrows=True)
def _add_shares(sums, offset, n_pairs, slot, base, row):
    """sums += what the row met in each tap."""
    n = np.uint64(len(row))
    for q in range(np.uint64(n_pairs)):
        first, own = np.uint64(base) + np.uint64(2) * q * n, q * n
        for j in range(n):
            add_pair(sums, own + j, spread_pair(slot, first + np.uint64(offset[j]), row[j]))


@njit(**INLINE)
def _add(into, vector):
    """into += vector; nothing where either is None."""
    if into is not None and vector is not None:
        for j in range(len(into)):
            into[j] += vector[j]


@njit(**INLINE)
def _share_back(sums, of, ring, unit, start, stop, base, one):
    """sums += what the events bring, times δ in each tap; nothing where it is None."""
    if sums is not None:
        ring.row[:] = 0
        scatter(of.synapses, ring.row, unit, start, stop, one, ring.sites)
        _add_shares(sums, of.offset, of.n_pairs, ring.slot, base, ring.row)


@overload(send, jit_options=INLINE)
def _send(connection, room, unit, start, stop, now, sites):
    def at_once(connection, room, unit, start, stop, now, sites):
        one = room.one
        scatter(connection, room.current, unit, start, stop, one, sites)

    def each_later(connection, room, unit, start, stop, now, sites):
        ring, n = room.ring, len(room.current)
        if start < stop:
            _wait(
                connection.pair, connection.offset, connection.bound, connection.n_pairs,
                ring.slot, (now % ring.roll + 1) * n, n, unit, start, stop,
            )  # fmt: skip
        _add(room.current, connection.bias)

    def all_later(connection, room, unit, start, stop, now, sites):
        ring, n = room.ring, len(room.current)
        if start < stop:
            scatter(connection.synapses, ring.row, unit, start, stop, room.one, sites)
            _wait_together(
                connection.pair, connection.offset, connection.n_pairs, ring.slot,
                (now % ring.roll + 1) * n, ring.row,
            )  # fmt: skip
        _add(room.current, connection.bias)

    if _is(LateWeight, connection):
        return all_later
    return each_later if _is(DelayedWeight, connection) else at_once


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

    def each_later(gradient, room, unit, start, stop, now):
        ring, n = room.ring, len(room.delta)
        if start < stop:
            _add_back(
                gradient.pair, gradient.offset, gradient.bound, gradient.n_pairs, ring.slot,
                (now % ring.roll) * n, n, unit, start, stop,
            )  # fmt: skip
        _add(gradient.bias, room.delta)

    def all_later(gradient, room, unit, start, stop, now):
        ring, of = room.ring, gradient.of
        if start < stop:
            base = (now % ring.roll) * len(room.delta)
            _come_back(of.pair, of.offset, of.n_pairs, ring.slot, base, ring.row)
            accumulate(gradient.synapses, ring.row, unit, None, start, stop, room.one)
            _share_back(gradient.pair, of, ring, unit, start, stop, base, room.one)
        _add(gradient.bias, room.delta)

    if _is(LateGradient, gradient):
        return all_later
    return each_later if _is(DelayedWeight, gradient) else at_once


@overload(sense, jit_options=INLINE)
def _sense(connection, room, unit, start, stop, now, gathered):
    def at_once(connection, room, unit, start, stop, now, gathered):
        gather(connection, room.delta, unit, start, stop, room.one, gathered)

    def each_later(connection, room, unit, start, stop, now, gathered):
        ring, n = room.ring, len(room.delta)
        if start < stop:
            _gather_back(
                connection.pair, connection.offset, connection.bound, connection.n_pairs,
                ring.slot, (now % ring.roll) * n, n, unit, start, stop, gathered,
            )  # fmt: skip

    def all_later(connection, room, unit, start, stop, now, gathered):
        ring, of = room.ring, connection
        if start < stop:
            base = (now % ring.roll) * len(room.delta)
            _come_back(of.pair, of.offset, of.n_pairs, ring.slot, base, ring.row)
            gather(of.synapses, ring.row, unit, start, stop, room.one, gathered)

    if _is(LateWeight, connection):
        return all_later
    return each_later if _is(DelayedWeight, connection) else at_once
