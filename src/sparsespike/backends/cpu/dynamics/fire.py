"""What a step of a spiking layer lists: its spikes and active entries, and what is known there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from sparsespike.backends.cpu.dynamics.advance import prepare, sensitivity
from sparsespike.backends.cpu.dynamics.ring import Ring
from sparsespike.backends.cpu.lif import scan, sort
from sparsespike.backends.cpu.simd import above, lanes, load
from sparsespike.backends.cpu.sites import ONE, touch_all
from sparsespike.backends.cpu.verbs import INLINE
from sparsespike.spikes.bits import lowest_bit


class Room(NamedTuple):
    """What a walk writes to on its way, of one thread.

    Attributes:
        state: (k * n).
        trace: (P * k * n), the eligibilities.
        current: (n), zero between steps.
        distance: (n), d.
        jump: (n_out * (1 + P) k), what the spikes of the last step still do,
        place: (n_out,) and where; `n_place` of the position tells how many.
        fired: (n_out,), units that the given state says have fired.
        ring: currents that wait (`ring.py`), or None.
        one: 1, in the state's dtype.
    """

    state: NDArray
    trace: NDArray
    current: NDArray
    distance: NDArray
    jump: NDArray
    place: NDArray
    fired: NDArray
    ring: Ring | None
    one: np.floating


class Watch(NamedTuple):
    """Neurons whose potential is kept at every step.

    Attributes:
        place: (m,) where they are in the state.
        potential: (B * T * m), V; on the way back ∂L/∂V.
        slope: (B * T * m * P), ∂V/∂p.
    """

    place: NDArray
    potential: NDArray
    slope: NDArray


class Found(NamedTuple):
    """The lists that a walk makes.

    Attributes:
        unit: (n_spikes,) who spiked.
        active_unit, potential, value: (n_active,).
        slope: (n_active * P), ∂d/∂p there.
        kick: (n_active * k), what of the derivative of the next states by the spike depends on the state; or
            (0,), where none does.
    """

    unit: NDArray
    active_unit: NDArray
    potential: NDArray
    value: NDArray
    slope: NDArray
    kick: NDArray


def fire(sites, unit, room, found, n_spikes, n_active):
    """Lists this step's spikes and active entries (eq. 4, 7), and what spikes will do; the new lengths."""
    raise NotImplementedError


@overload(fire, jit_options=INLINE)
def _fire(sites, unit, room, found, n_spikes, n_active):
    def side_by_side(sites, unit, room, found, n_spikes, n_active):
        before, width = n_spikes, lanes(room.distance)
        for at in range(0, unit.n, width):
            word = above(load(room.distance, at), unit.floor)
            while word:
                j = at + lowest_bit(word)
                word &= word - ONE
                n_spikes, n_active = note(unit, room, found, j, j, before, n_spikes, n_active)
        return n_spikes, n_active

    def by_site(sites, unit, room, found, n_spikes, n_active):
        touch_all(sites)
        before, shift = n_spikes, sites.shift
        n = scan(room.distance, unit.floor, sites.size, shift, sites.mark, sites.found)
        due = sites.found
        if not sites.in_a_row:  # else they are found in their order
            due = sites.due
            sort(n, sites.channels, shift, sites.found, due, sites.count)
        mask = (ONE << shift) - ONE
        for q in range(n):
            key = np.uint64(due[q])
            channel, site = key & mask, key >> shift
            place = np.intp(site * sites.size + channel)
            j = np.intp(channel * sites.per_channel + site * sites.per_site)
            n_spikes, n_active = note(unit, room, found, place, j, before, n_spikes, n_active)
        return n_spikes, n_active

    return side_by_side if isinstance(sites, types.NoneType) else by_site


@njit(**INLINE)
def note(unit, room, found, place, j, before, n_spikes, n_active):
    """Lists neuron j at its place if it fires or is active."""
    k, n, n_learned = len(unit.states), unit.n, unit.learned.number
    d = room.distance[place]
    fired = d > 0
    if abs(d) < unit.b_th:
        found.active_unit[n_active] = j
        seen = unit.rest[place]
        for i in range(k):
            seen += unit.w[i * n + place] * room.state[i * n + place]
        found.potential[n_active] = seen
        found.value[n_active] = fired
        for m in range(n_learned):
            found.slope[n_active * n_learned + m] = sensitivity(
                unit, m, room.state, room.trace, place
            )
        if unit.attached:
            changes = len(unit.change) > 0
            for i in range(k):
                amount = unit.rest[place] - unit.rest[place]
                if changes:
                    for c in range(k):
                        amount += unit.change[(i * k + c) * n + place] * room.state[c * n + place]
                found.kick[n_active * k + i] = amount
        n_active += 1
    if fired:
        q = n_spikes - before
        room.place[q] = place
        prepare(unit, room.state, room.trace, place, room.jump, q * (1 + n_learned) * k)
        found.unit[n_spikes] = j
        n_spikes += 1
    return n_spikes, n_active
