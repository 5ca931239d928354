"""The walks of a layer of neurons without threshold; its output is dense: every step costs all its units."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparsespike.backends.cpu.dynamics.advance import advance, seen, sensitivity
from sparsespike.backends.cpu.dynamics.back import sent_back
from sparsespike.backends.cpu.dynamics.delays import send_all, sense, take
from sparsespike.backends.cpu.dynamics.ring import (
    Ring,
    arrived,
    closed,
    handed,
    kept,
    opened,
    returned,
)
from sparsespike.backends.cpu.sites import place_of
from sparsespike.backends.cpu.verbs import INLINE, arrive
from sparsespike.compiling.compiled import compiled


class Room(NamedTuple):
    """What a walk writes to on its way, of one thread.

    Attributes:
        state: ((k + 1) * n), the states, and the current; or λ, on the way back.
        trace: (P * k * n), the eligibilities.
        current: (n), the last row of `state`, zero between steps.
        delta: (n), δ.
        ring: currents that wait, or δ of later updates (`ring.py`), or None.
        one: 1, in the state's dtype.
    """

    state: NDArray
    trace: NDArray
    current: NDArray
    delta: NDArray
    ring: Ring | None
    one: np.floating


@compiled(borrows=True)
def forward(
    terms, unit, first, last, driven, room, sites, given, ends, end_trace, potential, grad, number
):
    """Runs samples first:last of a readout; or adds up the gradient of its learned numbers.

    Args:
        terms: kernel forms of the connections and their input events (`terms.py`).
        unit: kernel form of the neuron.
        first: first sample.
        last: one past the last sample.
        driven: whether a step without events has a current (a bias has).
        room: scratch.
        sites: where the neurons lie (`sites.py`), or None: side by side.
        given: (B, k, n), the states to start from; or (0, 0, 0).
        ends: (B, k, n), written: the states after the last step; or (0, 0, 0).
        end_trace: (B, P * k * n), written: the eligibilities then; or (0, 0).
        potential: (B, T, n_out), written unless there is a `grad`.
        grad: (B, T, n_out), ∂L/∂V; or (0, 0, 0).
        number: (P * n), added to: the gradient of the learned numbers.
    """
    _, steps, n_out = potential.shape
    k, n = len(unit.states), unit.n
    for sample in range(first, last):
        opened(room.ring, given, sample, unit.lag)
        for i in range(k):
            for j in range(n):
                if len(given) == 0:
                    room.state[i * n + j] = unit.start[i * n + j]
                else:
                    room.state[i * n + j] = given[sample, i, j]
        for i in range(len(room.trace)):
            room.trace[i] = unit.learned.start[i] if len(given) == 0 else 0
        for step in range(steps):
            row = sample * steps + step
            if step > 0 or unit.lag == 0:
                _next(terms, unit, row - unit.lag, step, driven, room, sites)
            for j in range(n_out):
                place = np.uint64(place_of(sites, j))
                if len(grad) == 0:
                    potential[sample, step, j] = seen(unit, room.state, place) + unit.rest[place]
                else:
                    for m in range(unit.learned.number):
                        at = np.uint64(m * n) + place
                        slope = sensitivity(unit, m, room, place)
                        slope += unit.learned.rest[at]
                        number[at] += grad[sample, step, j] * slope
        if len(ends) > 0:
            if unit.lag == 1:
                _next(terms, unit, (sample + 1) * steps - 1, steps, driven, room, sites)
            for i in range(k):
                for j in range(n):
                    ends[sample, i, j] = room.state[i * n + j]
            closed(room.ring, ends, sample, steps + unit.lag)
        if len(end_trace) > 0:
            for i in range(len(room.trace)):
                end_trace[sample, i] = room.trace[i]


@njit(**INLINE)
def _next(terms, unit, in_row, now, driven, room, sites):
    arrives = driven or arrive(terms, in_row)
    if arrives:
        send_all(terms, room, in_row, now, sites)
    arrived(room.ring, room.current, now)
    advance(unit, room, arrives or room.ring is not None)


@compiled(borrows=True)
def backward(
    connection,
    gradient,
    unit,
    events,
    offset,
    in_unit,
    in_offset,
    first,
    last,
    room,
    sites,
    grad,
    later,
    earlier,
    gathered,
    nobody,
    extra,
):
    """Walks samples first:last backwards: λ[t] = A^T λ[t+1] + w ∂L/∂V[t], δ[t] = b . λ[t+1].

    Args:
        connection: kernel form of the connection where ε is gathered, else None.
        gradient: form of the connection, added to: ∇W (and ∇bias) of this range.
        unit: kernel form of the neuron.
        events: (n_events,) input units.
        offset: (B*T + 1,) bounds of the rows in `events`.
        in_unit: (n_active_in,) active input units.
        in_offset: (B*T + 1,) bounds of their rows; (0,) where ε is not wanted.
        first: first sample.
        last: one past the last sample.
        room: scratch.
        sites: where the neurons lie, or None: side by side.
        grad: (B, T, n_out), ∂L/∂V.
        later: (B, k, n), ∂L/∂ of the states after the last step; or (0, 0, 0).
        earlier: (B, k, n), written: ∂L/∂ of the states at the start; or (0, 0, 0).
        gathered: (n_active_in,) zeros, written: ε at the active inputs.
        nobody: (0,), who spiked.
        extra: (0, 0), what they would do.
    """
    _, steps, n_out = grad.shape
    k, n = len(unit.states), unit.n
    for sample in range(first, last):
        handed(room.ring, later, sample, steps + unit.lag)
        live = len(later) > 0
        for i in range(k):
            for j in range(n):
                room.state[i * n + j] = later[sample, i, j] if live else 0
        for step in range(steps - 1, unit.lag - 2, -1):
            in_row = sample * steps + step + 1 - unit.lag
            if step < steps - 1 or (live and unit.lag == 1):
                sent_back(unit, nobody, 0, 0, room.state, room.delta, extra)
                kept(room.ring, room.delta, step + 1)
                take(gradient, room, events, offset[in_row], offset[in_row + 1], step + 1)
                if connection is not None:
                    start, stop = in_offset[in_row], in_offset[in_row + 1]
                    sense(connection, room, in_unit, start, stop, step + 1, gathered)
            if step >= 0:
                for j in range(n_out):
                    place = np.intp(place_of(sites, j))
                    for i in range(k):
                        room.state[i * n + place] += unit.w[i * n + place] * grad[sample, step, j]
        if len(earlier) > 0:
            for i in range(k):
                for j in range(n):
                    earlier[sample, i, j] = room.state[i * n + j]
        returned(room.ring, earlier, sample, unit.lag)
