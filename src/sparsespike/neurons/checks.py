"""What is looked at when a neuron is called, beside its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparsespike import descriptions
from sparsespike.connections.current import Current
from sparsespike.neurons.state import State
from sparsespike.spikes.arguments import described

if TYPE_CHECKING:
    from sparsespike.neurons.neuron import Neuron


def checked_units(record: Sequence[int] | Tensor, current: Current) -> Tensor:
    """(m,) int64: the neurons to record.

    Raises:
        ValueError: if they are no whole numbers of neurons.
    """
    n = current.shape[2]
    found = torch.as_tensor(record, device=current.device)
    whole = not (found.is_floating_point() or found.is_complex() or found.dtype is torch.bool)
    if found.dim() != 1 or not (whole or not found.numel()):
        raise ValueError(f"record: expected a list of neurons, found {described(record)}")
    found = found.to(torch.int64)
    if found.numel() and not 0 <= int(found.min()) <= int(found.max()) < n:
        raise ValueError(f"record: expected neurons in [0, {n}), found {found.tolist()}")
    return found


def check_form(neuron: Neuron) -> None:
    """Raises a ValueError unless what is beside the numbers of a neuron of the form has a meaning."""
    if not neuron.b_th > 0:
        raise ValueError(f"b_th: expected a half-width > 0, found {neuron.b_th}")
    if neuron.lag not in (0, 1):
        raise ValueError(f"lag: expected 0 or 1, found {neuron.lag!r}")
    surrogate = neuron.surrogate
    if not callable(getattr(surrogate, "slope", None)) or isinstance(surrogate, type):
        raise ValueError(
            f"surrogate: expected a Surrogate, or an object with slope(distance), found {surrogate!r}"
        )
    if not isinstance(neuron.detach_reset, bool):
        raise ValueError(f"detach_reset: expected True or False, found {neuron.detach_reset!r}")


def check_resumable(neuron: Neuron, told: descriptions.Neuron, state: object) -> None:
    """Raises a ValueError unless the neuron can go on from this state."""
    if not isinstance(told, descriptions.Dynamics):
        name = type(neuron).__name__
        raise ValueError(
            f"state: expected a neuron that gives `matrices`, which say what its state is, found {name}"
        )
    if state is not None and not isinstance(state, State):
        raise ValueError(f"state: expected what a call returned, found {type(state).__name__}")
