"""`LIF` on the CPU: its three verbs, in the driver's scaled state, V - v_rest = scale * state."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import overload

from sparsespike.backends.cpu.simd import above, add_alone, lanes, load, lowered, store
from sparsespike.backends.cpu.verbs import INLINE, cut, fire, inject
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


@overload(fire, jit_options=INLINE)
def _fire(neuron, state, scale, factor, unit, n_spikes, active_unit, potential, value, n_active):
    if not _is_lif(neuron):
        return None

    def kernel(
        neuron, state, scale, factor, unit, n_spikes, active_unit, potential, value, n_active
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

    return kernel


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
