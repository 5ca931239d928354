"""Where kernels run: on the tensor's own device and its current stream, or in Triton's interpreter."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from sparsespike.backends.gpu.precision import INTERPRETED


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """Within it, kernels are launched on the device of `tensor`.

    Raises:
        ValueError: if that is no GPU and kernels are not interpreted.
    """
    require_device(tensor.device)
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def require_device(device: torch.device) -> None:
    """Raises a ValueError if kernels cannot run on tensors of this device."""
    if device.type == "cuda" or INTERPRETED:
        return
    raise ValueError(
        f'backend: expected tensors on a CUDA device for "gpu", found {device}; '
        "TRITON_INTERPRET=1 in the environment runs the kernels on the CPU, slowly"
    )
