"""Numbers of other libraries' neurons, as ours take them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sparsespike.interop.refused import refused
from sparsespike.neurons.numbers import Number


def number_of(name: str, module: nn.Module, what: str, value: Any, freeze: bool) -> Number:
    """A float, or (N,) for one of each neuron, exactly as the layer holds it.

    Args:
        name: of the layer.
        module: the layer.
        what: the number's name.
        value: Python's number or a tensor.
        freeze: whether one that is learned is taken as it is now.

    Raises:
        ValueError: if it is learned, or laid out otherwise.
    """
    if isinstance(value, Tensor) and value.requires_grad and not freeze:
        raise refused(
            name,
            module,
            f"{what} is learned, and its gradient is not the one that our parametrisation has; freeze=True "
            "takes it as it is now and learns it no more",
        )
    found = torch.as_tensor(value).detach()
    if found.numel() == 1:
        return float(found)
    if found.dim() != 1:
        expected = "one number, or one for each neuron, (N,)"
        raise refused(name, module, f"{what}: expected {expected}, found {tuple(found.shape)}")
    return found.clone()


def just_below(v_th: float, v_rest: float, dtype: torch.dtype) -> float:
    """The threshold that a strict comparison needs to spike where V >= v_th.

    Of numbers of this dtype the largest below v_th; further below where adding v_rest and taking it away
    again, as the form of our neurons does, would round it back.
    """
    true, rest = (torch.tensor(each, dtype=dtype) for each in (v_th, v_rest))
    down = torch.tensor(-math.inf, dtype=dtype)
    below = torch.nextafter(true, down)
    while not ((below - rest) < (true - rest) and ((below - rest) + rest) < true):
        below = torch.nextafter(below, down)
    return float(below)
