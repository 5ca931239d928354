"""Losses: classification on the readout's potential, and the paper's activity regulariser."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sparsespike import ops
from sparsespike.spikes.spikes import Spikes

Reduce = Literal["max", "sum", "mean", "last"]


def logits(potential: Tensor, reduce: Reduce = "max") -> Tensor:
    """Pools the readout's potential over time.

    Args:
        potential: (B, T, C).
        reduce: "max" (the paper's F-MNIST, N-MNIST), "sum" (its SHD), "mean" or "last".

    Returns:
        (B, C).

    Raises:
        ValueError: if `reduce` is unknown or `potential` is not 3-D.
    """
    if potential.dim() != 3:
        raise ValueError(f"potential: expected (B, T, C), found {tuple(potential.shape)}")
    if reduce == "max":
        return potential.max(1).values
    if reduce == "sum":
        return potential.sum(1)
    if reduce == "mean":
        return potential.mean(1)
    if reduce == "last":
        return potential[:, -1]
    raise ValueError(f'reduce: expected "max", "sum", "mean" or "last", found {reduce!r}')


def cross_entropy(potential: Tensor, label: Tensor, reduce: Reduce = "max") -> Tensor:
    """Log-softmax and negative log-likelihood of the pooled potential, batch mean.

    Args:
        potential: (B, T, C), float.
        label: (B,), int64 in [0, C).
        reduce: how time is pooled, see `logits`.

    Returns:
        Scalar.

    Raises:
        ValueError: if a shape is wrong or `reduce` is unknown.
    """
    pooled = logits(potential, reduce)
    if label.shape != pooled.shape[:1]:
        raise ValueError(
            f"label: expected {pooled.shape[0]} labels, one per sample, found {tuple(label.shape)}"
        )
    return functional.cross_entropy(pooled, label)


def activity(
    spikes: Spikes,
    *,
    upper: float = 1.0,
    upper_weight: float = 0.06,
    lower: float = 1e-3,
    lower_weight: float = 100.0,
) -> Tensor:
    """The paper's regulariser of one layer's activity, batch mean (appendix E; authors' code).

        upper_weight max(0, n - upper) + lower_weight / N * sum_i max(0, lower - n_i)^2

    with n_i the spikes of neuron i in a sample and n their mean over neurons. The second term starts
    silent neurons: its gradient reaches those that come into the active band.

    Args:
        spikes: (B, T, N) of a spiking layer.
        upper: mean spikes per neuron and sample above which activity costs, >= 0.
        upper_weight: weight of the first term, >= 0.
        lower: spikes per neuron and sample below which silence costs, >= 0.
        lower_weight: weight of the second term, >= 0.

    Returns:
        Scalar.
    """
    count = ops.count(spikes)  # (B, N)
    return _Activity.apply(count, upper, upper_weight, lower, lower_weight)


class _Activity(torch.autograd.Function):
    """The formula of `activity` with its gradient by hand: half the time of autograd's chain."""

    @staticmethod
    def forward(ctx, count: Tensor, upper, upper_weight, lower, lower_weight) -> Tensor:
        too_many = (count.mean(1) - upper).clamp_(min=0)  # (B,)
        too_few = (lower - count).clamp_(min=0)  # (B, N)
        ctx.save_for_backward(too_many, too_few)
        ctx.weights = upper_weight, lower_weight
        return upper_weight * too_many.mean() + lower_weight * too_few.square().mean()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        too_many, too_few = ctx.saved_tensors
        upper_weight, lower_weight = ctx.weights
        share = grad / too_few.numel()
        per_sample = (too_many > 0) * (upper_weight * share)
        grad_count = torch.addcmul(per_sample[:, None], too_few, share, value=-2.0 * lower_weight)
        return grad_count, None, None, None, None
