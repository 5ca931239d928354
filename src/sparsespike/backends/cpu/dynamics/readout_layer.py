"""Readout layers of neurons of the form: what the backend offers of them; see `Backend`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends import Gradient, Gradients, Read, Upstream
from sparsespike.backends.cpu import form
from sparsespike.backends.cpu.dynamics import readout
from sparsespike.backends.cpu.dynamics.placed import Placed
from sparsespike.backends.cpu.threads import ranges, run_all
from sparsespike.descriptions import Cell, Connection, Term


def readout_forward(terms: Sequence[Term], cell: Cell) -> Read:
    """One readout layer; see `Backend`."""
    placed = Placed(terms, cell)
    k = len(placed.unit.states)
    n_batch, steps, _ = terms[0].spikes.shape
    potential = np.empty((n_batch, steps, placed.n_out), placed.dtype)
    nothing = np.zeros((0, 0, 0), placed.dtype)
    given, ends, end_trace = placed.seam(cell, n_batch, k)
    kept = _integrate(terms, placed, given, ends, end_trace, potential, nothing)[0]
    state = placed.by_neuron(ends) if cell.returns_state else None
    return Read(torch.from_numpy(potential), [*kept, torch.from_numpy(end_trace)], state)


def readout_backward(
    grad: Upstream,
    terms: Sequence[Term],
    kept: list[Tensor],
    cell: Cell,
    needed: Sequence[bool],
) -> Gradients:
    """Gradient of one readout layer; see `Backend`."""
    placed = Placed(terms, cell)
    unit, above = placed.unit, grad.output.detach().numpy()
    k = len(unit.states)
    *rows, trace = kept
    nothing = np.zeros((0, 0, 0), placed.dtype)
    later = nothing if grad.state is None else placed.placed(grad.state)
    given = cell.state
    earlier = nothing if given is None else placed.zeros(len(above), given.shape[1], placed.n)
    gradients = []
    for term, own, need_input in zip(terms, rows, needed, strict=True):
        synapses = placed.synapses(term.connection)
        lists = form.WalkLists(term.spikes, need_input)
        gathered = lists.gathered.zero_().numpy()
        kernel = synapses.kernel(own, term.parameter)
        connection = kernel if len(gathered) else None

        def run(
            first: int,
            last: int,
            connection: Any = connection,
            lists: form.WalkLists = lists,
            gathered: NDArray = gathered,
            kernel: Any = kernel,
            of: Connection = term.connection,
            biased: bool = form.has_bias(term.connection, term.parameter),
        ) -> Any:
            gradient = placed.gradient(of, kernel, biased)
            readout.backward(
                connection,
                gradient,
                unit,
                *lists.arrays,
                first,
                last,
                _room(placed, 0),
                placed.sites(),
                above,
                later,
                earlier,
                gathered,
                np.empty(0, np.uint32),
                placed.zeros(0, 0),
            )
            return gradient

        total = synapses.total(run_all(run, ranges(len(above))), term.parameter)
        gradients.append(Gradient(lists.gathered, total))
    number: list[Tensor] = []
    if (
        unit.learned.number
    ):  # a readout is active in every step: what it learns is found in a walk of its own
        start, ends, end_trace = placed.seam(cell._replace(returns_state=False), len(above), k)
        _, found = _integrate(terms, placed, start, ends, end_trace, above, above)
        total = np.sum(found, 0).reshape(unit.learned.number, -1)
        if len(later):
            carried = trace.numpy().reshape(len(above), unit.learned.number, k, placed.n)
            total = total + np.einsum("bkn,bmkn->mn", later[:, :k], carried)
        number = list(placed.by_neuron(total).unbind(0))
    state = placed.by_neuron(earlier) if len(earlier) else None
    return Gradients(gradients, number, (), state)


def _integrate(
    terms: Sequence[Term],
    placed: Placed,
    given: NDArray,
    ends: NDArray,
    end_trace: NDArray,
    potential: NDArray,
    grad: NDArray,
) -> tuple[list[Tensor], list[NDArray]]:
    """Walks forward: writes the potential, or gives the gradients of the learned numbers, of each range."""
    unit = placed.unit
    n_learned = unit.learned.number
    inflows, kept = placed.inflows(terms)
    driven = any(form.has_bias(term.connection, term.parameter) for term in terms)

    def run(first: int, last: int) -> NDArray:
        # Without a gradient the eligibilities are wanted at the end only.
        traced = n_learned if len(grad) or len(end_trace) else 0
        own = unit if traced else unit._replace(learned=unit.learned._replace(number=0))
        number = placed.zeros(n_learned * placed.n)
        scratch = _room(placed, traced)
        readout.forward(
            inflows,
            own,
            first,
            last,
            driven,
            scratch,
            placed.sites(),
            given,
            ends,
            end_trace,
            potential,
            grad,
            number,
        )
        return number

    return kept, run_all(run, ranges(len(potential)))


def _room(placed: Placed, traced: int) -> readout.Room:
    """What a walk writes to, with the eligibilities of so many numbers."""
    k, n = len(placed.unit.states), placed.n
    state = placed.zeros((k + 1) * n)
    return readout.Room(
        state,
        placed.zeros(traced * k * n),
        state[k * n :],
        placed.zeros(n),
        *placed.ring(),
    )
