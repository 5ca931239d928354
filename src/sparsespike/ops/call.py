"""One call of a layer: what of it is no tensor, and its passes on a backend, from flat lists of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sparsespike import backends
from sparsespike.backends.finite import check_finite
from sparsespike.descriptions import Cell, Connection, Precision, Term
from sparsespike.ops.autocast import uncast
from sparsespike.ops.checks import check_memory
from sparsespike.ops.ranges import layer_name, ranged
from sparsespike.ops.tensors import Shape, spikes_of

STORED = 5  # tensors of a term before its parameters: value and storage
FIRED = 9  # tensors of a spiking layer's output: value, state, record, lazy, potential and storage
READ = 3  # of a readout's: potential, state, and no record
FLOWING = 3  # of these the first are differentiable


class Part(NamedTuple):
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
class Call:
    """All of one call that is not a tensor.

    Attributes:
        backend: its name.
        bare: the cell without its tensors.
        n_own: how many of its tensors there are: numbers, weights, a state or none, and `Cell.lazy` or none.
        precision: of products.
        recorded: whether a backward pass may follow.
        parts: one per term.
        place: which layer of a network it is, while a profiler listens; else "".
    """

    backend: str
    bare: Cell
    n_own: tuple[int, int, bool, bool]
    precision: Precision
    recorded: bool
    parts: tuple[Part, ...]
    place: str

    def name(self) -> str:
        """What a profiler shows."""
        return layer_name(self.place, (part.connection for part in self.parts), self.bare)

    def terms(self, flat: Sequence[Tensor]) -> list[Term]:
        """The terms whose tensors these are."""
        terms, at = [], 0
        for shape, graded, connection, n_parameter in self.parts:
            own = at + STORED
            spikes = spikes_of(shape, *flat[at:own], graded=graded)
            terms.append(Term(spikes, connection, tuple(flat[own : own + n_parameter])))
            at = own + n_parameter
        return terms

    def cell(self, flat: Sequence[Tensor]) -> Cell:
        """The cell whose tensors follow those of the terms."""
        n_number, n_weight, known, lazy = self.n_own
        own = flat[self.n_terms() : self.n_flat()]
        return self.bare._replace(
            number=tuple(own[:n_number]),
            weight=tuple(own[n_number : n_number + n_weight]),
            state=own[n_number + n_weight] if known else None,
            lazy=own[-1] if lazy else None,
        )

    @property
    def spiking(self) -> bool:
        """Whether the neurons spike."""
        return self.bare.neuron.spiking

    def nothing_above(self, saved: Sequence[Tensor]) -> Tensor:
        """Zeros for the gradient of an output that no loss reads."""
        if self.spiking:
            return torch.zeros_like(saved[self.n_flat()])
        shape = *self.parts[0].shape[:2], self.parts[0].connection.n_out
        return saved[STORED].new_zeros(shape)

    def n_terms(self) -> int:
        """How many tensors the terms are."""
        return sum(STORED + part.n_parameter for part in self.parts)

    def n_flat(self) -> int:
        """How many tensors the terms and the cell are."""
        return self.n_terms() + sum(self.n_own)

    def forward(self, terms: list[Term], cell: Cell) -> tuple[Tensor, ...]:
        """The output's tensors, then what the backend keeps for the backward pass."""
        with uncast(terms[0].spikes.device), ranged(self.name, "forward"):
            return self._forward(terms, cell)

    def _forward(self, terms: list[Term], cell: Cell) -> tuple[Tensor, ...]:
        check_memory(terms, cell, "forward")
        if terms[0].spikes.device.type != "cuda":  # there the backend looks, when it waits anyhow
            for term in terms:
                check_finite(term.parameter)
            check_finite(cell.weight)
        backend = backends.load(self.backend)
        if not self.spiking:
            read = backend.readout_forward(terms, cell, self.precision)
            state = _or_nothing(read.state, read.potential)
            return read.potential, state, read.potential.new_empty(0), *read.kept
        ran = backend.spiking_forward(terms, cell, self.precision, self.recorded)
        fired, potential = ran.spikes, ran.spikes.potential
        assert potential is not None
        more = (_or_nothing(each, potential) for each in (ran.state, ran.record, ran.lazy))
        return fired.value, *more, potential, *fired.storage, *ran.kept

    def backward(
        self, grad: backends.Upstream, needed: Sequence[bool], saved: Sequence[Tensor]
    ) -> list[Tensor]:
        """Of every term the gradient of `value`, empty where it is not needed, and of its parameters.

        Then those of the cell's tensors.
        """
        with uncast(grad.output.device), ranged(self.name, "backward"):
            return self._backward(grad, needed, saved)

    def _backward(
        self, grad: backends.Upstream, needed: Sequence[bool], saved: Sequence[Tensor]
    ) -> list[Tensor]:
        n_flat = self.n_flat()
        flat, out = saved[:n_flat], saved[n_flat:]
        terms, cell = self.terms(flat), self.cell(flat)
        check_memory(terms, cell, "backward")
        backend = backends.load(self.backend)
        if self.spiking:
            value, _, _, _, potential, *storage = out[:FIRED]
            shape = *terms[0].spikes.shape[:2], terms[0].connection.n_out
            fired = spikes_of(shape, value, *storage, potential=potential)
            found = backend.spiking_backward(
                grad, terms, list(out[FIRED:]), fired, cell, self.precision, needed
            )
        else:
            kept = list(out[READ:])
            found = backend.readout_backward(grad, terms, kept, cell, self.precision, needed)
        gradients = [tensor for value, parameter in found.terms for tensor in (value, *parameter)]
        for number, each in zip(cell.number, found.number, strict=True):
            gradients.append((each if number.dim() else each.sum()).to(number.dtype))
        gradients += found.weight
        nothing = grad.output.new_empty(0)  # of a state whose gradient nobody asked for
        return [*gradients, _or_nothing(found.state, nothing)] if self.n_own[2] else gradients


def _or_nothing(state: Tensor | None, like: Tensor) -> Tensor:
    return like.new_empty(0) if state is None else state
