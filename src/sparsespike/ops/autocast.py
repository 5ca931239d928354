"""`torch.autocast` at a layer's door: a layer computes in the dtype of its weights, and is not cast.

It counts as one of autocast's operations in float32: what comes to it in 16 bits is widened, what it gives is
float32. On a GPU autocast chooses how products are multiplied instead (`backends.precision_for`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

_as_it_is = nullcontext()
SHORT = (torch.bfloat16, torch.float16)


def uncast(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which PyTorch's own operations compute in the dtype of what they are given."""
    return torch.autocast(device.type, enabled=False) if _is_on(device) else _as_it_is


def widened(tensor: Tensor) -> Tensor:
    """The tensor, in float32 where autocast is on and it has 16 bits; differentiable."""
    if tensor.dtype in SHORT and _is_on(tensor.device):
        return tensor.float()
    return tensor


def _is_on(device: torch.device) -> bool:
    # Some devices, "meta" for one, have none: a layer refuses them itself.
    kind = device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
