"""`Readout` on the GPU: currents -> y, and the gradient of y -> δ; a thread owns a unit."""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl

from sparsespike.descriptions import Readout


@lru_cache(maxsize=256)
def constants(neuron: Readout, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """alpha, 1 - alpha."""
    numbers = torch.tensor((neuron.alpha, 1.0 - neuron.alpha), dtype=torch.float64)
    return numbers.to(dtype).to(device)


@triton.jit(do_not_specialize=["first", "words", "steps"])
def integrate(
    current_p,
    state_p,
    constant_p,
    potential_p,
    first,
    words,
    steps,
    N,
    UNITS: tl.constexpr,
):
    """y[t+1] = α y[t] + (1 - α) I[t] over the words first : first + words (eq. 5).

    Args:
        current_p: (B, words * 32, N).
        state_p: (B, N) y at the first step; overwritten by y after the last.
        constant_p: (2,) see `constants`.
        potential_p: (B, steps, N), written.
        first: first word.
        words: words of this segment.
        steps: T.
        N: units.
    """
    b = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    inside = n < N
    alpha, gain = tl.load(constant_p), tl.load(constant_p + 1)
    y = tl.load(state_p + b * N + n, mask=inside, other=0.0)
    x_p = current_p + b * words * 32 * N + n
    y_p = potential_p + (b * steps + first * 32) * N + n
    for _ in range(0, tl.minimum(words * 32, steps - first * 32)):
        tl.store(y_p, y, mask=inside)
        y = alpha * y + gain * tl.load(x_p, mask=inside, other=0.0)
        x_p += N
        y_p += N
    tl.store(state_p + b * N + n, y, mask=inside)


@triton.jit(do_not_specialize=["first", "words", "steps"])
def integrate_back(
    grad_p,
    state_p,
    constant_p,
    delta_p,
    first,
    words,
    steps,
    N,
    UNITS: tl.constexpr,
):
    """Gradient wrt the currents, δ[t] = (1 - α) a[t+1] with a[t] = grad[t] + α a[t+1].

    Args:
        grad_p: (B, steps, N) gradient of the potential.
        state_p: (B, N) a one step after the segment; overwritten by a at its first step.
        constant_p: (2,) see `constants`.
        delta_p: (B, words * 32, N), written.
        first, words, steps, N: see `integrate`.
    """
    b = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    inside = n < N
    alpha, gain = tl.load(constant_p), tl.load(constant_p + 1)
    a = tl.load(state_p + b * N + n, mask=inside, other=0.0)
    for i in range(0, words * 32):
        t = words * 32 - 1 - i
        to_p = delta_p + (b * words * 32 + t) * N + n
        tl.store(to_p, (gain * a).to(delta_p.dtype.element_ty), mask=inside)
        exists = first * 32 + t < steps
        grad_at = (b * steps + first * 32 + t) * N + n
        a = alpha * a + tl.load(grad_p + grad_at, mask=inside & exists, other=0.0)
    tl.store(state_p + b * N + n, a, mask=inside)
