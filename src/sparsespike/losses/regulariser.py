"""The paper's regulariser of a layer's activity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sparsespike import ops
from sparsespike.spikes.arguments import at_least, described
from sparsespike.spikes.spikes import Spikes

LOWER = 1e-3  # spikes per neuron and sample, the paper's


def activity(
    spikes: Spikes,
    *,
    upper: float = 1.0,
    upper_weight: float = 0.06,
    lower: float = LOWER,
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

    Raises:
        ValueError: if `spikes` are none, or a number is negative, infinite or NaN.
    """
    if not isinstance(spikes, Spikes):
        many = ", of one layer" if isinstance(spikes, list | tuple) else ""
        raise ValueError(f"spikes: expected Spikes{many}, found {described(spikes)}")
    numbers = _checked(upper, upper_weight, lower, lower_weight)
    count = ops.count(spikes)  # (B, N); `torch.compile` leaves it out, and takes up what follows
    return _Activity.apply(count, *numbers)


def of_counts(
    count: Tensor, upper: float, upper_weight: float, lower: float, lower_weight: float
) -> Tensor:
    """`activity` of how often each neuron spiked in each sample, (B, N)."""
    return _Activity.apply(count, *_checked(upper, upper_weight, lower, lower_weight))


def _checked(upper: float, upper_weight: float, lower: float, lower_weight: float) -> list[float]:
    named = {"upper": upper, "upper_weight": upper_weight}
    named |= {"lower": lower, "lower_weight": lower_weight}
    return [at_least(name, value, 0) for name, value in named.items()]


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
