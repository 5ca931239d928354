"""What autograd sees: one torch custom op per fused computation, with fakes and gradients.

`spiking` and `readout` are the calls of a layer, `count` sums spikes over time. Each op takes and gives
plain tensors, never `Spikes` or lists: a list among its arguments would double the time of a call. The
number of spikes and of active entries depends on the data, so fakes declare fresh symbolic sizes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparsespike import backends
from sparsespike.backends import Fired, Lists
from sparsespike.events import Spikes
from sparsespike.layers.spec import decode

# ---- spiking layer -----------------------------------------------------------------------------


def spiking(spikes: Spikes, parameter: list[Tensor], n_out: int, spec: str) -> Spikes:
    """One spiking layer: Spikes (B, T, N_in) -> Spikes (B, T, N_out) (eq. 1-4, 7)."""
    weight, bias = _two(parameter)
    fired = Fired(*_spiking_op(*_tensors(spikes, weight), weight, bias, spikes.shape[1], spec))
    return Spikes(
        (spikes.shape[0], spikes.shape[1], n_out),
        unit=fired.unit,
        offset=fired.offset,
        active_unit=fired.active_unit,
        active_offset=fired.active_offset,
        value=fired.value,
        potential=fired.potential,
    )


@torch.library.custom_op("sparsespike::spiking", mutates_args=())
def _spiking_op(
    value: Tensor,
    unit: Tensor,
    offset: Tensor,
    active_unit: Tensor,
    active_offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    steps: int,
    spec: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    layer = decode(spec)
    _check_finite(weight, bias)
    events = Lists(steps, value, unit, offset, active_unit, active_offset)
    fired = backends.load(layer.backend).spiking_forward(events, _listed(weight, bias), layer)
    return (
        fired.value,
        fired.potential,
        fired.unit,
        fired.offset,
        fired.active_unit,
        fired.active_offset,
    )


@_spiking_op.register_fake
def _(value, unit, offset, active_unit, active_offset, weight, bias, steps, spec):
    context = torch.library.get_ctx()
    n_active, n_spikes = context.new_dynamic_size(), context.new_dynamic_size()
    return (
        weight.new_empty(n_active),
        weight.new_empty(n_active),
        unit.new_empty(n_spikes),
        torch.empty_like(offset),
        unit.new_empty(n_active),
        torch.empty_like(offset),
    )


@torch.library.custom_op("sparsespike::spiking_backward", mutates_args=())
def _spiking_backward_op(
    grad_value: Tensor,
    value: Tensor,
    unit: Tensor,
    offset: Tensor,
    active_unit: Tensor,
    active_offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    out_value: Tensor,
    out_potential: Tensor,
    out_unit: Tensor,
    out_offset: Tensor,
    out_active_unit: Tensor,
    out_active_offset: Tensor,
    steps: int,
    spec: str,
    need_input: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    layer = decode(spec)
    events = Lists(steps, value, unit, offset, active_unit, active_offset)
    fired = Fired(
        out_value, out_potential, out_unit, out_offset, out_active_unit, out_active_offset
    )
    grad_input, grad_parameter = backends.load(layer.backend).spiking_backward(
        grad_value, events, _listed(weight, bias), fired, layer, need_input
    )
    return _three(grad_input, grad_parameter)


@_spiking_backward_op.register_fake
def _(grad_value, value, unit, offset, active_unit, active_offset, weight, bias, *rest):
    return _fake_gradients(value, weight, bias, need_input=rest[-1])


def _spiking_setup(ctx, inputs, output) -> None:
    *tensors, steps, spec = inputs
    ctx.steps, ctx.spec = steps, spec
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*tensors, *output)


def _spiking_gradient(ctx, grad_value, *_):
    if grad_value is None:
        return (None,) * 9
    gradients = _spiking_backward_op(
        grad_value.contiguous(), *ctx.saved_tensors, ctx.steps, ctx.spec, ctx.needs_input_grad[0]
    )
    return _returned(ctx, gradients)


_spiking_op.register_autograd(_spiking_gradient, setup_context=_spiking_setup)

# ---- readout layer -----------------------------------------------------------------------------


def readout(spikes: Spikes, parameter: list[Tensor], spec: str) -> Tensor:
    """One readout layer: Spikes (B, T, N_in) -> potential (B, T, N_out)."""
    weight, bias = _two(parameter)
    return _readout_op(*_tensors(spikes, weight), weight, bias, spikes.shape[1], spec)


@torch.library.custom_op("sparsespike::readout", mutates_args=())
def _readout_op(
    value: Tensor,
    unit: Tensor,
    offset: Tensor,
    active_unit: Tensor,
    active_offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    steps: int,
    spec: str,
) -> Tensor:
    layer = decode(spec)
    _check_finite(weight, bias)
    events = Lists(steps, value, unit, offset, active_unit, active_offset)
    return backends.load(layer.backend).readout_forward(events, _listed(weight, bias), layer)


@_readout_op.register_fake
def _(value, unit, offset, active_unit, active_offset, weight, bias, steps, spec):
    return weight.new_empty((offset.shape[0] - 1) // steps, steps, weight.shape[0])


@torch.library.custom_op("sparsespike::readout_backward", mutates_args=())
def _readout_backward_op(
    grad_potential: Tensor,
    value: Tensor,
    unit: Tensor,
    offset: Tensor,
    active_unit: Tensor,
    active_offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    steps: int,
    spec: str,
    need_input: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    layer = decode(spec)
    events = Lists(steps, value, unit, offset, active_unit, active_offset)
    grad_input, grad_parameter = backends.load(layer.backend).readout_backward(
        grad_potential, events, _listed(weight, bias), layer, need_input
    )
    return _three(grad_input, grad_parameter)


@_readout_backward_op.register_fake
def _(grad_potential, value, unit, offset, active_unit, active_offset, weight, bias, *rest):
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

# ---- spike counts ------------------------------------------------------------------------------


def count(spikes: Spikes) -> Tensor:
    """(B, N): spikes of each unit over time; differentiable at the active entries."""
    name = backends.backend_for(spikes.device)
    return _count_op(
        spikes.value,
        spikes.unit,
        spikes.offset,
        spikes.active_unit,
        spikes.active_offset,
        spikes.shape[1],
        spikes.shape[2],
        name,
    )


@torch.library.custom_op("sparsespike::count", mutates_args=())
def _count_op(
    value: Tensor,
    unit: Tensor,
    offset: Tensor,
    active_unit: Tensor,
    active_offset: Tensor,
    steps: int,
    n_unit: int,
    backend: str,
) -> Tensor:
    events = Lists(steps, value, unit, offset, active_unit, active_offset)
    return backends.load(backend).count_forward(events, n_unit)


@_count_op.register_fake
def _(value, unit, offset, active_unit, active_offset, steps, n_unit, backend):
    return value.new_empty((offset.shape[0] - 1) // steps, n_unit)


@torch.library.custom_op("sparsespike::count_backward", mutates_args=())
def _count_backward_op(
    grad: Tensor,
    value: Tensor,
    unit: Tensor,
    offset: Tensor,
    active_unit: Tensor,
    active_offset: Tensor,
    steps: int,
    backend: str,
) -> Tensor:
    events = Lists(steps, value, unit, offset, active_unit, active_offset)
    return backends.load(backend).count_backward(grad, events)


@_count_backward_op.register_fake
def _(grad, value, unit, offset, active_unit, active_offset, steps, backend):
    return torch.empty_like(value)


def _count_setup(ctx, inputs, output) -> None:
    *tensors, steps, _, backend = inputs
    ctx.steps, ctx.backend = steps, backend
    ctx.save_for_backward(*tensors)


def _count_gradient(ctx, grad):
    gradient = _count_backward_op(grad.contiguous(), *ctx.saved_tensors, ctx.steps, ctx.backend)
    return gradient, None, None, None, None, None, None, None


_count_op.register_autograd(_count_gradient, setup_context=_count_setup)

# ---- shared ------------------------------------------------------------------------------------


def _tensors(spikes: Spikes, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    value = spikes.value if spikes.n_active else spikes.value.to(weight.dtype)
    return value, spikes.unit, spikes.offset, spikes.active_unit, spikes.active_offset


def _check_finite(weight: Tensor, bias: Tensor | None) -> None:
    # The sum first: it is not finite if an entry is not, and reads the weights only once.
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and not math.isfinite(tensor.sum().item()):
            n_bad = tensor.numel() - int(torch.isfinite(tensor).sum())
            if n_bad:
                raise ValueError(
                    f"{name}: expected finite numbers, found {n_bad} of {tensor.numel()} NaN or infinite"
                )


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
