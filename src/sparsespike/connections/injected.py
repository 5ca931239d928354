"""`injected`: a dense current as a term that neurons take, for what is not made of spikes."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsespike import descriptions, ops
from sparsespike.connections.current import Current
from sparsespike.descriptions import Term
from sparsespike.spikes.lists import Lists
from sparsespike.spikes.spikes import Spikes


def injected(dense: Tensor) -> Current:
    """A current that somebody has computed already, for neurons of any backend; differentiable.

    Each (sample, step) has an input unit of its own, which spikes there and nowhere else; its weights are the
    current. So nothing is approximated, and the gradient of the weights is that of the current. It costs
    B T N, as the dense tensor does.

    Args:
        dense: (B, T, N), float32 or float64; under `torch.autocast` of 16 bits as well.

    Returns:
        Current (B, T, N).

    Raises:
        ValueError: if it is no such tensor.
    """
    if not isinstance(dense, Tensor) or dense.dim() != 3 or not dense.is_floating_point():
        found = (
            f"{tuple(dense.shape)} of {dense.dtype}"
            if isinstance(dense, Tensor)
            else type(dense).__name__
        )
        raise ValueError(f"dense: expected floats (B, T, N), found {found}")
    dense = ops.widened(dense)
    n_batch, n_step, n_out = dense.shape
    n_in = n_batch * n_step
    each = torch.arange(n_in + 1, device=dense.device)
    lists = Lists(each[:-1].to(torch.int32), each)
    spikes = Spikes((n_batch, n_step, n_in), lists, dense.new_empty(0))
    weight = dense.reshape(n_in, n_out).t().contiguous()
    return Current((Term(spikes.to(dense.device), descriptions.Linear(n_in, n_out), (weight,)),))
