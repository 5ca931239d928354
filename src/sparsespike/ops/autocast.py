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
    if not torch.is_autocast_enabled(device.type):
        return _as_it_is
    return torch.autocast(device.type, enabled=False)


def widened(tensor: Tensor) -> Tensor:
    """The tensor, in float32 where autocast is on and it has 16 bits; differentiable."""
    if tensor.dtype in SHORT and torch.is_autocast_enabled(tensor.device.type):
        return tensor.float()
    return tensor
