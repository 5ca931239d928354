"""`LIF` on the CPU: its three verbs, in the driver's scaled state, V - v_rest = scale * state."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from sparsespike.backends.cpu.simd import above, add_alone, lanes, load, lowered, store
from sparsespike.backends.cpu.sites import LAST, ONE, SIX, touch_all
from sparsespike.backends.cpu.sites import ZERO as NOTHING
from sparsespike.backends.cpu.verbs import INLINE, cut, fire, inject
from sparsespike.compiling.compiled import compiled
from sparsespike.spikes.bits import lowest_bit

SUBTRACT, ZERO, NONE = 0, 1, 2


class LIFConstants(NamedTuple):
    """A `LIF` as kernels take it; potentials relative to v_rest, all in the weights' dtype.

    Attributes:
        alpha: leak factor of one step.
        v_th: threshold.
        b_th: half-width of the active band.
        v_reset: where the reset "zero" puts V.
        jump: what the reset "subtract" takes from V.
        v_rest: added to the potentials that are kept.
        floor: what the threshold scan looks above: the band's lower edge, less rounding.
        reset: SUBTRACT, ZERO or NONE.
        attached: whether the reset is differentiated.
    """

    alpha: np.floating
    v_th: np.floating
    b_th: np.floating
    v_reset: np.floating
    jump: np.floating
    v_rest: np.floating
    floor: np.floating
    reset: int
    attached: bool


def _is_lif(neuron) -> bool:
    return getattr(neuron, "instance_class", None) is LIFConstants


@njit(**INLINE)
def _list(word, at, neuron, state, scale, unit, n_spikes, active_unit, potential, value, n_active):
    """Appends the neurons whose bit is set in `word`, counted from `at`, where they fire or are active."""
    while word:
        j = at + lowest_bit(word)
        word &= word - np.uint64(1)
        v = state[j] * scale
        distance = v - neuron.v_th
        fired = distance > 0
        # Written in any case, kept by counting on: a branch here would be mispredicted often.
        active_unit[n_active] = j
        potential[n_active] = v + neuron.v_rest
        value[n_active] = fired
        n_active += abs(distance) < neuron.b_th
        unit[n_spikes] = j
        n_spikes += fired
        if fired and neuron.reset == ZERO:
            add_alone(state, j, neuron.v_reset / scale - state[j])
    return n_spikes, n_active


@compiled
def scan(state, level, size, shift, mark, found):
    """Finds the neurons above `level` at the marked sites, which alone stay marked; how many."""
    width, n = lanes(state), np.uint64(0)
    for g in range(np.uint64(len(mark))):
        marks, near = mark[g], NOTHING
        while marks:
            bit = np.uint64(lowest_bit(marks))
            marks &= marks - ONE
            site = (g << SIX) + bit
            base, at, n_before = site * size, np.uint64(0), n
            while at < size:
                word, n_bits = above(load(state, base + at), level), np.uint64(width)
                if at + np.uint64(4 * width) <= size:  # four blocks to a test
                    for k in range(1, 4):
                        block = load(state, base + at + np.uint64(k * width))
                        word |= above(block, level) << np.uint64(k * width)
                    n_bits = np.uint64(4 * width)
                key = (site << shift) + at
                for _ in range(2):  # written in any case: a branch here would be mispredicted often
                    found[n] = key + np.uint64(lowest_bit(word | LAST))
                    n += np.uint64(word > 0)
                    word &= word - ONE
                while word:
                    found[n] = key + np.uint64(lowest_bit(word))
                    n += ONE
                    word &= word - ONE
                at += n_bits
            near |= np.uint64(n > n_before) << bit
        mark[g] = near
    return n


@compiled
def sort(n, channels, shift, found, due, count):
    """The first n neurons found, by channel and then by site, which is their order in the layer."""
    mask = np.uint32((ONE << shift) - ONE)
    for k in range(n):
        count[found[k] & mask] += np.uint32(1)
    total = np.uint32(0)
    for channel in range(channels):
        here = count[channel]
        count[channel] = total
        total += here
    for k in range(n):
        channel = found[k] & mask
        due[count[channel]] = found[k]
        count[channel] += np.uint32(1)
    for channel in range(channels):
        count[channel] = 0


@compiled
def _list_due(
    due,
    n,
    per_site,
    per_channel,
    size,
    shift,
    neuron,
    state,
    scale,
    jump,
    unit,
    n_spikes,
    active_unit,
    potential,
    value,
    n_active,
):
    """Appends the first n neurons due where they fire or are active, and resets them."""
    mask = (ONE << shift) - ONE
    n_spikes, n_active = np.uint64(n_spikes), np.uint64(n_active)
    for k in range(n):
        key = np.uint64(due[k])
        channel, site = key & mask, key >> shift
        place, j = site * size + channel, channel * per_channel + site * per_site
        now = state[place]
        v = now * scale
        distance = v - neuron.v_th
        fired = distance > 0
        active_unit[n_active] = j
        potential[n_active] = v + neuron.v_rest
        value[n_active] = fired
        n_active += np.uint64(abs(distance) < neuron.b_th)
        unit[n_spikes] = j
        n_spikes += np.uint64(fired)
        # No wide load comes soon enough to wait for these.
        if neuron.reset == ZERO:
            state[place] = neuron.v_reset / scale if fired else now
        elif neuron.reset == SUBTRACT:
            state[place] = now - jump if fired else now
    return np.int64(n_spikes), np.int64(n_active)


@overload(fire, jit_options=INLINE)
def _fire(
    neuron, state, scale, factor, unit, n_spikes, active_unit, potential, value, n_active, sites
):
    if not _is_lif(neuron):
        return None

    def of_sites(
        neuron, state, scale, factor, unit, n_spikes, active_unit, potential, value, n_active, sites
    ):
        if sites.whole:
            touch_all(sites)
        size, shift = sites.size, sites.shift
        n = scan(state, neuron.floor * factor, size, shift, sites.mark, sites.found)
        due = sites.found
        if not sites.in_a_row:  # else they are found in their order
            due = sites.due
            sort(n, sites.channels, shift, sites.found, due, sites.count)
        n_spikes, n_active = _list_due(
            due,
            n,
            sites.per_site,
            sites.per_channel,
            size,
            shift,
            neuron,
            state,
            scale,
            neuron.jump * factor / neuron.alpha,
            unit,
            n_spikes,
            active_unit,
            potential,
            value,
            n_active,
        )
        return n_spikes, n_active, n > 0

    def kernel(
        neuron, state, scale, factor, unit, n_spikes, active_unit, potential, value, n_active, sites
    ):
        level = neuron.floor * factor
        # Due in the next step, when scale has lost an alpha.
        jump = neuron.jump * factor / neuron.alpha
        n, width = state.shape[0], lanes(state)
        before, at = n_active + n_spikes, 0
        while at < n:
            word, n_bits = above(load(state, at), level), width
            if at + 4 * width <= n:  # four blocks to a test
                for k in range(1, 4):
                    word |= above(load(state, at + k * width), level) << np.uint64(k * width)
                n_bits = 4 * width
            if word:
                spikes_before = n_spikes
                n_spikes, n_active = _list(
                    word,
                    at,
                    neuron,
                    state,
                    scale,
                    unit,
                    n_spikes,
                    active_unit,
                    potential,
                    value,
                    n_active,
                )
                if neuron.reset == SUBTRACT and n_spikes > spikes_before:
                    for k in range(at, at + n_bits, width):
                        store(state, k, lowered(load(state, k), scale, neuron.v_th, jump))
            at += n_bits
        return n_spikes, n_active, n_active + n_spikes > before

    return kernel if isinstance(sites, types.NoneType) else of_sites


@overload(inject, jit_options=INLINE)
def _inject(neuron, delta, scale, unit, start, stop, potential, slope, coefficient):
    if not _is_lif(neuron):
        return None

    def kernel(neuron, delta, scale, unit, start, stop, potential, slope, coefficient):
        # c = g (ε + δ[t+1] dV[t+2]/dS[t+1])
        if slope is not None:  # the reset is differentiated
            for k in range(start, stop):
                if neuron.reset == SUBTRACT:
                    kick = -neuron.jump
                else:
                    kick = neuron.alpha * (neuron.v_reset - (potential[k] - neuron.v_rest))
                coefficient[k] += slope[k] * kick * delta[unit[k]] * scale

    return kernel


@overload(cut, jit_options=INLINE)
def _cut(neuron, delta, unit, offset, row):
    if not _is_lif(neuron):
        return None

    def kernel(neuron, delta, unit, offset, row):
        if neuron.reset == ZERO:
            for k in range(offset[row], offset[row + 1]):
                add_alone(delta, unit[k], -delta[unit[k]])

    return kernel
