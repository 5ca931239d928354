"""Van Rossum's distance between spike trains, from their events alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sparsespike.losses.trains import Trains, active_trains, check_trains, seconds, trains
from sparsespike.spikes.spikes import Spikes


def van_rossum(spikes: Spikes, target: Spikes, tau: float, dt: float) -> Tensor:
    """Squared van Rossum distance between a layer's spikes and target spikes.

        D^2 = 1 / tau  integral_0^inf (f(t) - g(t))^2 dt,    f(t) = sum_k H(t - t_k) exp(-(t - t_k) / tau)

    with t_k the spikes of one neuron in one sample, g the same of its target; summed over neurons, mean over
    samples. A spike too many or too few costs 1/2, one moved by far more than tau costs 1. (M. C. W. van
    Rossum, A novel spike distance, Neural Computation 13(4), 2001, eq. 1-3.) Integrated, with signs s_k, 1 of
    a spike and -1 of a target,

        D^2       = 1/2 sum_k sum_l s_k s_l exp(-|t_k - t_l| / tau)
        dD^2/ds_k = sum_l s_l exp(-|t_k - t_l| / tau)

    so that the gradient at an active entry, spike or not, is what a spike there changes, to first order. Both
    are sums over the events before and after, found by a scan over sorted events: O(n log n) for n spikes,
    targets and active entries; nothing of size (B, T, N) is made.

    Args:
        spikes: (B, T, N) of a spiking layer.
        target: (B, T, N), as long as they are.
        tau: time constant of the filter, seconds, > 0: how far apart spikes may be that still count as near.
        dt: time step, seconds, > 0.

    Returns:
        Scalar, of the dtype of `spikes.value`.

    Raises:
        ValueError: if these are no spikes, of other shapes or devices, or a number is not finite and > 0.
    """
    check_trains("spikes", spikes)
    check_trains("target", target)
    if (target.shape, target.device) != (spikes.shape, spikes.device):
        expected = f"{spikes.shape} on {spikes.device}"
        raise ValueError(f"target: expected {expected}, found {target.shape} on {target.device}")
    tau, dt = seconds("tau", tau), seconds("dt", dt)
    own = trains(spikes.storage.entry(spikes.shape), spikes.shape)
    wanted = trains(target.storage.entry(spikes.shape), spikes.shape)
    return _VanRossum.apply(
        spikes.value, own, wanted, active_trains(spikes), spikes.shape, dt / tau
    )


class _VanRossum(torch.autograd.Function):
    """The distance, and its derivative by the spikes at active entries."""

    @staticmethod
    def forward(
        ctx: Any,
        value: Tensor,
        own: Trains,
        wanted: Trains,
        active: Trains,
        shape: tuple[int, int, int],
        rate: float,
    ) -> Tensor:
        parts = own, wanted, active
        neuron = torch.cat([part.neuron for part in parts])
        step = torch.cat([part.step for part in parts])
        sign = value.new_zeros(len(neuron))  # active entries only look
        sign[: len(own.step)] = 1
        sign[len(own.step) : len(own.step) + len(wanted.step)] = -1
        order = torch.argsort(neuron * shape[1] + step, stable=True)
        neuron, step, sign = neuron[order], step[order], sign[order]
        before = _scan(neuron, step, sign, rate)
        after = _scan(neuron.flip(0), -step.flip(0), sign.flip(0), rate).flip(0)
        felt = torch.empty_like(sign)
        felt[order] = before + after - sign  # each event sees itself once
        n = len(own.step) + len(wanted.step)
        ctx.save_for_backward(felt[n:] / max(1, shape[0]))
        signed = torch.zeros_like(sign)
        signed[order] = sign
        # Not `@`, which autocast computes in 16 bits.
        return torch.dot(signed[:n], felt[:n]) / (2 * max(1, shape[0]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        (felt,) = ctx.saved_tensors
        return grad * felt, None, None, None, None, None


def _scan(neuron: Tensor, step: Tensor, sign: Tensor, rate: float) -> Tensor:
    """sum_{l <= k} sign_l exp(-rate (step_k - step_l)) over the events l of the same neuron, at each k.

    Sums of twice as many events at a time, so that no exponential grows, however long the recording.

    Args:
        neuron: (n,) int64, sorted.
        step: (n,) int64, ascending within a neuron.
        sign: (n,).
        rate: dt / tau.
    """
    total = sign.clone()
    reach = 1
    while reach < len(neuron):
        alike = neuron[reach:] == neuron[:-reach]
        if not bool(alike.any()):
            break
        gap = (step[reach:] - step[:-reach]).to(sign.dtype)
        share = torch.where(alike, torch.exp(-rate * gap.clamp(min=0)), 0.0)
        total = torch.cat([total[:reach], total[reach:] + share * total[:-reach]])
        reach *= 2
    return total
