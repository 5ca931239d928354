"""Losses on when neurons spike first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sparsespike.losses.classes import checked_label
from sparsespike.losses.trains import Trains, active_trains, check_trains, seconds, trains
from sparsespike.spikes.spikes import Spikes


def first_spike(spikes: Spikes) -> Tensor:
    """(B, N): the step of each neuron's first spike, as float; T where it is silent.

    As a function of the spikes S[0], ..., S[T-1] of a neuron it is

        t_1 = sum_t product_{k <= t} (1 - S[k])

    which is linear in each of them, so that its derivative by S[t] is the difference that this spike makes:
    t - t_1 before the first spike (one there would be the first), t_1 - t_2 at it (without it the second,
    t_2, would be the first; T if there is none), and 0 after it. All are <= 0: more spikes never make the
    first one later. At active entries this reaches `spikes.value`, and from there, by the surrogate, V. A
    neuron that is silent and never active gets no gradient, as everywhere; `losses.activity` starts it.

    Args:
        spikes: (B, T, N) of a spiking layer.

    Raises:
        ValueError: if these are no spikes of neurons.
    """
    check_trains("spikes", spikes)
    own = trains(spikes.storage.entry(spikes.shape), spikes.shape)
    return _FirstSpike.apply(spikes.value, own, active_trains(spikes), spikes.shape)


def time_to_first_spike(
    spikes: Spikes, label: Tensor | NDArray[Any] | Sequence[int], tau: float, dt: float
) -> Tensor:
    """Cross-entropy on first-spike times: the label's neuron should spike before all others, batch mean.

        L = -log( exp(-t_label / tau) / sum_i exp(-t_i / tau) ),    t_i = first_spike dt

    (H. Mostafa, Supervised learning based on temporal coding in spiking neural networks, IEEE Transactions on
    Neural Networks and Learning Systems 29(7), 2018; with a tau, J. Goeltz et al., Fast and energy-efficient
    neuromorphic deep learning with first-spike times, Nature Machine Intelligence 3, 2021.) They
    differentiate spike times in continuous time; here the gradient is that of `first_spike`. A silent neuron
    counts as spiking at the end, T dt.

    Args:
        spikes: (B, T, C) of a spiking layer of one neuron per class.
        label: (B,), integers in [0, C): a tensor, an array or a list.
        tau: how much earlier is early, seconds, > 0.
        dt: time step, seconds, > 0.

    Returns:
        Scalar.

    Raises:
        ValueError: if these are no spikes of neurons, labels do not fit, or a number is not finite and > 0.
    """
    rate = seconds("dt", dt) / seconds("tau", tau)
    logit = first_spike(spikes) * -rate
    return functional.cross_entropy(logit, checked_label(label, logit))


class _FirstSpike(torch.autograd.Function):
    """First-spike steps, and their derivative by the spikes at active entries."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, own: Trains, active: Trains, shape: tuple[int, int, int]
    ) -> Tensor:
        n_batch, n_step, n_unit = shape
        first = _earliest(own, n_batch * n_unit, n_step)
        later = own.step != first[own.neuron]
        second = _earliest(Trains(own.neuron[later], own.step[later]), n_batch * n_unit, n_step)
        start, then = first[active.neuron], second[active.neuron]
        change = torch.where(active.step < start, active.step - start, start - then)
        change = torch.where(active.step > start, 0, change)
        ctx.save_for_backward(change.to(value.dtype), active.neuron)
        return first.to(value.dtype).view(n_batch, n_unit)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        change, neuron = ctx.saved_tensors
        return grad.reshape(-1)[neuron] * change, None, None, None


def _earliest(events: Trains, n: int, n_step: int) -> Tensor:
    """(n,) int64: the first step of each neuron; n_step where there is none."""
    start = torch.full((n,), n_step, dtype=torch.int64, device=events.step.device)
    return start.scatter_reduce(0, events.neuron, events.step, "amin")
