"""The op of a layer, forward and backward: `run`.

Autograd sees plain tensors: of every term `value`, the four tensors of the storage (`tensors.py`) and the
parameters. Descriptions go along as they are. The backward pass is a function of its own, so that
transforms such as `torch.func.grad` unwrap their tensors before a kernel reads them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from sparsespike import backends
from sparsespike.backends.finite import check_finite
from sparsespike.descriptions import Connection, Neuron, Precision, Term
from sparsespike.ops.tensors import Shape, spikes_of, tensors_of
from sparsespike.spikes.spikes import Spikes

STORED = 5  # tensors of a term before its parameters: value and storage
FIRED = 6  # tensors of a spiking layer's output: value, potential and storage


def run(terms: Sequence[Term], neuron: Neuron, spiking: bool) -> Spikes | Tensor:
    """One layer: its terms' events through its neurons.

    Args:
        terms: one or more, of the same samples, steps and neurons.
        neuron: what the neurons do.
        spiking: whether they spike.

    Returns:
        Spikes (B, T, N) (eq. 1-4, 7), or the potential (B, T, N).

    Raises:
        ValueError: naming what does not fit, before anything is computed.
    """
    _check(terms)
    spikes = terms[0].spikes
    backend = backends.backend_for(spikes)
    flat = [
        tensor
        for term in terms
        for tensor in (*tensors_of(term.spikes, term.parameter[0]), *term.parameter)
    ]
    call = _Call(
        backend,
        neuron,
        spiking,
        backends.precision_for(backend, spikes.device),
        torch.is_grad_enabled() and any(tensor.requires_grad for tensor in flat),
        tuple(
            _Part(term.spikes.shape, term.spikes.graded, term.connection, len(term.parameter))
            for term in terms
        ),
    )
    first, *rest = _Layer.apply(call, *flat)
    if not spiking:
        return first
    shape = *spikes.shape[:2], terms[0].connection.n_out
    potential, *storage = rest[: FIRED - 1]
    return spikes_of(shape, first, *storage, potential=potential, unit_shape=unit_shape_of(terms))


def unit_shape_of(terms: Sequence[Term]) -> tuple[int, ...]:
    """How the neurons are laid out: as a term that says more than their number has them."""
    shapes = [term.connection.unit_shape for term in terms]
    return max(shapes, key=len)


def dense_current(terms: Sequence[Term]) -> Tensor:
    """(B, T, N): the terms' currents, added up, in plain PyTorch."""
    _check(terms)
    from sparsespike.backends import dense

    return dense.current(terms)


def _check(terms: Sequence[Term]) -> None:
    first = terms[0]
    for term in terms:
        term.check()
        if term.spikes.shape[:2] != first.spikes.shape[:2]:
            raise ValueError(
                f"spikes: expected (B, T) = {first.spikes.shape[:2]} of every term, "
                f"found {term.spikes.shape[:2]}"
            )
        if term.connection.n_out != first.connection.n_out:
            raise ValueError(
                f"weight: expected {first.connection.n_out} neurons of every term, "
                f"found {term.connection.n_out}"
            )
        own, shape = term.connection.unit_shape, unit_shape_of(terms)
        if len(own) > 1 and own != shape:
            raise ValueError(
                f"current: expected neurons laid out as {shape} of every term, found {own}"
            )
        if term.parameter[0].dtype is not first.parameter[0].dtype:
            raise ValueError(
                f"weight: expected {first.parameter[0].dtype} of every term, "
                f"found {term.parameter[0].dtype}"
            )


class _Part(NamedTuple):
    """All of a term that is not a tensor.

    Attributes:
        shape: of its spikes.
        graded: whether these are.
        connection: which.
        n_parameter: how many parameters it has.
    """

    shape: Shape
    graded: bool
    connection: Connection
    n_parameter: int


@dataclass(frozen=True)
class _Call:
    """All of one call that is not a tensor.

    Attributes:
        backend: its name.
        neuron: what the neurons do.
        spiking: whether they spike.
        precision: of products.
        recorded: whether a backward pass may follow.
        parts: one per term.
    """

    backend: str
    neuron: Neuron
    spiking: bool
    precision: Precision
    recorded: bool
    parts: tuple[_Part, ...]

    def terms(self, flat: Sequence[Tensor]) -> list[Term]:
        """The terms whose tensors these are."""
        terms, at = [], 0
        for shape, graded, connection, n_parameter in self.parts:
            own = at + STORED
            spikes = spikes_of(shape, *flat[at:own], graded=graded)
            terms.append(Term(spikes, connection, tuple(flat[own : own + n_parameter])))
            at = own + n_parameter
        return terms

    def n_flat(self) -> int:
        """How many tensors the terms are."""
        return sum(STORED + part.n_parameter for part in self.parts)

    def forward(self, terms: list[Term]) -> tuple[Tensor, ...]:
        """The output's tensors, then what the backend keeps for the backward pass."""
        if terms[0].spikes.device.type != "cuda":  # there the backend looks, when it waits anyhow
            for term in terms:
                check_finite(term.parameter)
        backend = backends.load(self.backend)
        if not self.spiking:
            potential, kept = backend.readout_forward(terms, self.neuron, self.precision)
            return potential, *kept
        fired, kept = backend.spiking_forward(terms, self.neuron, self.precision, self.recorded)
        assert fired.potential is not None
        return fired.value, fired.potential, *fired.storage, *kept

    def backward(
        self, grad: Tensor, needed: Sequence[bool], saved: Sequence[Tensor]
    ) -> list[Tensor]:
        """Of every term the gradient of `value`, empty where it is not needed, and of its parameters."""
        n_flat = self.n_flat()
        terms, out = self.terms(saved[:n_flat]), saved[n_flat:]
        backend = backends.load(self.backend)
        if self.spiking:
            value, potential, *storage = out[:FIRED]
            shape = *terms[0].spikes.shape[:2], terms[0].connection.n_out
            fired = spikes_of(shape, value, *storage, potential=potential)
            gradients = backend.spiking_backward(
                grad, terms, list(out[FIRED:]), fired, self.neuron, self.precision, needed
            )
        else:
            gradients = backend.readout_backward(
                grad, terms, list(out[1:]), self.neuron, self.precision, needed
            )
        return [tensor for value, parameter in gradients for tensor in (value, *parameter)]


class _Layer(torch.autograd.Function):
    """Forward pass of a layer; the first output alone is differentiable."""

    @staticmethod
    def forward(call: _Call, *flat: Tensor) -> tuple[Tensor, ...]:
        return call.forward(call.terms(flat))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        call, *flat = inputs
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        # A readout's own output is not needed, and is as large as the dense method's.
        kept = output if call.spiking else (flat[0].new_empty(0), *output[1:])
        ctx.save_for_backward(*flat, *kept)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore
        call, needs = ctx.call, ctx.needs_input_grad[1:]
        returned: list[Tensor | None] = [None] * (1 + len(needs))
        if grad is None:
            return tuple(returned)
        at, places = 0, []  # of each gradient among the inputs
        for part in call.parts:
            own = at + STORED
            places += [at, *range(own, own + part.n_parameter)]
            at = own + part.n_parameter
        needed = tuple(needs[place] for place in places)
        gradients = _LayerBackward.apply(call, needed, grad.contiguous(), *ctx.saved_tensors)
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
        call: _Call, needed: Sequence[bool], grad: Tensor, *saved: Tensor
    ) -> tuple[Tensor, ...]:
        at, by_term = 0, []  # whether ε of each term is needed
        for part in call.parts:
            by_term.append(needed[at])
            at += 1 + part.n_parameter
        return tuple(call.backward(grad, by_term, saved))

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
