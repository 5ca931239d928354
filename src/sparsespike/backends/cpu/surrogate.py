"""Surrogates on the CPU: g(V) and c = ε g(V) at the active entries, in one pass (eq. 8)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.kernels import own_slope
from sparsespike.compiling.compiled import compiled
from sparsespike.descriptions import (
    ATAN,
    BOXCAR,
    CIRCLE,
    EXPONENTIAL,
    FAST_SIGMOID,
    GAUSSIAN,
    LIF,
    SIGMOID,
    TRIANGLE,
    Dynamics,
)


def kernel(
    neuron: LIF | Dynamics, threshold: float, potential: Tensor, grad: Tensor, need_slope: bool
) -> Callable[[int, int], tuple[NDArray | None, NDArray]]:
    """Gives (g, ε g) of all active entries, once those from start to stop are asked for.

    Args:
        neuron: its surrogate.
        threshold: of all entries.
        potential: (n_active,) V.
        grad: (n_active,) ε.
        need_slope: whether g is wanted, else None comes for it.
    """
    shape = neuron.shape
    if shape is None:
        own = own_slope(neuron.slope, potential - threshold)
        arrays = own.numpy() if need_slope else None, (grad * own).numpy()
        return lambda start, stop: arrays
    v, upstream = potential.numpy(), grad.detach().numpy()
    slope, coefficient = np.empty_like(v) if need_slope else None, np.empty_like(v)
    as_v = v.dtype.type
    scale, peak, v_th = as_v(shape.scale), as_v(shape.peak), as_v(threshold)

    def of_range(start: int, stop: int) -> tuple[NDArray | None, NDArray]:
        coefficients(shape.kind, scale, peak, v_th, v, upstream, slope, coefficient, start, stop)
        return slope, coefficient

    return of_range


@compiled(error_model="numpy")
def coefficients(kind, scale, peak, v_th, potential, grad, slope, coefficient, start, stop):
    """Writes g and ε g at the active entries start:stop.

    Args:
        kind: which shape.
        scale: see `Shape`; this, `peak` and `v_th` in the potential's dtype.
        peak: see `Shape`.
        v_th: threshold.
        potential: (n_active,) V.
        grad: (n_active,) ε.
        slope: (n_active,), written: g; or None.
        coefficient: (n_active,), written: ε g.
        start: first entry.
        stop: one past the last entry.
    """
    one = scale / scale  # a literal would make float64 of float32
    zero = one - one
    half = one / (one + one)
    # Unsigned: an index that may be negative is tested in every turn, and keeps the loop out of vectors.
    begin, end = np.uint64(start), np.uint64(stop)
    if kind == FAST_SIGMOID:
        for k in range(begin, end):
            root = one / (abs(potential[k] - v_th) / scale + one)
            _put(peak * root * root, slope, coefficient, grad, k)
    elif kind == TRIANGLE:
        for k in range(begin, end):
            g = peak * max(zero, one - abs(potential[k] - v_th) / scale)
            _put(g, slope, coefficient, grad, k)
    elif kind == BOXCAR:
        for k in range(begin, end):
            g = peak if abs(potential[k] - v_th) / scale < one else zero
            _put(g, slope, coefficient, grad, k)
    elif kind == ATAN:
        for k in range(begin, end):
            x = (potential[k] - v_th) / scale
            _put(peak / (one + x * x), slope, coefficient, grad, k)
    elif kind == SIGMOID:
        for k in range(begin, end):
            tail = math.exp(-abs(potential[k] - v_th) / scale)
            _put(peak * tail / ((one + tail) * (one + tail)), slope, coefficient, grad, k)
    elif kind == GAUSSIAN:
        for k in range(begin, end):
            x = (potential[k] - v_th) / scale
            _put(peak * math.exp(-half * x * x), slope, coefficient, grad, k)
    elif kind == EXPONENTIAL:
        for k in range(begin, end):
            g = peak * math.exp(-abs(potential[k] - v_th) / scale)
            _put(g, slope, coefficient, grad, k)
    elif kind == CIRCLE:
        for k in range(begin, end):
            x = (potential[k] - v_th) / scale
            root = one / math.sqrt(one + x * x)
            _put(peak * root * root * root, slope, coefficient, grad, k)


@njit
def _put(g, slope, coefficient, grad, k):
    if slope is not None:
        slope[k] = g
    coefficient[k] = grad[k] * g
