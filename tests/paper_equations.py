"""The paper, equations 1-4 and 7-12, as literal loops over numbers: a second oracle.

Perez-Nieves & Goodman, NeurIPS 2021, section 2, one sample, one layer. Nothing is clever and
nothing is shared with the library: W[i, j] goes from input i to neuron j as in the paper, time is
the first index, everything is a float64 NumPy array. The paper sets v_rest = 0, v_th = 1, v_r = 0
"without loss of generality"; here they stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Constants:
    """What the equations call alpha, V_th, V_r, V_rest and B_th."""

    alpha: float
    v_th: float = 1.0
    v_r: float = 0.0
    v_rest: float = 0.0
    b_th: float = 0.2


def f(v: float, v_th: float) -> float:
    """Eq. 4: the spiking function, used in eq. 1."""
    return 1.0 if v > v_th else 0.0


def forward(spikes_in: Array, weight: Array, constants: Constants) -> tuple[Array, Array]:
    """Eq. 1 and 2: V[t, j] and S[t, j] from S_in[t, i]; V[0] at rest, S[0] = 0."""
    steps, n_in = spikes_in.shape
    n_out = weight.shape[1]
    v, s = np.zeros((steps, n_out)), np.zeros((steps, n_out))
    v[0, :] = constants.v_rest
    for t in range(steps - 1):
        for j in range(n_out):
            v[t + 1, j] = constants.alpha * (v[t, j] - constants.v_rest) + constants.v_rest
            for i in range(n_in):
                v[t + 1, j] += spikes_in[t, i] * weight[i, j]
            v[t + 1, j] -= (constants.v_th - constants.v_r) * s[t, j]
            s[t + 1, j] = f(v[t + 1, j], constants.v_th)
    return v, s


def input_trace(spikes_in: Array, alpha: float) -> Array:
    """The input trace of eq. 5 and 9: trace[t, i] = sum over k < t of alpha^(t-k-1) S_i[k]."""
    steps, n_in = spikes_in.shape
    trace = np.zeros((steps, n_in))
    for t in range(steps):
        for i in range(n_in):
            for k in range(t):
                trace[t, i] += alpha ** (t - k - 1) * spikes_in[k, i]
    return trace


def unrolled(spikes_in: Array, spikes_out: Array, weight: Array, constants: Constants) -> Array:
    """Eq. 3: V[t, j] from input trace and resetting term, for v_rest = 0."""
    trace_in = input_trace(spikes_in, constants.alpha)
    trace_out = input_trace(spikes_out, constants.alpha)
    steps, n_out = spikes_out.shape
    v = np.zeros((steps, n_out))
    for t in range(steps):
        for j in range(n_out):
            for i in range(spikes_in.shape[1]):
                v[t, j] += trace_in[t, i] * weight[i, j]
            v[t, j] -= (constants.v_th - constants.v_r) * trace_out[t, j]
    return v


def active(v: Array, constants: Constants) -> NDArray[np.bool_]:
    """Eq. 7; V[0] is a constant and never active."""
    found = np.zeros(v.shape, dtype=bool)
    for t in range(1, v.shape[0]):
        for j in range(v.shape[1]):
            found[t, j] = abs(v[t, j] - constants.v_th) < constants.b_th
    return found


def spike_gradient(v: Array, constants: Constants, g: Callable[[float], float]) -> Array:
    """Eq. 8: dS/dV, g(V - V_th) where active, else 0."""
    is_active = active(v, constants)
    slope = np.zeros(v.shape)
    for t in range(v.shape[0]):
        for j in range(v.shape[1]):
            if is_active[t, j]:
                slope[t, j] = g(v[t, j] - constants.v_th)
    return slope


def weight_gradient(epsilon: Array, slope: Array, spikes_in: Array, alpha: float) -> Array:
    """Eq. 9 and 10: grad_W[i, j], summed over the steps at which j is active."""
    trace = input_trace(spikes_in, alpha)
    grad = np.zeros((spikes_in.shape[1], epsilon.shape[1]))
    for t in range(epsilon.shape[0]):
        for j in range(epsilon.shape[1]):
            if slope[t, j] != 0:
                for i in range(spikes_in.shape[1]):
                    grad[i, j] += epsilon[t, j] * slope[t, j] * trace[t, i]
    return grad


def delta_by_definition(epsilon: Array, slope: Array, alpha: float) -> Array:
    """The bracket of eq. 6: delta[t, j] = sum over k > t of grad_S[k] dS/dV[k] alpha^(k-t-1)."""
    steps, n_out = epsilon.shape
    delta = np.zeros((steps, n_out))
    for t in range(steps):
        for j in range(n_out):
            for k in range(t + 1, steps):
                delta[t, j] += epsilon[k, j] * slope[k, j] * alpha ** (k - t - 1)
    return delta


def delta_by_recurrence(epsilon: Array, slope: Array, alpha: float) -> Array:
    """Eq. 11 (Proposition 1): alpha^n over a gap of n steps without dS/dV."""
    steps, n_out = epsilon.shape
    delta = np.zeros((steps, n_out))
    for j in range(n_out):
        for t in range(steps - 2, -1, -1):
            n = 1
            while t + n < steps - 1 and slope[t + n + 1, j] == 0:
                n += 1  # dS/dV = 0 for t + 1 < k <= t + n
            delta[t, j] = alpha**n * delta[t + n, j]
            if slope[t + 1, j] != 0:
                delta[t, j] += epsilon[t + 1, j] * slope[t + 1, j]
    return delta


def input_gradient(delta: Array, weight: Array, active_in: NDArray[np.bool_]) -> Array:
    """Eq. 12: grad_S of the layer below, at its active entries."""
    grad = np.zeros((delta.shape[0], weight.shape[0]))
    for t in range(delta.shape[0]):
        for i in range(weight.shape[0]):
            if active_in[t, i]:
                for j in range(weight.shape[1]):
                    grad[t, i] += weight[i, j] * delta[t, j]
    return grad
