"""The walk of a spiking layer over time, forward: all neurons move, spikes and active entries are listed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from sparsespike.backends.cpu.drive import CAPACITY
from sparsespike.backends.cpu.dynamics.advance import (
    advance,
    distances,
    leap,
    prepare,
    sensitivity,
    swallow,
)
from sparsespike.backends.cpu.dynamics.delays import send, send_all
from sparsespike.backends.cpu.dynamics.fire import Found, fire
from sparsespike.backends.cpu.dynamics.ring import arrived, closed, opened
from sparsespike.backends.cpu.verbs import INLINE, arrive
from sparsespike.compiling.compiled import compiled


class Position(NamedTuple):
    """Where a walk stands.

    Attributes:
        row: sample * T + step, the next to come.
        n_spikes: listed so far.
        n_active: the same.
        n_place: how many spikes of the last step there were.
    """

    row: int
    n_spikes: int
    n_active: int
    n_place: int


@compiled
def forward(
    terms,
    recurrent,
    unit,
    steps,
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
    out_offset,
    active_offset,
):
    """Runs samples first:last of a spiking layer.

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
        This range's lists, the fields of `Found`.
    """
    n_learned, k = unit.learned.number, len(unit.states)
    n_kick = k if unit.attached else 0
    capacity = n_out + min(CAPACITY, (last - first) * steps * n_out // 32)
    dtype = room.state.dtype
    found = Found(
        np.empty(capacity, np.uint32),
        np.empty(capacity, np.uint32),
        np.empty(capacity, dtype),
        np.empty(capacity, dtype),
        np.empty(capacity * n_learned, dtype),
        np.empty(capacity * n_kick, dtype),
    )
    at = Position(first * steps, 0, 0, 0)
    while True:
        at = _walk(
            terms,
            recurrent,
            unit,
            steps,
            first * steps,
            last * steps,
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
        )
        if at.row == last * steps:
            break
        n_active = at.n_active
        if at.n_spikes + n_out > len(found.unit):
            found = Found(_grown(found.unit, at.n_spikes), *found[1:])
        if n_active + n_out > len(found.active_unit):
            found = Found(
                found.unit,
                _grown(found.active_unit, n_active),
                _grown(found.potential, n_active),
                _grown(found.value, n_active),
                _grown(found.slope, n_active * n_learned),
                _grown(found.kick, n_active * n_kick),
            )
    n = at.n_active
    return (
        found.unit[: at.n_spikes],
        found.active_unit[:n],
        found.potential[:n],
        found.value[:n],
        found.slope[: n * n_learned],
        found.kick[: n * n_kick],
    )


@compiled(borrows=True)
def _walk(
    terms,
    recurrent,
    unit,
    steps,
    begin,
    end,
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
    """Walks from `at` to row `end`, or to where the lists may be too short for another step.

    `begin` is the first row of the range, from where its lists are counted.
    """
    row, n_spikes, n_active, n_place = at
    step = row % steps
    while row < end:
        if step == steps:
            step = 0
        sample = row // steps
        if n_spikes + n_out > len(found.unit) or n_active + n_out > len(found.active_unit):
            break
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
        elif len(given) == 0:
            looks = False  # at the start nothing fires
        _look(unit, room, watch, row)
        n_place = 0
        if looks:
            distances(unit, room.state, room.distance)
            before = n_spikes
            n_spikes, n_active = fire(sites, unit, room, found, n_spikes, n_active)
            n_place = n_spikes - before
        out_offset[row + 1], active_offset[row + 1] = n_spikes, n_active
        if step == steps - 1 and len(ends) > 0:
            if unit.lag == 1:
                start = out_offset[row] if row > begin else 0
                entries = active_offset[row] if row > begin else 0
                _next(
                    terms, recurrent, unit, row, steps, driven, room, sites, found.unit, start,
                    n_spikes, n_place, found, entries, n_active,
                )  # fmt: skip
                n_place = 0
            _leave(unit, room, ends, end_trace, sample, n_place)
            closed(room.ring, ends, sample, steps + unit.lag)
        row += 1
        step += 1
    return Position(row, n_spikes, n_active, n_place)


@njit(**INLINE)
def _look(unit, room, watch, row):
    """Keeps the potential of the neurons that are watched, and its derivative by the learned numbers."""
    k, n, n_learned, m_watched = len(unit.states), unit.n, unit.learned.number, len(watch.place)
    for q in range(m_watched):
        place = np.intp(watch.place[q])
        seen = unit.rest[place]
        for i in range(k):
            seen += unit.w[i * n + place] * room.state[i * n + place]
        at = row * m_watched + q
        watch.potential[at] = seen
        for m in range(n_learned):
            slope = sensitivity(unit, m, room.state, room.trace, place)
            slope += unit.learned.theta[m * n + place] + unit.learned.rest[m * n + place]
            watch.slope[at * n_learned + m] = slope


@njit(**INLINE)
def _begin(unit, room, given, sample):
    """The states and eligibilities of a new sample."""
    if len(given) == 0:
        for i in range(len(room.state)):
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
    n, size = 0, (1 + unit.learned.number) * len(unit.states)
    for j in range(n_out):
        place = j if sites is None else np.intp(sites.place[j])
        if given[sample, len(unit.states), place] > 0:
            room.fired[n] = j
            room.place[n] = place
            prepare(unit, room.state, room.trace, place, room.jump, n * size)
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
    if driven or arrive(terms, in_row):
        send_all(terms, room, in_row, now, sites)
    if recurrent is not None:
        send(recurrent, room, source, start, stop, now, sites)
    arrived(room.ring, room.current, now)
    for q in range(n_place):
        at = np.intp(room.place[q])
        swallow(unit, room.current[at], at, room.jump, q * size)
    if unit.attached and len(unit.swallowed) > 0:  # what a spike would have swallowed
        for e in range(entries, n_active):
            unit_at = found.active_unit[e]
            place = np.intp(unit_at) if sites is None else np.intp(sites.place[unit_at])
            for i in range(k):
                found.kick[e * k + i] += unit.swallowed[i * unit.n + place] * room.current[place]
    advance(unit, room.state, room.trace, room.current)
    for q in range(n_place):
        leap(unit, room.state, room.trace, np.intp(room.place[q]), room.jump, q * size)


@compiled
def _grown(old, used):
    """A list twice as long, with the first `used` entries of the old one."""
    new = np.empty(2 * len(old), old.dtype)
    for k in range(used):
        new[k] = old[k]
    return new
