"""The op that counts spikes of each unit over time: `Spikes.count`, by a backend's kernel."""

from __future__ import annotations

import inspect
from typing import Any, NoReturn

import torch
from torch import Tensor

from sparsespike import backends
from sparsespike.ops.ranges import ranged
from sparsespike.ops.tensors import Shape, spikes_of
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.spikes import Spikes


@uncompiled
def count(spikes: Spikes) -> Tensor:
    """(B, N): spikes of each unit over time; differentiable at the active entries. See `Spikes.count`."""
    spikes.check()
    name = backends.backend_for(spikes)
    total = _Count.apply(name, spikes.shape, spikes.graded, spikes.value, *spikes.storage)
    return total if spikes.scale == 1.0 else total * spikes.scale


class _Count(torch.autograd.Function):
    """Forward pass."""

    @staticmethod
    def forward(
        backend: str, shape: Shape, graded: bool, value: Tensor, *storage: Tensor
    ) -> Tensor:
        spikes = spikes_of(shape, value, *storage, graded=graded)
        with ranged(lambda: f"count of {shape[2]} units", "forward"):
            return backends.load(backend).count_forward(spikes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.backend, ctx.shape, ctx.graded, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        gradient = _CountBackward.apply(
            ctx.backend, ctx.shape, ctx.graded, grad.contiguous(), *ctx.saved_tensors
        )
        return None, None, None, gradient, None, None, None, None


class _CountBackward(torch.autograd.Function):
    """Backward pass."""

    @staticmethod
    def forward(
        backend: str, shape: Shape, graded: bool, grad: Tensor, value: Tensor, *storage: Tensor
    ) -> Tensor:
        spikes = spikes_of(shape, value, *storage, graded=graded)
        with ranged(lambda: f"count of {shape[2]} units", "backward"):
            return backends.load(backend).count_backward(grad, spikes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> NoReturn:
        raise RuntimeError("sparsespike: found a second derivative of a count, which is linear")


# As in `layers.py`.
_Count.forward.__signature__ = inspect.signature(_Count.forward)  # pyright: ignore
_CountBackward.forward.__signature__ = inspect.signature(_CountBackward.forward)  # pyright: ignore
