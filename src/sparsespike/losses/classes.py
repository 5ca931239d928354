"""Losses on labels: what the readout's potential says of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sparsespike.spikes.arguments import described
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
    return functional.cross_entropy(pooled, checked_label(label, pooled))


def checked_label(label: Any, pooled: Tensor) -> Tensor:
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
