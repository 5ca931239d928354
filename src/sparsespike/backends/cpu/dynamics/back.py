"""The walk of a layer back over time (`docs/method.md`).

δ[t] = b_S . λ[t+1]            goes to ∇W and, through the weights, to ε of the inputs
c[t] = g (ε[t] + <R, δ[t]> + kick . λ[t+1])       at active entries; R: recurrent weights
λ[t] = A_S^T λ[t+1] + w c[t]
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparsespike.backends.cpu.dynamics.delays import sense, take
from sparsespike.backends.cpu.dynamics.ring import Ring, handed, kept, returned
from sparsespike.backends.cpu.dynamics.tiles import combined, matrix, mixed, put, tiles
from sparsespike.backends.cpu.dynamics.unit import SELF
from sparsespike.backends.cpu.simd import FOUR, add_alone, lanes, load, load_four, store
from sparsespike.backends.cpu.verbs import INLINE
from sparsespike.compiling.compiled import compiled


class Own(NamedTuple):
    """The layer's own lists, and what is known at its entries.

    Attributes:
        unit, offset: its spikes.
        place: (n_spikes,) where they are in the state.
        active_unit, active_offset: its active entries.
        active_place: (n_active,) where they are.
        value: (n_active,) S.
        slope: (n_active,) g; (0,) where c is known.
        kick: (n_active * k), or (0,) (`spiking.Found`).
        learned: (n_active * P), ∂d/∂p.
        coefficient: (n_active,), ε; c when the walk has passed.
    """

    unit: NDArray
    offset: NDArray
    place: NDArray
    active_unit: NDArray
    active_offset: NDArray
    active_place: NDArray
    value: NDArray
    slope: NDArray
    kick: NDArray
    learned: NDArray
    coefficient: NDArray


class BackRoom(NamedTuple):
    """What a walk back writes to on its way, of one thread.

    Attributes:
        adjoint: (k * n), λ.
        delta: (n), δ.
        extra: (n_out, k + 1), of the neurons that spiked.
        sent: (n_active,), <R, δ> there.
        everyone: (n_out,), 0, 1, ...
        place: (n_out,) of each neuron.
        fired, fired_place: (n_out,), who spiked in the step before the first.
        brought: (n_out,), <R, δ> of each.
        ring: δ of later updates, for events that were delayed (`ring.py`), or None.
        one: 1, in the state's dtype.
    """

    adjoint: NDArray
    delta: NDArray
    extra: NDArray
    sent: NDArray
    everyone: NDArray
    place: NDArray
    fired: NDArray
    fired_place: NDArray
    brought: NDArray
    ring: Ring | None
    one: np.floating


class Seam(NamedTuple):
    """What goes over the ends of a walk.

    Attributes:
        later: (B, n_kept, n), ∂L/∂ of the states after the last step; or (0, 0, 0).
        trace: (B, P * k * n), the eligibilities then; or (0, 0).
        before: (B, n_kept, n), of lag 0: the states that the walk began with; or (0, 0, 0).
        earlier: (B, n_kept, n), written: ∂L/∂ of the states that the walk began with; or (0, 0, 0).
    """

    later: NDArray
    trace: NDArray
    before: NDArray
    earlier: NDArray


@compiled(borrows=True)
def distances(level, place, potential, distance):
    """Writes how far each active entry is from the threshold of its neuron."""
    for e in range(np.uint64(len(place))):
        distance[e] = potential[e] - level[place[e]]


@compiled(borrows=True)
def backward(
    connection,
    gradient,
    recurrent,
    recurrent_gradient,
    unit,
    events,
    offset,
    in_unit,
    in_offset,
    steps,
    first,
    last,
    room,
    own,
    seam,
    watch,
    gathered,
    number,
):
    """Walks samples first:last backwards.

    Args:
        connection: kernel form of the connection where ε is gathered, else None.
        gradient: form of the connection, added to: ∇W (and ∇bias) of this range.
        recurrent: kernel form of the connection from the layer to itself, or None; also where c is known.
        recurrent_gradient: its form, added to; or None.
        unit: kernel form of the neuron.
        events: (n_events,) input units.
        offset: (B*T + 1,) bounds of the rows in `events`.
        in_unit: (n_active_in,) active input units.
        in_offset: (B*T + 1,) bounds of their rows; (0,) where ε is not wanted.
        steps: T.
        first: first sample.
        last: one past the last sample.
        room: scratch.
        own: the layer's lists.
        seam: what goes over the ends.
        watch: neurons whose potential was kept, with ∂L/∂ of it.
        gathered: (n_active_in,) zeros, written: ε at the active inputs.
        number: (P, n), added to: the gradient of the learned numbers.
    """
    adjoint, delta, extra, sent = room.adjoint, room.delta, room.extra, room.sent
    k, n, n_learned = len(unit.states), unit.n, len(number)
    kicked = len(own.slope) > 0 and unit.kicked
    for sample in range(first, last):
        handed(room.ring, seam.later, sample, steps + unit.lag)
        live = len(seam.later) > 0
        for i in range(k):
            for j in range(n):
                adjoint[i * n + j] = seam.later[sample, i, j] if live else 0
        if live and len(seam.trace) > 0:
            for m in range(n_learned):
                for i in range(k):
                    for j in range(n):
                        e = seam.trace[sample, (m * k + i) * n + j]
                        number[m, j] += adjoint[i * n + j] * e
        if live and unit.lag == 0 and len(own.slope) > 0:  # the last spikes went over as well
            row = (sample + 1) * steps - 1
            for e in range(own.active_offset[row], own.active_offset[row + 1]):
                own.coefficient[e] += seam.later[sample, k, own.active_place[e]]
        for step in range(steps - 1, -1, -1):
            row = sample * steps + step
            start, stop = own.active_offset[row], own.active_offset[row + 1]
            # Of lag 0 what follows the last step is the next walk's.
            if live and (unit.lag == 1 or step < steps - 1):
                spikes, to = own.offset[row], own.offset[row + 1]
                if kicked:
                    for e in range(start, stop):
                        own.coefficient[e] += _kick(unit, own, adjoint, e)
                sent_back(unit, own.place, spikes, to, adjoint, delta, extra)
                in_row = row + 1 - unit.lag
                kept(room.ring, delta, step + 1)
                take(gradient, room, events, offset[in_row], offset[in_row + 1], step + 1)
                if connection is not None:
                    begin, end = in_offset[in_row], in_offset[in_row + 1]
                    sense(connection, room, in_unit, begin, end, step + 1, gathered)
                if recurrent is not None:
                    sense(recurrent, room, own.active_unit, start, stop, step + 1, sent)
                    take(recurrent_gradient, room, own.unit, spikes, to, step + 1)
                    for e in range(start, stop):
                        own.coefficient[e] += sent[e]
            if start < stop:
                live = True
                for e in range(start, stop):
                    if len(own.slope) > 0:
                        own.coefficient[e] *= own.slope[e]
                    c, place = own.coefficient[e], np.intp(own.active_place[e])
                    for i in range(1 if unit.sees == SELF else k):
                        add_alone(adjoint, i * n + place, unit.w[i * n + place] * c)
                    for m in range(n_learned):
                        number[m, place] += c * own.learned[e * n_learned + m]
            for q in range(len(watch.place)):
                live, place = True, np.intp(watch.place[q])
                at = row * len(watch.place) + q
                for i in range(k):
                    amount = unit.w[i * n + place] * watch.potential[at]
                    add_alone(adjoint, i * n + place, amount)
                for m in range(n_learned):
                    slope = watch.slope[at * n_learned + m]
                    number[m, place] += watch.potential[at] * slope
        if unit.lag == 0 and live:
            _to_first_input(
                connection, gradient, recurrent, recurrent_gradient, unit, events, offset, in_unit,
                in_offset, sample, sample * steps, room, seam, gathered,
            )  # fmt: skip
        if len(seam.earlier) > 0:
            for i in range(k):
                for j in range(n):
                    seam.earlier[sample, i, j] = adjoint[i * n + j]
        returned(room.ring, seam.earlier, sample, unit.lag)


@njit(**INLINE)
def _kick(unit, own, adjoint, e):
    """kick . λ[t+1] of an active entry."""
    k, n, at = len(unit.states), np.uint64(unit.n), np.uint64(own.active_place[e])
    total = adjoint.dtype.type(0)
    for i in range(k):
        amount = unit.kick[at]
        if len(own.kick) > 0:
            amount += own.kick[np.intp(e) * k + i]
        if len(unit.product) > 0:
            amount -= unit.product[at] * own.value[e]
        total += amount * adjoint[at]
        at += n
    return total


@njit(**INLINE)
def sent_back(unit, place, start, stop, adjoint, delta, extra):
    """δ <- b_S . λ and λ <- A_S^T λ, where the neurons at place[start:stop] spiked."""
    k, n = len(unit.states), unit.n
    if len(unit.change) > 0:
        for e in range(start, stop):
            at = np.intp(place[e])
            for j in range(k):
                amount = unit.change[j * n + at] * adjoint[at]
                for i in range(1, k):
                    amount += unit.change[(i * k + j) * n + at] * adjoint[i * n + at]
                extra[e - start, j] = amount
    if len(unit.swallowed) > 0:
        for e in range(start, stop):
            at = np.intp(place[e])
            amount = unit.swallowed[at] * adjoint[at]
            for i in range(1, k):
                amount += unit.swallowed[i * n + at] * adjoint[i * n + at]
            extra[e - start, k] = amount
    at, width = 0, lanes(adjoint)
    while at + FOUR * width <= n:
        _turn(load_four, unit, adjoint, delta, at)
        at += FOUR * width
    while at < n:
        _turn(load, unit, adjoint, delta, at)
        at += width
    for e in range(start, stop):
        at = np.intp(place[e])
        if len(unit.change) > 0:
            for j in range(k):
                add_alone(adjoint, j * n + at, extra[e - start, j])
        if len(unit.swallowed) > 0:
            add_alone(delta, at, extra[e - start, k])


@njit(**INLINE)
def _turn(load, unit, adjoint, delta, at):
    """δ <- b . λ and λ <- A^T λ of a tile."""
    n, k = unit.n, len(unit.states)
    later = tiles(load, unit.states, adjoint, n, at)
    store(delta, at, combined(load, unit, unit.b, unit.enters, at, later))
    columns = matrix(load, unit.states, unit.states, unit.A, n, k * n, at)
    put(adjoint, n, at, mixed(columns, later))


@njit(**INLINE)
def _to_first_input(
    connection,
    gradient,
    recurrent,
    recurrent_gradient,
    unit,
    events,
    offset,
    in_unit,
    in_offset,
    sample,
    row,
    room,
    seam,
    gathered,
):
    """Of lag 0, what the step before the first sends: to the input of the first, and to the state given."""
    k, n = len(unit.states), unit.n
    adjoint, delta = room.adjoint, room.delta
    n_fired = 0
    resumed = len(seam.before) > 0
    if resumed:
        for u in range(len(room.place)):
            j = np.intp(room.place[u])
            total = (
                room.one - room.one
            )  # the derivative by S of the step before, through the neuron itself
            for i in range(k):
                amount = unit.kick[i * n + j]
                if len(unit.product) > 0:
                    amount -= unit.product[i * n + j] * seam.before[sample, k, j]
                if unit.attached and len(unit.change) > 0:
                    for c in range(k):
                        amount += unit.change[(i * k + c) * n + j] * seam.before[sample, c, j]
                total += amount * adjoint[i * n + j]
            seam.earlier[sample, k, j] = total
            if seam.before[sample, k, j] > 0:
                room.fired[n_fired] = u
                room.fired_place[n_fired] = j
                n_fired += 1
    sent_back(unit, room.fired_place, 0, n_fired, adjoint, delta, room.extra)
    kept(room.ring, delta, 0)
    take(gradient, room, events, offset[row], offset[row + 1], 0)
    if connection is not None:
        sense(connection, room, in_unit, in_offset[row], in_offset[row + 1], 0, gathered)
    if recurrent is not None:
        take(recurrent_gradient, room, room.fired, 0, n_fired, 0)
        if resumed:
            sense(recurrent, room, room.everyone, 0, len(room.everyone), 0, room.brought)
            for u in range(len(room.place)):
                seam.earlier[sample, k, np.intp(room.place[u])] += room.brought[u]
