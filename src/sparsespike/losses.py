"""Losses: classification on the readout's potential, and the paper's activity regulariser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sparsespike import ops
from sparsespike.spikes.arguments import at_least, described
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
    if not isinstance(potential, Tensor) or potential.dim() != 3:
        readout = ", of a network that ends in a Readout" if isinstance(potential, Spikes) else ""
        found = tuple(potential.shape) if isinstance(potential, Tensor) else described(potential)
        raise ValueError(f"potential: expected (B, T, C){readout}, found {found}")
    if not potential.is_floating_point():
        raise ValueError(f"potential: expected floating numbers, found {potential.dtype}")
    if reduce == "max":
        return potential.max(1).values
    if reduce == "sum":
        return potential.sum(1)
    if reduce == "mean":
        return potential.mean(1)
    if reduce == "last":
        return potential[:, -1]
    raise ValueError(f'reduce: expected "max", "sum", "mean" or "last", found {reduce!r}')


def cross_entropy(
    potential: Tensor, label: Tensor | NDArray[Any] | Sequence[int], reduce: Reduce = "max"
) -> Tensor:
    """Log-softmax and negative log-likelihood of the pooled potential, batch mean.

    Args:
        potential: (B, T, C), float.
        label: (B,), integers in [0, C): a tensor, an array or a list.
        reduce: how time is pooled, see `logits`.

    Returns:
        Scalar.

    Raises:
        ValueError: if a shape is wrong, labels are no integers or, on the CPU, out of range, or
            `reduce` is unknown.
    """
    pooled = logits(potential, reduce)
    return functional.cross_entropy(pooled, _checked_label(label, pooled))


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

    Raises:
        ValueError: if `spikes` are none, or a number is negative, infinite or NaN.
    """
    if not isinstance(spikes, Spikes):
        many = ", of one layer" if isinstance(spikes, list | tuple) else ""
        raise ValueError(f"spikes: expected Spikes{many}, found {described(spikes)}")
    upper, upper_weight = at_least("upper", upper, 0), at_least("upper_weight", upper_weight, 0)
    lower, lower_weight = at_least("lower", lower, 0), at_least("lower_weight", lower_weight, 0)
    count = ops.count(spikes)  # (B, N)
    return _Activity.apply(count, upper, upper_weight, lower, lower_weight)


def _checked_label(label: Any, pooled: Tensor) -> Tensor:
    """(B,) int64 labels, for logits (B, C)."""
    n_batch, n_class = pooled.shape
    expected = f"{n_batch} labels, one per sample"
    found = label
    if not isinstance(label, Tensor):
        try:
            label = torch.as_tensor(np.asarray(label).astype(np.int64, casting="same_kind"))
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"label: expected {expected}, found {described(found)}") from None
        label = label.to(pooled.device)
    if label.shape != (n_batch,):
        raise ValueError(f"label: expected {expected}, found {tuple(label.shape)}")
    if label.dtype == torch.bool or label.is_floating_point() or label.is_complex():
        raise ValueError(f"label: expected integers, found {label.dtype}")
    label = label.to(torch.int64)
    # A GPU checks the range itself, and nobody waits for it.
    if label.device.type == "cpu" and n_batch and not torch.compiler.is_compiling():
        low, high = int(label.min()), int(label.max())
        if low < 0 or high >= n_class:
            raise ValueError(f"label: expected labels in [0, {n_class}), found {low} to {high}")
    return label


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
