"""Dense layers to compare with: the same network (eq. 1-4, 8) as tensors (batch, time, *unit_shape).

Three of them, from the slowest to the fastest:

    paper_loop   the paper's own: all currents at once, then `current[:, t]` in a loop. Autograd answers every
                 slice with a full B x T x N tensor, so backward costs O(T^2).
    clean_dense  the same with `unbind`, one `stack` at the end: linear in T. Claims rest on this one.
    fused_dense  backward by hand, and one pass for the neuron each way: `fused.py`.

Currents are one matrix product, or one convolution of T x B images. All take spikes with any strides;
`dense.py` has the layout that they read and write without a copy.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from sparsespike.bench.dense import Synapses, current, flattened
from sparsespike.bench.fused import (
    check_neuron,
    cut_slope,
    fused_dense,
    leak_back,
    pull_back,
    scan,
)
from sparsespike.descriptions import Linear
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.readout import Readout


def paper_loop(spikes: Tensor, weight: Tensor, neuron: LIF, synapses: Synapses) -> Tensor:
    """One spiking layer as in the paper's dense baseline: slices `current[:, t]`, O(T^2) backward.

    Args:
        spikes: (B, T, *in_shape), 0 or 1, float.
        weight: of the connection.
        neuron: resets by subtraction, detached, v_rest = 0.
        synapses: what the weight means.

    Returns:
        (B, T, *unit_shape), 0 or 1.

    Raises:
        ValueError: if `neuron` is another one.
    """
    check_neuron(neuron)
    given = current(spikes.transpose(0, 1), weight, synapses).transpose(0, 1)
    potential = torch.zeros_like(given[:, 0])
    fired = [torch.zeros_like(potential)]
    for t in range(given.shape[1] - 1):
        reset = (neuron.v_th - neuron.v_reset) * fired[-1].detach()
        potential = neuron.alpha * potential + given[:, t] - reset
        fired.append(_spike(potential, neuron))
    return torch.stack(fired, 1)


def clean_dense(spikes: Tensor, weight: Tensor, neuron: LIF, synapses: Synapses) -> Tensor:
    """One spiking layer by autograd, linear in T; arguments and result as in `paper_loop`."""
    check_neuron(neuron)
    given = current(spikes.transpose(0, 1), weight, synapses).unbind(0)
    potential = torch.zeros_like(given[0])
    fired = [torch.zeros_like(potential)]
    for current_now in given[:-1]:  # the input of the last step reaches nothing
        potential = torch.add(current_now, potential, alpha=neuron.alpha)
        potential = torch.sub(potential, fired[-1].detach(), alpha=neuron.v_th - neuron.v_reset)
        fired.append(_spike(potential, neuron))
    return torch.stack(fired).transpose(0, 1)


DENSE_LAYERS = {
    "paper-loop": paper_loop,
    "clean-dense": clean_dense,
    "fused-dense": fused_dense,
}


def membrane(
    spikes: Tensor, weight: Tensor, neuron: LIF, synapses: Synapses
) -> tuple[Tensor, Tensor]:
    """Forward only, no gradient: potential V and spikes S, each (B, T, *unit_shape)."""
    check_neuron(neuron)
    later, fired = scan(spikes.transpose(0, 1), weight, neuron, synapses)
    potential = torch.cat((torch.zeros_like(later[:1]), later[:-1]))
    return potential.transpose(0, 1), fired.transpose(0, 1)


def dense_readout(spikes: Tensor, weight: Tensor, neuron: Readout) -> Tensor:
    """Leaky integrator for every dense method: (B, T, *in_shape) -> y (B, T, N_out).

        y[t+1] = alpha y[t] + (1 - alpha) sum_i S_i[t] W_i,   y[0] = 0

    Backward by hand for all of them, so that methods differ in their spiking layers only.
    """
    given, turned = flattened(spikes.transpose(0, 1), weight)
    potential: Any = _FusedReadout.apply(given, turned, neuron.alpha)
    return potential.transpose(0, 1)


def dense_activity(
    spikes: Tensor, *, upper: float, upper_weight: float, lower_weight: float
) -> Tensor:
    """`losses.activity` of dense spikes (B, T, *unit_shape): a scalar."""
    count = spikes.sum(1)
    too_many = torch.relu(count.flatten(1).mean(1) - upper).mean()
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
        return cut_slope(ctx.saved_tensors[0], ctx.neuron).mul_(grad[0]), None


class _FusedReadout(torch.autograd.Function):
    """Product and scan forward, scan and two products backward."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, weight: Tensor, alpha: float) -> Tensor:
        n_step, n_batch, n_in = spikes.shape
        ctx.synapses = Linear(n_in, len(weight))
        potential = spikes.new_empty(n_step, n_batch, len(weight))
        potential[0] = 0
        potential[1:] = current(spikes[:-1], weight, ctx.synapses)
        potential.mul_(1 - alpha)
        for before, now in pairwise(potential):
            now.add_(before, alpha=alpha)
        ctx.save_for_backward(spikes, weight)
        ctx.alpha = alpha
        return potential

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        spikes, weight = ctx.saved_tensors
        # delta[t] is what reaches the input of step t: the gradient of step t + 1, and what is later.
        delta = torch.empty_like(grad[0], memory_format=torch.contiguous_format)
        delta[-1] = 0
        torch.mul(grad[0][1:], 1 - ctx.alpha, out=delta[:-1])
        leak_back(delta, ctx.alpha)
        return *pull_back(ctx, spikes, weight, delta, ctx.synapses), None


def _spike(potential: Tensor, neuron: LIF) -> Tensor:
    fired: Any = _CutSpike.apply(potential, neuron)
    return fired
