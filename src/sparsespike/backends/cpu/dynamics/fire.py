"""What a step of a spiking layer lists: its spikes and active entries, and what is known there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from sparsespike.backends.cpu.dynamics.advance import seen, sensitivity
from sparsespike.backends.cpu.dynamics.ring import Ring
from sparsespike.backends.cpu.lif import scan, sort
from sparsespike.backends.cpu.simd import FOUR, lanes
from sparsespike.backends.cpu.sites import ONE, touch_all
from sparsespike.backends.cpu.verbs import INLINE
from sparsespike.spikes.bits import lowest_bit


class Room(NamedTuple):
    """What a walk writes to on its way, of one thread.

    Attributes:
        state: ((k + 1) * n), the states, and the current.
        trace: (P * k * n), the eligibilities.
        current: (n), the last row of `state`, zero between steps.
        near: words of a bit for each place, four blocks to a word: whether it is in the band or above.
        distance: (n), d; (0,) where neurons lie side by side.
        jump: (n_out * (1 + P) k), what the spikes of the last step do in this one,
        place: (n_out,) and where they are; `n_place` of the position tells how many.
        fired: (n_out,), units that the given state says have fired.
        ring: currents that wait (`ring.py`), or None.
        one: 1, in the state's dtype.
    """

    state: NDArray
    trace: NDArray
    current: NDArray
    near: NDArray
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
        before, whole = n_spikes, FOUR * lanes(room.state)
        for g in range(len(room.near)):
            word, at = room.near[g], g * whole
            while word:
                j = np.uint64(at + lowest_bit(word))
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
            place = site * sites.size + channel
            j = channel * sites.per_channel + site * sites.per_site
            n_spikes, n_active = note(unit, room, found, place, j, before, n_spikes, n_active)
        return n_spikes, n_active

    return side_by_side if isinstance(sites, types.NoneType) else by_site


@njit(**INLINE)
def note(unit, room, found, place, j, before, n_spikes, n_active):
    """Lists neuron j at its place if it fires or is active.

    All is written in any case and kept by counting on: a branch here would be mispredicted often.
    """
    k, n_learned, n = len(unit.states), unit.learned.number, np.uint64(unit.n)
    potential = seen(unit, room.state, place)
    d = potential - unit.theta[place]
    fired = d > 0
    found.active_unit[n_active] = j
    found.potential[n_active] = potential + unit.rest[place]
    found.value[n_active] = fired
    for m in range(n_learned):
        slope = sensitivity(unit, m, room, place)
        if len(unit.learned.theta) > 0:
            slope -= unit.learned.theta[np.uint64(m) * n + place]
        found.slope[n_active * n_learned + m] = slope
    if unit.attached:
        row = place
        for i in range(k):
            amount = room.state.dtype.type(0)
            if len(unit.change) > 0:
                at = place
                for _ in range(k):
                    amount += unit.change[row] * room.state[at]
                    at += n
                    row += n
            found.kick[n_active * k + i] = amount
    n_active += abs(d) < unit.b_th
    found.unit[n_spikes] = j
    room.place[n_spikes - before] = place
    n_spikes += fired
    return n_spikes, n_active
