"""Dense layers to compare with: the same network (eq. 1-4, 8) as tensors (batch, time, unit).

Three of them, from the slowest to the best that plain PyTorch does:

    paper_loop   the paper's own: one GEMM, then `current[:, t]` in a loop. Autograd answers every slice
                 with a full B x T x N tensor, so backward costs O(T^2).
    clean_dense  the same with `unbind`, one `stack` at the end: linear in T. Claims rest on this one.
    fused_dense  backward by hand: GEMM, scan over time without autograd, two GEMMs.

All take spikes (B, T, N_in) with any strides and give (B, T, N_out). Time-major memory, the
transpose of a (T, B, N) tensor, is what `clean_dense` and `fused_dense` read and write without a
copy.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sparsespike.neurons.lif import LIF
from sparsespike.neurons.readout import Readout

# Elements that the fused backward handles at once: three float32 buffers of this size stay in 1 MB
# of L2. A GPU wants fewer and longer launches, and its L2 is some fifty times as large.
CHUNK, CHUNK_GPU = 65536, 2**22


def paper_loop(spikes: Tensor, weight: Tensor, neuron: LIF) -> Tensor:
    """One spiking layer as in the paper's dense baseline: slices `current[:, t]`, O(T^2) backward.

    Args:
        spikes: (B, T, N_in), 0 or 1, float.
        weight: (N_out, N_in).
        neuron: resets by subtraction, detached, v_rest = 0.

    Returns:
        (B, T, N_out), 0 or 1.

    Raises:
        ValueError: if `neuron` is another one.
    """
    _check(neuron)
    current = torch.einsum("bti,oi->bto", spikes, weight)
    potential = torch.zeros_like(current[:, 0])
    fired = [torch.zeros_like(potential)]
    for t in range(current.shape[1] - 1):
        reset = (neuron.v_th - neuron.v_reset) * fired[-1].detach()
        potential = neuron.alpha * potential + current[:, t] - reset
        fired.append(_spike(potential, neuron))
    return torch.stack(fired, 1)


def clean_dense(spikes: Tensor, weight: Tensor, neuron: LIF) -> Tensor:
    """One spiking layer by autograd, linear in T; arguments and result as in `paper_loop`."""
    _check(neuron)
    current = functional.linear(spikes.transpose(0, 1), weight).unbind(0)
    potential = torch.zeros_like(current[0])
    fired = [torch.zeros_like(potential)]
    for current_now in current[:-1]:  # the input of the last step reaches nothing
        potential = torch.add(current_now, potential, alpha=neuron.alpha)
        potential = torch.sub(potential, fired[-1].detach(), alpha=neuron.v_th - neuron.v_reset)
        fired.append(_spike(potential, neuron))
    return torch.stack(fired).transpose(0, 1)


def fused_dense(spikes: Tensor, weight: Tensor, neuron: LIF) -> Tensor:
    """One spiking layer with a backward by hand; arguments and result as in `paper_loop`."""
    _check(neuron)
    fired: Any = _FusedLayer.apply(spikes.transpose(0, 1), weight, neuron)
    return fired.transpose(0, 1)


DENSE_LAYERS = {
    "paper-loop": paper_loop,
    "clean-dense": clean_dense,
    "fused-dense": fused_dense,
}


def membrane(spikes: Tensor, weight: Tensor, neuron: LIF) -> tuple[Tensor, Tensor]:
    """Forward only, no gradient: potential V and spikes S, each (B, T, N_out)."""
    _check(neuron)
    with torch.no_grad():
        potential, fired = _scan(spikes.transpose(0, 1), weight, neuron)
    return potential.transpose(0, 1), fired.transpose(0, 1)


def dense_readout(spikes: Tensor, weight: Tensor, neuron: Readout) -> Tensor:
    """Leaky integrator for every dense method: (B, T, N_in) -> y (B, T, N_out).

        y[t+1] = alpha y[t] + (1 - alpha) sum_i S_i[t] W_i,   y[0] = 0

    Backward by hand for all of them, so that methods differ in their spiking layers only.
    """
    potential: Any = _FusedReadout.apply(spikes.transpose(0, 1), weight, neuron.alpha)
    return potential.transpose(0, 1)


def dense_activity(
    spikes: Tensor, *, upper: float, upper_weight: float, lower_weight: float
) -> Tensor:
    """`losses.activity` of dense spikes (B, T, N): a scalar."""
    count = spikes.sum(1)
    too_many = torch.relu(count.mean(1) - upper).mean()
    too_few = torch.relu(1e-3 - count).square().mean()
    return upper_weight * too_many + lower_weight * too_few


class _CutSpike(torch.autograd.Function):
    """S = V > v_th with the surrogate, zero outside the band, as derivative (eq. 4, 8)."""

    @staticmethod
    def forward(ctx: Any, potential: Tensor, neuron: LIF) -> Tensor:
        ctx.save_for_backward(potential)
        ctx.neuron = neuron
        return (potential > neuron.v_th).to(potential.dtype)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        return _cut_slope(ctx.saved_tensors[0], ctx.neuron).mul_(grad[0]), None


class _FusedLayer(torch.autograd.Function):
    """GEMM and scan forward; backward the scan of delta (Prop. 1), then two GEMMs (eq. 9, 12)."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, weight: Tensor, neuron: LIF) -> Tensor:
        potential, fired = _scan(spikes, weight, neuron)
        ctx.save_for_backward(spikes, weight, potential)
        ctx.neuron = neuron
        return fired

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        spikes, weight, potential = ctx.saved_tensors
        neuron: LIF = ctx.neuron
        grad_current = torch.empty_like(potential)
        chunk = CHUNK_GPU if potential.is_cuda else CHUNK
        n_step = max(1, chunk // max(1, potential[0].numel()))
        chunks = (tensor.split(n_step) for tensor in (potential, grad[0], grad_current))
        for potential_now, grad_now, coefficient in zip(*chunks, strict=True):
            torch.mul(_cut_slope(potential_now, neuron), grad_now, out=coefficient)
        return *_pull_back(ctx, spikes, weight, grad_current, neuron.alpha), None


class _FusedReadout(torch.autograd.Function):
    """GEMM and scan forward, scan and two GEMMs backward."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, weight: Tensor, alpha: float) -> Tensor:
        potential = _current(spikes, weight).mul_(1 - alpha)
        for before, now in pairwise(potential):
            now.add_(before, alpha=alpha)
        ctx.save_for_backward(spikes, weight)
        ctx.alpha = alpha
        return potential

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        spikes, weight = ctx.saved_tensors
        coefficient = grad[0].mul(1 - ctx.alpha)
        return *_pull_back(ctx, spikes, weight, coefficient, ctx.alpha), None


def _scan(spikes: Tensor, weight: Tensor, neuron: LIF) -> tuple[Tensor, Tensor]:
    """(T, B, N_in) -> V and S, each (T, B, N_out); V overwrites the currents in place."""
    potential = _current(spikes, weight)
    fired = torch.empty_like(potential)
    fired[0] = 0
    for t in range(1, len(potential)):
        potential[t].add_(potential[t - 1], alpha=neuron.alpha)
        potential[t].sub_(fired[t - 1], alpha=neuron.v_th - neuron.v_reset)
        torch.gt(potential[t], neuron.v_th, out=fired[t])
    return potential, fired


def _current(spikes: Tensor, weight: Tensor) -> Tensor:
    """(T, B, N_out): the input of step t - 1 at step t, zero at step 0."""
    n_step, n_batch, _ = spikes.shape
    current = spikes.new_empty(n_step, n_batch, len(weight))
    current[0] = 0
    torch.mm(spikes[:-1].flatten(0, 1), weight.t(), out=current[1:].flatten(0, 1))
    return current


def _pull_back(
    ctx: Any, spikes: Tensor, weight: Tensor, coefficient: Tensor, alpha: float
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of spikes and weight from c (T, B, N_out), which the scan of delta overwrites."""
    for t in range(len(coefficient) - 2, 0, -1):
        coefficient[t].add_(coefficient[t + 1], alpha=alpha)
    delta = coefficient[1:].flatten(0, 1)  # delta[t] is what reaches the potential of step t + 1
    grad_spikes = grad_weight = None
    if ctx.needs_input_grad[0]:
        grad_spikes = torch.empty_like(spikes, memory_format=torch.contiguous_format)
        grad_spikes[-1] = 0
        torch.mm(delta, weight, out=grad_spikes[:-1].flatten(0, 1))
    if ctx.needs_input_grad[1]:
        grad_weight = delta.t() @ spikes[:-1].flatten(0, 1)
    return grad_spikes, grad_weight


def _spike(potential: Tensor, neuron: LIF) -> Tensor:
    fired: Any = _CutSpike.apply(potential, neuron)
    return fired


def _cut_slope(potential: Tensor, neuron: LIF) -> Tensor:
    """g(V) where |V - v_th| < b_th, else 0 (eq. 7-8); a new tensor."""
    distance = potential - neuron.v_th
    slope = neuron.surrogate.slope(distance)
    return slope.mul_(distance.abs_() < neuron.b_th)


def _check(neuron: LIF) -> None:
    if neuron.reset != "subtract" or not neuron.detach_reset or neuron.v_rest != 0:
        raise ValueError(
            f'neuron: expected reset="subtract", detach_reset=True, v_rest=0, found {neuron}'
        )
