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
    if tensor.is_cuda:
        return torch.cuda.device(tensor.device)
    if INTERPRETED:
        return nullcontext()
    raise ValueError(
        f'backend: expected tensors on a CUDA device for "gpu", found {tensor.device}; '
        "TRITON_INTERPRET=1 in the environment runs the kernels on the CPU, slowly"
    )
