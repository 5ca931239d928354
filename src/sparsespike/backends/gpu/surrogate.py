"""Surrogates on the GPU: g(V) and c = ε g(V) at the active entries, in one pass (eq. 8)."""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsespike import descriptions
from sparsespike.backends.kernels import own_slope
from sparsespike.descriptions import LIF, Dynamics

BLOCK = 1024
FAST_SIGMOID = tl.constexpr(descriptions.FAST_SIGMOID)
TRIANGLE = tl.constexpr(descriptions.TRIANGLE)
BOXCAR = tl.constexpr(descriptions.BOXCAR)
ATAN = tl.constexpr(descriptions.ATAN)
SIGMOID = tl.constexpr(descriptions.SIGMOID)
EXPONENTIAL = tl.constexpr(descriptions.EXPONENTIAL)
CIRCLE = tl.constexpr(descriptions.CIRCLE)


def coefficients(
    neuron: LIF | Dynamics, potential: Tensor, v_th: float, grad: Tensor, need_slope: bool
) -> tuple[Tensor, Tensor]:
    """(g, ε g) at the active entries; without `need_slope` g comes empty.

    Args:
        neuron: its surrogate.
        potential: (n_active,) V.
        v_th: the threshold that all have.
        grad: (n_active,) ε.
        need_slope: whether g is wanted.
    """
    shape = neuron.shape
    if shape is None:
        slope = own_slope(neuron.slope, potential - v_th)
        return slope, grad * slope
    coefficient = torch.empty_like(potential)
    slope = torch.empty_like(potential) if need_slope else potential.new_empty(0)
    scale_by_slope[(triton.cdiv(len(potential), BLOCK),)](
        potential,
        grad,
        slope,
        coefficient,
        _constants(v_th, shape.scale, shape.peak, potential.dtype, potential.device),
        len(potential),
        KIND=shape.kind,
        NEED_SLOPE=need_slope,
        BLOCK=BLOCK,
    )
    return slope, coefficient


@lru_cache(maxsize=256)
def _constants(
    v_th: float, scale: float, peak: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """v_th, 1 / scale, peak."""
    return torch.tensor((v_th, 1 / scale, peak), dtype=torch.float64).to(dtype).to(device)


@triton.jit(do_not_specialize=["n_active"])
def scale_by_slope(
    potential_p,
    grad_p,
    slope_p,
    coefficient_p,
    constant_p,
    n_active,
    KIND: tl.constexpr,
    NEED_SLOPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """slope = g(potential), coefficient = grad * g; constant_p: (3,) see `_constants`."""
    v_th, steepness, peak = tl.load(constant_p), tl.load(constant_p + 1), tl.load(constant_p + 2)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n_active
    x = tl.abs(tl.load(potential_p + at, mask=inside, other=0.0) - v_th) * steepness
    if KIND == FAST_SIGMOID:
        root = 1.0 / (x + 1.0)
        g = peak * root * root
    elif KIND == TRIANGLE:
        g = peak * tl.maximum(1.0 - x, 0.0)
    elif KIND == BOXCAR:
        g = tl.where(x < 1.0, peak, 0.0).to(x.dtype)
    elif KIND == ATAN:
        g = peak / (1.0 + x * x)
    elif KIND == SIGMOID:
        tail = tl.exp(-x)
        g = peak * tail / ((1.0 + tail) * (1.0 + tail))
    elif KIND == EXPONENTIAL:
        g = peak * tl.exp(-x)
    elif KIND == CIRCLE:
        root = 1.0 / tl.sqrt(1.0 + x * x)
        g = peak * root * root * root
    else:
        g = peak * tl.exp(-0.5 * x * x)
    if NEED_SLOPE:
        tl.store(slope_p + at, g, mask=inside)
    tl.store(coefficient_p + at, tl.load(grad_p + at, mask=inside, other=0.0) * g, mask=inside)
