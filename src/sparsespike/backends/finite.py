"""Weights must be finite: a NaN among them would silence neurons without a word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from sparsespike.backends.held import once


def check_finite(parameter: Sequence[Tensor]) -> None:
    """Raises a ValueError that names the parameter if an entry is NaN or infinite."""
    for name, tensor in zip(("weight", "bias"), parameter, strict=False):
        once("finite", tensor, partial(_check, name, tensor))


def _check(name: str, tensor: Tensor) -> None:
    # The sum first: it is not finite if an entry is not, and reads the weights only once.
    if not math.isfinite(tensor.sum().item()):
        n_bad = tensor.numel() - int(torch.isfinite(tensor).sum())
        if n_bad:
            raise ValueError(
                f"{name}: expected finite numbers, found {n_bad} of {tensor.numel()} NaN or infinite"
            )
