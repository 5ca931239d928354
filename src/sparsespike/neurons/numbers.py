"""What a neuron's or surrogate's number may be."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from sparsespike.spikes import arguments


def number(name: str, value: Any) -> float:
    """A number of Python, NumPy or a 0-d tensor, as a float.

    Raises:
        ValueError: if it is none, one per neuron, or meant to be learnt.
    """
    if type(value) is float:
        return value
    if isinstance(value, nn.Parameter) or (isinstance(value, Tensor) and value.requires_grad):
        raise ValueError(f"{name}: expected a constant, found a parameter; it would not be learnt")
    return arguments.number(name, value, "one number for all neurons")


def leak(tau_mem: float, dt: float) -> float:
    """alpha = exp(-dt / tau_mem), in [0, 1].

    Raises:
        ValueError: unless both are > 0 and dt is finite.
    """
    if not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt: expected a finite time step in seconds > 0, found {dt}")
    if not tau_mem > 0:
        raise ValueError(f"tau_mem: expected a time constant in seconds > 0, found {tau_mem}")
    return math.exp(-dt / tau_mem)
