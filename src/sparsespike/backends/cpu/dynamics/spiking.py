"""The walk of a spiking layer over time, forward: all neurons move, spikes and active entries are listed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparsespike.backends.cpu.drive import CAPACITY
from sparsespike.backends.cpu.dynamics.advance import (
    advance_and_look,
    leap,
    look,
    prepare,
    prepared,
    seen,
    sensitivity,
)
from sparsespike.backends.cpu.dynamics.delays import send, send_all
from sparsespike.backends.cpu.dynamics.fire import Found, Room, Watch, fire
from sparsespike.backends.cpu.dynamics.ring import arrived, closed, opened
from sparsespike.backends.cpu.dynamics.unit import Unit
from sparsespike.backends.cpu.verbs import INLINE, arrive
from sparsespike.compiling.compiled import compiled


class Position(NamedTuple):
    """Where a walk stands.

    Attributes:
        turn: sample * turns + step, the next to come; a sample has T turns, and one more where the states
            after the last step are wanted.
        n_spikes: listed so far.
        n_active: the same.
        n_place: how many spikes of the last step there were.
    """

    turn: int
    n_spikes: int
    n_active: int
    n_place: int


def forward(
    terms: Any,
    recurrent: Any,
    unit: Unit,
    steps: int,
    first: int,
    last: int,
    n_out: int,
    driven: bool,
    room: Room,
    sites: Any,
    given: NDArray,
    ends: NDArray,
    end_trace: NDArray,
    watch: Watch,
    out_offset: NDArray,
    active_offset: NDArray,
) -> Found:
    """Runs samples first:last of a spiking layer: the walk, again from where its lists became too short.

    Args:
        terms: kernel forms of the connections and their input events (`terms.py`).
        recurrent: kernel form of the connection from the layer to itself, or None.
        unit: kernel form of the neuron.
        steps: T.
        first: first sample.
        last: one past the last sample.
        n_out: neurons of the layer.
        driven: whether a step without events has a current (a bias has).
        room: scratch.
        sites: where the neurons lie (`sites.py`), or None: side by side.
        given: (B, n_kept, n), the states to start from; or (0, 0, 0).
        ends: (B, n_kept, n), written: the states after the last step; or (0, 0, 0).
        end_trace: (B, P * k * n), written: the eligibilities then; or (0, 0).
        watch: neurons whose potential is kept at every step.
        out_offset: (B*T + 1,) written for rows first*T + 1 ... last*T, counted from 0 in this range.
        active_offset: (B*T + 1,) the same for the active entries.

    Returns:
        This range's lists.
    """
    capacity = n_out + min(CAPACITY, (last - first) * steps * n_out // 32)
    dtype, n_kick = room.state.dtype, len(unit.states) if unit.attached else 0
    # Numbers of each list for a spike or an active entry.
    wide = (1, 1, 1, 1, unit.learned.number, n_kick)
    kinds = np.uint32, np.uint32, dtype, dtype, dtype, dtype
    lists = [np.empty(capacity * n, kind) for n, kind in zip(wide, kinds, strict=True)]
    turns = steps + (len(ends) > 0 and unit.lag == 1)
    at = Position(first * turns, 0, 0, 0)
    while True:
        at = _walk(
            terms,
            recurrent,
            unit,
            steps,
            turns,
            first,
            last,
            n_out,
            driven,
            room,
            sites,
            given,
            ends,
            end_trace,
            watch,
            at,
            Found(*lists),
            out_offset,
            active_offset,
        )
        used = [at.n_spikes, *(at.n_active * n for n in wide[1:])]
        if at.turn == last * turns:
            return Found(*(each[:n] for each, n in zip(lists, used, strict=True)))
        if at.n_spikes + n_out > len(lists[0]):
            lists[0] = _grown(lists[0], used[0])
        if at.n_active + n_out > len(lists[1]):
            lists[1:] = map(_grown, lists[1:], used[1:])


@compiled(borrows=True)
def _walk(
    terms,
    recurrent,
    unit,
    steps,
    turns,
    first,
    last,
    n_out,
    driven,
    room,
    sites,
    given,
    ends,
    end_trace,
    watch,
    at,
    found,
    out_offset,
    active_offset,
):
    """Walks from `at` to the end of sample last - 1, or to where the lists may be too short for a step."""
    turn, n_spikes, n_active, n_place = at
    sample, step, begin = turn // turns, turn % turns, first * steps
    while sample < last:
        if n_spikes + n_out > len(found.unit) or n_active + n_out > len(found.active_unit):
            break
        row = sample * steps + step
        if step == 0:
            n_place = 0
            _begin(unit, room, given, sample)
            if len(given) > 0 and unit.lag == 0:
                n_place = _resume(unit, room, sites, n_out, given, sample)
        looks = True
        if step > 0 or unit.lag == 0:
            # The bounds at the first row are those of the range before.
            start = out_offset[row - 1] if step > 0 and row - 1 > begin else 0
            stop = n_spikes if step > 0 else 0
            source = found.unit
            if step == 0 and n_place > 0:
                source, stop = room.fired, n_place
            entries = n_active
            if step > 0:
                entries = active_offset[row - 1] if row - 1 > begin else 0
            _next(
                terms, recurrent, unit, row - unit.lag, step, driven, room, sites, source, start, stop,
                n_place, found, entries, n_active,
            )  # fmt: skip
        elif len(given) > 0:
            look(unit, room, sites)
        else:
            looks = False  # at the start nothing fires
        n_place = 0
        if step < steps:
            _look(unit, room, watch, row)
            if looks:
                before = n_spikes
                n_spikes, n_active = fire(sites, unit, room, found, n_spikes, n_active)
                n_place = n_spikes - before
            out_offset[row + 1], active_offset[row + 1] = n_spikes, n_active
        step += 1
        if step == turns:
            if len(ends) > 0:
                _leave(unit, room, ends, end_trace, sample, n_place)
                closed(room.ring, ends, sample, steps + unit.lag)
            sample, step = sample + 1, 0
    return Position(sample * turns + step, n_spikes, n_active, n_place)


@njit(**INLINE)
def _look(unit, room, watch, row):
    """Keeps the potential of the neurons that are watched, and its derivative by the learned numbers."""
    n, n_learned, m_watched = np.uint64(unit.n), unit.learned.number, len(watch.place)
    for q in range(m_watched):
        place = np.uint64(watch.place[q])
        at = row * m_watched + q
        watch.potential[at] = seen(unit, room.state, place) + unit.rest[place]
        for m in range(n_learned):
            slope = sensitivity(unit, m, room, place) + unit.learned.rest[np.uint64(m) * n + place]
            watch.slope[at * n_learned + m] = slope


@njit(**INLINE)
def _begin(unit, room, given, sample):
    """The states and eligibilities of a new sample."""
    if len(given) == 0:
        for i in range(len(unit.start)):
            room.state[i] = unit.start[i]
        for i in range(len(room.trace)):
            room.trace[i] = unit.learned.start[i]
    else:
        for i in range(len(unit.states)):
            for j in range(unit.n):
                room.state[i * unit.n + j] = given[sample, i, j]
        room.trace[:] = 0
    room.current[:] = 0
    opened(room.ring, given, sample, unit.lag)


@njit(**INLINE)
def _resume(unit, room, sites, n_out, given, sample):
    """Takes up who fired in the step before the first; how many."""
    n = 0
    for j in range(n_out):
        place = j if sites is None else np.intp(sites.place[j])
        if given[sample, len(unit.states), place] > 0:
            room.fired[n] = j
            room.place[n] = place
            n += 1
    return n


@njit(**INLINE)
def _leave(unit, room, ends, end_trace, sample, n_place):
    for i in range(len(unit.states)):
        for j in range(unit.n):
            ends[sample, i, j] = room.state[i * unit.n + j]
    if unit.lag == 0:
        for j in range(unit.n):
            ends[sample, len(unit.states), j] = 0
        for q in range(n_place):
            ends[sample, len(unit.states), room.place[q]] = 1
    if len(end_trace) > 0:
        for i in range(len(room.trace)):
            end_trace[sample, i] = room.trace[i]


@njit(**INLINE)
def _next(
    terms,
    recurrent,
    unit,
    in_row,
    now,
    driven,
    room,
    sites,
    source,
    start,
    stop,
    n_place,
    found,
    entries,
    n_active,
):
    """Moves all neurons on to the step `now`, under the input of one row and what source[start:stop] send."""
    k = len(unit.states)
    size = (1 + unit.learned.number) * k
    arrives = driven or arrive(terms, in_row)
    if arrives:
        send_all(terms, room, in_row, now, sites)
    if recurrent is not None:
        send(recurrent, room, source, start, stop, now, sites)
    arrived(room.ring, room.current, now)
    for q in range(n_place if prepared(unit) else 0):
        prepare(unit, room, np.intp(room.place[q]), q * size)
    if unit.attached and len(unit.swallowed) > 0:  # what a spike would have swallowed
        for e in range(entries, n_active):
            unit_at = found.active_unit[e]
            place = np.intp(unit_at) if sites is None else np.intp(sites.place[unit_at])
            for i in range(k):
                found.kick[e * k + i] += unit.swallowed[i * unit.n + place] * room.current[place]
    advance_and_look(unit, room, sites, arrives or recurrent is not None or room.ring is not None)
    for q in range(n_place):
        leap(unit, room, sites, np.uint64(room.place[q]), q * size)


def _grown(old: NDArray, used: int) -> NDArray:
    """A list twice as long, with the first `used` entries of the old one."""
    new = np.empty(2 * len(old), old.dtype)
    new[:used] = old[:used]
    return new
