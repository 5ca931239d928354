"""Where kernels run: on the tensor's own device and its current stream, or in Triton's interpreter."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
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


def registers(num_warps: int) -> dict[str, int]:
    """The option of a launch that lets each thread have all the registers there are for it, on NVIDIA's GPUs.

    Left to itself ptxas takes fewer, to have more programs at a time, and spills where a walk needs more.
    """
    if INTERPRETED:
        return {}
    target: Any = triton.runtime.driver.active.get_current_target()
    if target.backend != "cuda":
        return {}
    return {"maxnreg": min(255, 2**16 // (32 * num_warps))}
