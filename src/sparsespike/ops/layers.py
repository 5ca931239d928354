"""The ops of a layer: `spiking` and `readout`, forward and backward.

The number of spikes and of active entries depends on the data, so fakes declare fresh symbolic sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsespike import backends
from sparsespike.backends.finite import check_finite
from sparsespike.descriptions import decode
from sparsespike.ops.tensors import input_of, is_words, n_batch, spikes_of, tensors_of
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.words import n_blocks

# ---- spiking layer -----------------------------------------------------------------------------


def spiking(spikes: Spikes, parameter: list[Tensor], n_out: int, spec: str) -> Spikes:
    """One spiking layer: Spikes (B, T, N_in) -> Spikes (B, T, N_out) (eq. 1-4, 7)."""
    weight, bias = _two(parameter)
    recorded = torch.is_grad_enabled() and (
        spikes.value.requires_grad or any(tensor.requires_grad for tensor in parameter)
    )
    value, potential, *storage = _spiking_op(
        *tensors_of(spikes, weight), weight, bias, spikes.shape[1], spec, recorded
    )
    return spikes_of((*spikes.shape[:2], n_out), value, *storage, potential=potential)


@torch.library.custom_op("sparsespike::spiking", mutates_args=())
def _spiking_op(
    value: Tensor,
    spike: Tensor,
    total: Tensor,
    active: Tensor,
    start: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    steps: int,
    spec: str,
    recorded: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    layer = decode(spec)
    if not weight.is_cuda:  # there the backend looks, where the host has to wait anyhow
        check_finite(_listed(weight, bias))
    spikes = input_of(value, spike, total, active, start, steps, weight)
    fired = backends.load(layer.backend).spiking_forward(
        spikes, _listed(weight, bias), layer, recorded
    )
    assert fired.potential is not None
    spike, total, active, start = fired.storage
    return fired.value, fired.potential, spike, total, active, start


@_spiking_op.register_fake
def _(value, spike, total, active, start, weight, bias, steps, spec, recorded):
    context = torch.library.get_ctx()
    if not is_words(spike):
        n_active, n_spikes = context.new_dynamic_size(), context.new_dynamic_size()
        return (
            weight.new_empty(n_active),
            weight.new_empty(n_active),
            spike.new_empty(n_spikes),
            torch.empty_like(total),
            spike.new_empty(n_active),
            torch.empty_like(total),
        )
    n_active = context.new_dynamic_size() if recorded else 0
    shape = spike.shape[0], spike.shape[1], weight.shape[0]
    blocks = (*shape[:2], n_blocks(shape[2])) if recorded else (0,)
    return (
        weight.new_empty(n_active),
        weight.new_empty(n_active),
        spike.new_empty(shape),
        total.new_empty(2 if recorded else 0),
        spike.new_empty(shape),
        spike.new_empty(blocks),
    )


@torch.library.custom_op("sparsespike::spiking_backward", mutates_args=())
def _spiking_backward_op(
    grad_value: Tensor,
    value: Tensor,
    spike: Tensor,
    total: Tensor,
    active: Tensor,
    start: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    out_value: Tensor,
    out_potential: Tensor,
    out_spike: Tensor,
    out_total: Tensor,
    out_active: Tensor,
    out_start: Tensor,
    steps: int,
    spec: str,
    need_input: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    layer = decode(spec)
    spikes = input_of(value, spike, total, active, start, steps, weight)
    fired = spikes_of(
        (*spikes.shape[:2], weight.shape[0]),
        out_value,
        out_spike,
        out_total,
        out_active,
        out_start,
        potential=out_potential,
    )
    grad_input, grad_parameter = backends.load(layer.backend).spiking_backward(
        grad_value, spikes, _listed(weight, bias), fired, layer, need_input
    )
    return _three(grad_input, grad_parameter)


@_spiking_backward_op.register_fake
def _(grad_value, value, spike, total, active, start, weight, bias, *rest):
    return _fake_gradients(value, weight, bias, need_input=rest[-1])


def _spiking_setup(ctx, inputs, output) -> None:
    *tensors, steps, spec, _ = inputs
    ctx.steps, ctx.spec = steps, spec
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*tensors, *output)


def _spiking_gradient(ctx, grad_value, *_):
    if grad_value is None:
        return (None,) * 10
    gradients = _spiking_backward_op(
        grad_value.contiguous(), *ctx.saved_tensors, ctx.steps, ctx.spec, ctx.needs_input_grad[0]
    )
    return (*_returned(ctx, gradients), None)


_spiking_op.register_autograd(_spiking_gradient, setup_context=_spiking_setup)

# ---- readout layer -----------------------------------------------------------------------------


def readout(spikes: Spikes, parameter: list[Tensor], spec: str) -> Tensor:
    """One readout layer: Spikes (B, T, N_in) -> potential (B, T, N_out)."""
    weight, bias = _two(parameter)
    return _readout_op(*tensors_of(spikes, weight), weight, bias, spikes.shape[1], spec)


@torch.library.custom_op("sparsespike::readout", mutates_args=())
def _readout_op(
    value: Tensor,
    spike: Tensor,
    total: Tensor,
    active: Tensor,
    start: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    steps: int,
    spec: str,
) -> Tensor:
    layer = decode(spec)
    if not weight.is_cuda:  # there the backend looks, where the host has to wait anyhow
        check_finite(_listed(weight, bias))
    spikes = input_of(value, spike, total, active, start, steps, weight)
    return backends.load(layer.backend).readout_forward(spikes, _listed(weight, bias), layer)


@_readout_op.register_fake
def _(value, spike, total, active, start, weight, bias, steps, spec):
    return weight.new_empty(n_batch(spike, total, steps), steps, weight.shape[0])


@torch.library.custom_op("sparsespike::readout_backward", mutates_args=())
def _readout_backward_op(
    grad_potential: Tensor,
    value: Tensor,
    spike: Tensor,
    total: Tensor,
    active: Tensor,
    start: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    steps: int,
    spec: str,
    need_input: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    layer = decode(spec)
    spikes = input_of(value, spike, total, active, start, steps, weight)
    grad_input, grad_parameter = backends.load(layer.backend).readout_backward(
        grad_potential, spikes, _listed(weight, bias), layer, need_input
    )
    return _three(grad_input, grad_parameter)


@_readout_backward_op.register_fake
def _(grad_potential, value, spike, total, active, start, weight, bias, *rest):
    return _fake_gradients(value, weight, bias, need_input=rest[-1])


def _readout_setup(ctx, inputs, output) -> None:
    *tensors, steps, spec = inputs
    ctx.steps, ctx.spec = steps, spec
    ctx.save_for_backward(*tensors)


def _readout_gradient(ctx, grad_potential):
    gradients = _readout_backward_op(
        grad_potential.contiguous(),
        *ctx.saved_tensors,
        ctx.steps,
        ctx.spec,
        ctx.needs_input_grad[0],
    )
    return _returned(ctx, gradients)


_readout_op.register_autograd(_readout_gradient, setup_context=_readout_setup)

# ---- parameters and gradients ------------------------------------------------------------------


def _two(parameter: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    return parameter[0], parameter[1] if len(parameter) > 1 else None


def _listed(weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    return [weight] if bias is None else [weight, bias]


def _three(grad_input: Tensor, grad_parameter: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, weight and bias, the last empty without bias."""
    weight, *bias = grad_parameter
    return grad_input, weight, bias[0] if bias else weight.new_empty(0)


def _fake_gradients(value, weight, bias, need_input: bool) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(value) if need_input else value.new_empty(0),
        torch.empty_like(weight),
        weight.new_empty(0) if bias is None else torch.empty_like(bias),
    )


def _returned(ctx, gradients: tuple[Tensor, Tensor, Tensor]):
    """Gradients in the order of the op's arguments; None for those that take none."""
    value, weight, bias = gradients
    needed = ctx.needs_input_grad
    return (
        value if needed[0] else None,
        None,
        None,
        None,
        None,
        weight if needed[5] else None,
        bias if needed[6] else None,
        None,
        None,
    )
