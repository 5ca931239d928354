"""The op of a layer, forward and backward: `run`.

Autograd sees plain tensors: of every term `value`, the four tensors of the storage (`tensors.py`) and the
parameters. Descriptions go along as they are. The backward pass is a function of its own, so that
transforms such as `torch.func.grad` unwrap their tensors before a kernel reads them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from sparsespike import backends
from sparsespike.backends import held
from sparsespike.descriptions import Cell, Dynamics, Term
from sparsespike.ops.autocast import uncast
from sparsespike.ops.call import FIRED, FLOWING, STORED, Call, Part
from sparsespike.ops.checks import check_cell, check_terms, unit_shape_of
from sparsespike.ops.ranges import here
from sparsespike.ops.tensors import spikes_of, tensors_of
from sparsespike.spikes.spikes import Spikes


class Ran(NamedTuple):
    """What a layer gives.

    Attributes:
        output: Spikes (B, T, N) (eq. 1-4, 7), or the potential (B, T, N).
        state: (B, n_kept, N) of the last step, where it was wanted.
        record: (B, T, m), the potential of some neurons, where it was wanted.
        lazy: (B, n), the state as the kernels have it, where they have it otherwise (`Cell.lazy`).
    """

    output: Spikes | Tensor
    state: Tensor | None
    record: Tensor | None
    lazy: Tensor | None = None


def run(terms: Sequence[Term], cell: Cell) -> Ran:
    """One layer: its terms' events through its neurons.

    Args:
        terms: one or more, of the same samples, steps and neurons.
        cell: what the neurons do, and what they know beside the terms.

    Raises:
        ValueError: naming what does not fit, before anything is computed.
    """
    check_terms(terms)
    check_cell(cell, terms)
    spikes = terms[0].spikes
    backend = backends.backend_for(spikes)
    if not torch.is_grad_enabled():
        cell = _constant(cell)
    flat = [
        tensor
        for term in terms
        for tensor in (*tensors_of(term.spikes, term.parameter[0]), *term.parameter)
    ]
    flat += [*cell.number, *cell.weight]
    flat += [each for each in (cell.state, cell.lazy) if each is not None]
    call = Call(
        backend,
        cell._replace(number=(), weight=(), state=None, lazy=None),
        (len(cell.number), len(cell.weight), cell.state is not None, cell.lazy is not None),
        backends.precision_for(backend, spikes.device),
        torch.is_grad_enabled() and any(tensor.requires_grad for tensor in flat),
        tuple(
            Part(term.spikes.shape, term.spikes.graded, term.connection, len(term.parameter))
            for term in terms
        ),
        here(),
    )
    if held.inside() and not call.recorded:  # no one asks for a gradient: autograd need not know
        first, state, record, *rest = call.forward(call.terms(flat), call.cell(flat))
    else:
        first, state, record, *rest = _Layer.apply(call, *flat)
    state = state if cell.returns_state else None
    record = record if cell.record is not None else None
    if not cell.neuron.spiking:
        return Ran(first, state, record)
    shape = *spikes.shape[:2], terms[0].connection.n_out
    lazy, potential, *storage = rest[: FIRED - FLOWING]
    units = unit_shape_of(terms)
    fired = spikes_of(shape, first, *storage, potential=potential, unit_shape=units)
    return Ran(fired, state, record, lazy if lazy.numel() else None)


def _constant(cell: Cell) -> Cell:
    """The cell whose learned numbers are constants: without a gradient nobody wants their eligibilities."""
    told, number = cell.neuron, cell.number
    if not isinstance(told, Dynamics) or not number:
        return cell

    def make() -> Dynamics:
        known = dict(zip(told.names, (each.detach() for each in number), strict=True))
        return replace(told, names=(), matrices=lambda _: told.matrices(known))

    fixed = held.once_of("constant", told, lambda: [each._version for each in number], make)
    return cell._replace(neuron=fixed, number=())


def dense_current(terms: Sequence[Term]) -> Tensor:
    """(B, T, N): the terms' currents, added up, in plain PyTorch."""
    check_terms(terms)
    from sparsespike.backends import dense

    with uncast(terms[0].spikes.device):
        return dense.current(terms)


class _Layer(torch.autograd.Function):
    """Forward pass of a layer; the first outputs alone are differentiable."""

    @staticmethod
    def forward(call: Call, *flat: Tensor) -> tuple[Tensor, ...]:
        return call.forward(call.terms(flat), call.cell(flat))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        call, *flat = inputs
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[FLOWING:])
        # A readout's own output is not needed, and is as large as the dense method's.
        nothing = flat[0].new_empty(0)
        own = output[0] if call.spiking else nothing
        ctx.save_for_backward(*flat, own, nothing, nothing, *output[FLOWING:])

    @staticmethod
    def backward(  # pyright: ignore
        ctx: Any,
        grad: Tensor | None,
        grad_state: Tensor | None,
        grad_record: Tensor | None,
        *_: Any,
    ) -> tuple[Tensor | None, ...]:
        call, needs = ctx.call, ctx.needs_input_grad[1:]
        returned: list[Tensor | None] = [None] * (1 + len(needs))
        extra = [
            None if each is None or not each.numel() else each.contiguous()
            for each in (grad_state, grad_record)
        ]
        if grad is None and extra == [None, None]:
            return tuple(returned)
        if grad is None:  # a loss on the last state or a record alone
            grad = call.nothing_above(ctx.saved_tensors)
        assert grad is not None
        at, places = 0, []  # of each gradient among the inputs
        for part in call.parts:
            own = at + STORED
            places += [at, *range(own, own + part.n_parameter)]
            at = own + part.n_parameter
        places += range(at, at + sum(call.n_own[:3]))
        needed = tuple(needs[place] for place in places)
        gradients = _LayerBackward.apply(
            call, needed, grad.contiguous(), *extra, *ctx.saved_tensors
        )
        for place, gradient in zip(places, gradients, strict=True):
            if needs[place]:
                returned[1 + place] = gradient
        return tuple(returned)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> NoReturn:
        raise _no_vmap()

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> NoReturn:
        raise RuntimeError(
            "sparsespike: a layer has gradients in reverse mode only, found forward mode"
        )


class _LayerBackward(torch.autograd.Function):
    """Backward pass of a layer."""

    @staticmethod
    def forward(
        call: Call,
        needed: Sequence[bool],
        grad: Tensor,
        grad_state: Tensor | None,
        grad_record: Tensor | None,
        *saved: Tensor,
    ) -> tuple[Tensor, ...]:
        at, by_term = 0, []  # whether ε of each term is needed
        for part in call.parts:
            by_term.append(needed[at])
            at += 1 + part.n_parameter
        above = backends.Upstream(grad, grad_state, grad_record, call.n_own[2] and needed[-1])
        return tuple(call.backward(above, by_term, saved))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> NoReturn:
        raise RuntimeError(
            "sparsespike: a layer has no second derivative, as its surrogate has none; "
            "found a gradient of a gradient"
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> NoReturn:
        raise _no_vmap()


# What `apply` would otherwise work out anew at every call, for longer than a small kernel takes.
_Layer.forward.__signature__ = inspect.signature(_Layer.forward)  # pyright: ignore
_LayerBackward.forward.__signature__ = inspect.signature(_LayerBackward.forward)  # pyright: ignore


def _no_vmap() -> ValueError:
    return ValueError(
        "sparsespike: vmap does not go through a layer, whose events differ in number from sample to sample; "
        "put the samples into one batch of Spikes, or loop"
    )
