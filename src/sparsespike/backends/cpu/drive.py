"""The walk of a spiking layer over time, forward over events.

The leak is lazy: a state vector is kept as V = scale * state, so that one step of leak is one
multiplication of `scale`, and a step without events costs nothing per neuron. `scale` is folded into the
state before it gets small. A walk takes a range of samples, needs no lock, and runs in several
threads on ranges of their own (`threads.py`). The walks back are in `adjoint.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from sparsespike.backends.cpu.sites import rest, touch_all
from sparsespike.backends.cpu.verbs import arrive, bring_in, fire
from sparsespike.compiling.compiled import compiled

CAPACITY = 2**20  # entries that a list starts with at most: 1/32 of all, then twice as many, ...
SMALLEST_SCALE = np.float32(2.0**-24)  # below it, `scale` is folded into the state


@njit(forceinline=True)
def fold(state, scale):
    """state *= scale, the new scale being 1."""
    for j in range(state.shape[0]):
        state[j] *= scale


@compiled
def forward(
    terms,
    neuron,
    steps,
    first,
    last,
    n_out,
    driven,
    state,
    sites,
    given,
    ends,
    out_offset,
    active_offset,
):
    """Runs samples first:last of a spiking layer (eq. 1-4, 7).

    Args:
        terms: kernel forms of the connections and their input events (`terms.py`).
        neuron: kernel form of the neuron.
        steps: T.
        first: first sample.
        last: one past the last sample.
        n_out: neurons of the layer.
        driven: whether a step without events can bring a neuron into the band (a bias does).
        state: (n,), the neurons at their places, padded to whole blocks, -inf; its dtype is the layer's.
        sites: where the neurons lie (`sites.py`), or None: side by side.
        given: (B, n + 1), what each sample starts from, `state` and then its scale; (0, n + 1): at rest.
        ends: (B, n + 1), written: the same after the last step; (0, n + 1) where nobody asked. With None for
            both, no state comes or goes, and what would be there for it is not compiled.
        out_offset: (B*T + 1,) written for rows first*T + 1 ... last*T, counted from 0 in this range.
        active_offset: (B*T + 1,) the same for the active entries.

    Returns:
        This range's spikes (n_spikes,), active units, potentials and values (n_active,).
    """
    capacity = n_out + min(CAPACITY, (last - first) * steps * n_out // 32)
    out_unit = np.empty(capacity, np.uint32)
    active_unit = np.empty(capacity, np.uint32)
    potential = np.empty(capacity, state.dtype)
    value = np.empty(capacity, state.dtype)
    at = Position(first, 0, 0, 0, neuron.alpha / neuron.alpha, driven)
    while True:
        at = _walk(
            terms,
            neuron,
            steps,
            last,
            n_out,
            driven,
            state,
            sites,
            given,
            ends,
            at,
            out_unit,
            out_offset,
            active_unit,
            active_offset,
            potential,
            value,
        )
        if at.sample == last:
            break
        if at.n_spikes + n_out > len(out_unit):
            out_unit = _grown(out_unit, at.n_spikes)
        if at.n_active + n_out > len(active_unit):
            active_unit = _grown(active_unit, at.n_active)
            potential = _grown(potential, at.n_active)
            value = _grown(value, at.n_active)
    n = at.n_active
    return out_unit[: at.n_spikes], active_unit[:n], potential[:n], value[:n]


class Position(NamedTuple):
    """Where a forward walk stands.

    Attributes:
        sample: which sample is next.
        step: which of its steps; T: what comes after the last.
        n_spikes: spikes listed so far.
        n_active: active entries listed so far.
        scale: V = scale * state.
        near: whether a neuron is in the band or above.
    """

    sample: int
    step: int
    n_spikes: int
    n_active: int
    scale: np.floating
    near: bool


@compiled(borrows=True)
def _walk(
    terms,
    neuron,
    steps,
    last,
    n_out,
    driven,
    state,
    sites,
    given,
    ends,
    at,
    out_unit,
    out_offset,
    active_unit,
    active_offset,
    potential,
    value,
):
    """Walks from `at` to the sample `last`, or to where the lists may be too short for another step."""
    sample, step, n_spikes, n_active, scale, near = at
    one = neuron.alpha / neuron.alpha
    n = state.shape[0]
    row = sample * steps + step
    while sample < last:
        if step == steps and (ends is None or len(ends) == 0):
            sample += 1  # the input of the last step reaches nothing
            step = 0
            continue
        if n_spikes + n_out > len(out_unit) or n_active + n_out > len(active_unit):
            break
        if step == 0 and (given is None or len(given) == 0):  # at rest, nothing fires
            rest(state, n_out, sites)
            scale = one
            near = driven
        else:
            if given is not None and step == 0:
                for j in range(n):
                    state[j] = given[sample, j]
                scale = given[sample, n]
                touch_all(sites)
                looks = True
            else:
                scale *= neuron.alpha
                if scale < SMALLEST_SCALE:
                    fold(state, scale)
                    scale = one
                looks = near or arrive(terms, row - 1)
                if looks:
                    bring_in(terms, state, row - 1, one / scale, sites)
            if looks and (ends is None or step < steps):
                n_spikes, n_active, near = fire(
                    neuron,
                    state,
                    scale,
                    one / scale,
                    out_unit,
                    n_spikes,
                    active_unit,
                    potential,
                    value,
                    n_active,
                    sites,
                )
                near = near or driven
        if ends is not None and step == steps:
            for j in range(n):
                ends[sample, j] = state[j]
            ends[sample, n] = scale
            sample += 1
            step = 0
            continue
        row += 1
        step += 1
        out_offset[row], active_offset[row] = n_spikes, n_active
    return Position(sample, step, n_spikes, n_active, scale, near)


@compiled
def _grown(old, used):
    """A list twice as long, with the first `used` entries of the old one."""
    new = np.empty(2 * len(old), old.dtype)
    for k in range(used):  # a slice would take Numba four seconds, to compile its error messages
        new[k] = old[k]
    return new
