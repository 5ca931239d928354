"""The op that counts spikes of each unit over time: `Spikes.count`, by a backend's kernel."""

from __future__ import annotations

import inspect
from typing import Any, NoReturn

import torch
from torch import Tensor

from sparsespike import backends
from sparsespike.ops.tensors import Shape, spikes_of
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.spikes import Spikes


@uncompiled
def count(spikes: Spikes) -> Tensor:
    """(B, N): spikes of each unit over time; differentiable at the active entries."""
    spikes.check()
    name = backends.backend_for(spikes)
    return _Count.apply(name, spikes.shape, spikes.value, *spikes.storage)


class _Count(torch.autograd.Function):
    """Forward pass."""

    @staticmethod
    def forward(backend: str, shape: Shape, value: Tensor, *storage: Tensor) -> Tensor:
        return backends.load(backend).count_forward(spikes_of(shape, value, *storage))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.backend, ctx.shape, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        gradient = _CountBackward.apply(
            ctx.backend, ctx.shape, grad.contiguous(), *ctx.saved_tensors
        )
        return None, None, gradient, None, None, None, None


class _CountBackward(torch.autograd.Function):
    """Backward pass."""

    @staticmethod
    def forward(
        backend: str, shape: Shape, grad: Tensor, value: Tensor, *storage: Tensor
    ) -> Tensor:
        return backends.load(backend).count_backward(grad, spikes_of(shape, value, *storage))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> NoReturn:
        raise RuntimeError("sparsespike: found a second derivative of a count, which is linear")


# As in `layers.py`.
_Count.forward.__signature__ = inspect.signature(_Count.forward)  # pyright: ignore
_CountBackward.forward.__signature__ = inspect.signature(_CountBackward.forward)  # pyright: ignore
