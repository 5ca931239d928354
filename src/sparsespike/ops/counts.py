"""The op that counts spikes of each unit over time."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsespike import backends
from sparsespike.ops.tensors import n_batch, spikes_of
from sparsespike.spikes.spikes import Spikes


def count(spikes: Spikes) -> Tensor:
    """(B, N): spikes of each unit over time; differentiable at the active entries."""
    name = backends.backend_for(spikes)
    return _count_op(spikes.value, *spikes.storage, spikes.shape[1], spikes.shape[2], name)


@torch.library.custom_op("sparsespike::count", mutates_args=())
def _count_op(
    value: Tensor,
    spike: Tensor,
    total: Tensor,
    active: Tensor,
    start: Tensor,
    steps: int,
    n_unit: int,
    backend: str,
) -> Tensor:
    shape = n_batch(spike, total, steps), steps, n_unit
    spikes = spikes_of(shape, value, spike, total, active, start)
    return backends.load(backend).count_forward(spikes)


@_count_op.register_fake
def _(value, spike, total, active, start, steps, n_unit, backend):
    return value.new_empty(n_batch(spike, total, steps), n_unit)


@torch.library.custom_op("sparsespike::count_backward", mutates_args=())
def _count_backward_op(
    grad: Tensor,
    value: Tensor,
    spike: Tensor,
    total: Tensor,
    active: Tensor,
    start: Tensor,
    steps: int,
    backend: str,
) -> Tensor:
    shape = grad.shape[0], steps, grad.shape[1]
    spikes = spikes_of(shape, value, spike, total, active, start)
    return backends.load(backend).count_backward(grad, spikes)


@_count_backward_op.register_fake
def _(grad, value, spike, total, active, start, steps, backend):
    return torch.empty_like(value)


def _count_setup(ctx, inputs, output) -> None:
    *tensors, steps, _, backend = inputs
    ctx.steps, ctx.backend = steps, backend
    ctx.save_for_backward(*tensors)


def _count_gradient(ctx, grad):
    gradient = _count_backward_op(grad.contiguous(), *ctx.saved_tensors, ctx.steps, ctx.backend)
    return gradient, None, None, None, None, None, None, None


_count_op.register_autograd(_count_gradient, setup_context=_count_setup)
