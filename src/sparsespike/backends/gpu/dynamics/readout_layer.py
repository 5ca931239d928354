"""Readout layers of neurons of the form: what the backend offers of them; see `Backend`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsespike.backends import Gradients, Read, Upstream
from sparsespike.backends.gpu import passes
from sparsespike.backends.gpu.dynamics.unit import unit_of
from sparsespike.backends.gpu.dynamics.walks import Walks, Watch
from sparsespike.descriptions import Cell, Precision, Term


def readout_forward(terms: Sequence[Term], cell: Cell, precision: Precision) -> Read:
    """One readout layer; see `Backend`."""
    like, n_out = terms[0].parameter[0].detach(), terms[0].connection.n_out
    n_batch, steps, _ = terms[0].spikes.shape
    walks = _walks(terms, cell, like)
    potential = like.new_empty((n_batch, steps, n_out))
    state = walks.start(slice(n_batch), n_batch)

    def walk(first: int, words: int, current: Tensor) -> None:
        walks.move(first, words, current, state, potential)

    synapses = passes.synapses_of(terms, precision)
    passes.forward(synapses, walk)
    return Read(potential, passes.planes(synapses), state if cell.returns_state else None)


def readout_backward(
    grad: Upstream,
    terms: Sequence[Term],
    kept: list[Tensor],
    cell: Cell,
    precision: Precision,
    needed: Sequence[bool],
) -> Gradients:
    """Gradient of one readout layer; see `Backend`."""
    above = grad.output
    n_batch, _, n_out = above.shape
    walks = _walks(terms, cell, above)
    unit = walks.unit
    adjoint = above.new_zeros((n_batch, unit.k, n_out))
    if grad.state is not None:
        adjoint.copy_(grad.state)

    def walk(first: int, words: int, delta: Tensor) -> None:
        walks.back(first, words, delta, adjoint, above)

    synapses = passes.synapses_of(terms, precision, kept)
    gradients = passes.backward(synapses, needed, walk)
    number = above.new_zeros((n_batch, unit.n_learned, n_out))
    if unit.n_learned:  # a readout is active at every step: a walk of its own finds what it learns
        state, traces = walks.start(slice(n_batch), n_batch), walks.traces(n_batch)
        nothing = above[:, :, :0]

        def learn(first: int, words: int, current: Tensor) -> None:
            walks.trace(
                first,
                words,
                current,
                state,
                traces,
                nothing[:, None],
                grad=above,
                number=number,
            )
            walks.move(first, words, current, state, nothing)

        passes.forward(synapses, learn)
        if grad.state is not None:
            number = number + (grad.state[:, None] * traces).sum(2)
    return Gradients(gradients, number.sum(0).unbind(0), (), walks.before(adjoint))


def _walks(terms: Sequence[Term], cell: Cell, like: Tensor) -> Walks:
    """The walks; the potential of every neuron is kept."""
    n_out = terms[0].connection.n_out
    everyone = torch.arange(n_out, dtype=torch.int32, device=like.device)
    unit = unit_of(cell, n_out, like)
    return Walks(unit, cell, Watch(everyone, n_out), terms[0].spikes.shape[1])
