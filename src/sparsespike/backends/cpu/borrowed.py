"""Parameters as arrays that do not fix their memory.

`tensor.numpy()` fixes the memory of a tensor for good. That of a parameter which is sharded
(`torch.distributed.fsdp`) is given back between calls, and could not be any more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TYPES = {torch.float32: np.dtype(np.float32).str, torch.float64: np.dtype(np.float64).str}


class _Memory:
    """A tensor as NumPy's array interface has it; the array keeps this, and this the tensor."""

    __slots__ = ("__array_interface__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        size = tensor.element_size()
        self.__array_interface__ = {
            "version": 3,
            "shape": tuple(tensor.shape),
            "typestr": TYPES[tensor.dtype],
            "strides": tuple([size * step for step in tensor.stride()]),
            "data": (tensor.data_ptr(), False),
        }


def borrowed(tensor: Tensor) -> NDArray[Any]:
    """The numbers of a parameter, where they are; to be read, and forgotten when the kernel is done."""
    return np.asarray(_Memory(tensor.detach()))
