"""The oracle: every layer as plain PyTorch over dense (B, T, N), gradients by autograd.

Slow and large on purpose; total, since it runs any connection's `current` and any neuron's `step`. The
sparse gradient is autograd of this (eq. 8), so nothing here is derived by hand: the backward passes
run the forward again under autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sparsespike.backends import Fired, Gradient, Gradients, Read, Upstream
from sparsespike.backends.kernels import check_kept
from sparsespike.descriptions import Cell, Delayed, Dynamics, Own, Precision, Term, rows_waiting
from sparsespike.descriptions.neurons import FormEquations
from sparsespike.spikes.lists import Lists, check_ends
from sparsespike.spikes.spikes import Spikes


def spiking_forward(
    terms: Sequence[Term], cell: Cell, precision: Precision, recorded: bool
) -> Fired:
    """One spiking layer; see `Backend`. The active set is there in any case."""
    ran = _run(cell, terms)
    potential = ran.potential
    active = _equations(cell, potential).active(potential)
    if cell.neuron.lag and cell.state is None:
        active[:, 0] = False  # V[0] is a constant: nothing to differentiate
    out = replace(
        Spikes.from_dense(ran.spike, active=active).to_lists(), potential=potential[active]
    )
    out = out if isinstance(terms[0].spikes.storage, Lists) else out.to_words()
    return Fired(out, [], ran.state, ran.record)


def spiking_backward(
    grad: Upstream,
    terms: Sequence[Term],
    kept: list[Tensor],
    fired: Spikes,
    cell: Cell,
    precision: Precision,
    needed: Sequence[bool],
) -> Gradients:
    """Gradient of `spiking_forward` by autograd; see `Backend`."""
    dense = grad.output.new_zeros(math.prod(fired.shape))
    dense[fired.storage.active_entry(fired.shape)] = grad.output
    grad = grad._replace(output=dense.view(fired.shape))
    return _gradients(lambda ran: ran.spike, grad, terms, cell, needed)


def readout_forward(terms: Sequence[Term], cell: Cell, precision: Precision) -> Read:
    """One readout layer; see `Backend`."""
    ran = _run(cell, terms)
    return Read(ran.potential, [], ran.state)


def readout_backward(
    grad: Upstream,
    terms: Sequence[Term],
    kept: list[Tensor],
    cell: Cell,
    precision: Precision,
    needed: Sequence[bool],
) -> Gradients:
    """Gradient of `readout_forward` by autograd; see `Backend`."""
    return _gradients(lambda ran: ran.potential, grad, terms, cell, needed)


def count_forward(spikes: Spikes) -> Tensor:
    """Spikes of each unit over time; see `Backend`."""
    return spikes.to_dense().flatten(2).sum(1)


def count_backward(grad: Tensor, spikes: Spikes) -> Tensor:
    """Gradient of the counts at the active entries; see `Backend`."""

    def total(value: Tensor) -> Tensor:
        return count_forward(replace(spikes, value=value))

    pull_back = torch.func.vjp(total, spikes.value)[1]
    return pull_back(grad)[0]


def current(terms: Sequence[Term]) -> Tensor:
    """(B, T, N): what the terms bring, added up."""
    brought = [term.connection.current(dense, term.parameter) for term, dense in _unpacked(terms)]
    return torch.stack(brought).sum(0) if len(brought) > 1 else brought[0]


def _unpacked(terms: Sequence[Term]) -> list[tuple[Term, Tensor]]:
    """The terms, and the spikes of each as (B, T, n_in)."""
    for term in terms:
        storage = term.spikes.storage
        if isinstance(storage, Lists):
            check_ends(len(storage.unit), int(storage.offset[-1]))
    return [(term, term.spikes.to(term.parameter[0].dtype).to_dense().flatten(2)) for term in terms]


def _arriving(terms: Sequence[Term], waiting: Tensor) -> Tensor:
    """The same as `current`, added to what waits (`Delayed.arriving`), beyond the last step too."""
    for term, dense in _unpacked(terms):
        connection, parameter = term.connection, term.parameter
        if not isinstance(connection, Delayed):
            now = connection.current(dense, parameter)
        else:
            waiting = connection.arriving(dense, parameter, waiting)
            if len(parameter) == 2:
                continue
            now = parameter[1].expand(*dense.shape[:2], -1)
        now = functional.pad(now, (0, 0, 0, waiting.shape[2] - dense.shape[1]))
        waiting = waiting + torch.stack([now, torch.zeros_like(now)])
    return waiting


class _Ran(NamedTuple):
    """What neurons did.

    Attributes:
        potential: (B, T, N), V, or the output of a readout.
        spike: (B, T, N), S; of a readout the same as `potential`.
        state: (B, n_kept, N), of the last step, where it was wanted.
        record: (B, T, m), V of some neurons, where it was wanted.
    """

    potential: Tensor
    spike: Tensor
    state: Tensor | None
    record: Tensor | None


def _equations(cell: Cell, like: Tensor) -> Any:
    """The neurons' equations; `like`: (B, T, N), for their number and dtype."""
    neuron = cell.neuron
    if isinstance(neuron, Dynamics):
        return FormEquations(neuron.form(cell.number, like.shape[2], like), neuron)
    if isinstance(neuron, Own):
        return neuron.equations(dict(zip(neuron.names, cell.number, strict=True)))
    return neuron  # those that kernels know carry theirs with their numbers


def _run(cell: Cell, terms: Sequence[Term]) -> _Ran:
    """The neurons under the current of their terms, by plain loops over time."""
    n_batch, n_step, _ = terms[0].spikes.shape
    own = [] if cell.recurrent is None else [cell.recurrent]
    rows = rows_waiting([*(term.connection for term in terms), *own])
    like = terms[0].parameter[0].new_zeros(n_batch, n_step, terms[0].connection.n_out)
    equations, spiking = _equations(cell, like), cell.neuron.spiking
    kept, given = cell.state, None
    if kept is not None and isinstance(equations, FormEquations):
        n_kept = equations.form.k + (1 - cell.neuron.lag if spiking else 0)
        check_kept(kept, n_kept, rows)
        given = kept[:, n_kept:].unflatten(1, (2, rows)).transpose(0, 1)
        kept = kept[:, :n_kept]
    queue = _Queue(terms, cell, rows, given)
    steps = queue.steps

    def inflow(state: Any, now: Tensor) -> Tensor:
        return now if cell.recurrent is None else now + queue.sent(state[1])

    state = equations.initial(steps[0])
    if kept is not None:
        if cell.neuron.lag:
            state = equations.resumed(kept)
        else:
            states = list(kept.unbind(1))
            fired = states.pop() if spiking else torch.zeros_like(steps[0])
            state = (equations.potential(states), fired, *states)
    states = [state] if cell.neuron.lag else []
    for now in (
        steps[:-1] if cell.neuron.lag else steps
    ):  # the input of the last step reaches nothing
        state = equations.step(state, inflow(state, now))
        states.append(state)
    final = None
    if cell.returns_state:
        if cell.neuron.lag:
            last = equations.moved(state, inflow(state, steps[-1]))
        else:
            last = [*state[2:], *([state[1]] if spiking else [])]
        final = torch.cat([torch.stack(last, 1), *queue.left()], 1)
    outputs: Any = [[state] if isinstance(state, Tensor) else state for state in states]
    potential = torch.stack([each[0] for each in outputs], 1)
    spike = torch.stack([each[1] for each in outputs], 1) if spiking else potential
    record = None if cell.record is None else potential.index_select(2, cell.record)
    return _Ran(potential, spike, final, record)


class _Queue:
    """What is on its way to the neurons.

    Attributes:
        steps: the T currents, each (B, N), but for what the layer sends to itself.
    """

    def __init__(self, terms: Sequence[Term], cell: Cell, rows: int, given: Tensor | None) -> None:
        self.cell, self.rows = cell, rows
        n_batch, n_step, _ = terms[0].spikes.shape
        n_out, like = terms[0].connection.n_out, terms[0].parameter[0]
        self._own = like.new_zeros(2, n_batch, rows + 1, n_out)
        if given is None and not cell.returns_state:
            self.steps, self._beyond = current(terms).unbind(1), self._own[:, :, 1:]
            return
        waiting = like.new_zeros(2, n_batch, rows, n_out) if given is None else given
        whole = _arriving(terms, functional.pad(waiting, (0, 0, 0, n_step)))
        self.steps, self._beyond = whole[:, :, :n_step].sum(0).unbind(1), whole[:, :, n_step:]

    def sent(self, spike: Tensor) -> Tensor:
        """(B, N): what arrives now of all that the layer has sent to itself, `spike` included."""
        connection, weight = self.cell.recurrent, self.cell.weight
        assert connection is not None
        if not isinstance(connection, Delayed):
            return connection.current(spike[:, None], weight)[:, 0]
        waiting = functional.pad(self._own[:, :, 1:], (0, 0, 0, 1))
        self._own = connection.arriving(spike[:, None], weight, waiting)
        now = self._own[:, :, 0].sum(0)
        return now + weight[1] if len(weight) == 3 else now

    def left(self) -> tuple[Tensor, Tensor]:
        """(B, rows, N), by even taps and by odd ones: what arrives in the steps after the last."""
        near, far = self._beyond + self._own[:, :, 1:]
        return near, far


def _gradients(
    output: Callable[[_Ran], Tensor],
    grad: Upstream,
    terms: Sequence[Term],
    cell: Cell,
    needed: Sequence[bool],
) -> Gradients:
    """Autograd of all that a layer gives; `vjp`, as an op runs below the usual autograd."""
    n_out = grad.output.shape[2]
    flat = [tensor for term in terms for tensor in (term.spikes.value, *term.parameter)]
    flat += [number.expand(n_out) for number in cell.number]
    flat += [*cell.weight, *([] if cell.state is None else [cell.state])]

    def of_tensors(*tensors: Tensor) -> Any:
        rest = iter(tensors)
        own = [
            term._replace(
                spikes=replace(term.spikes, value=next(rest)),
                parameter=tuple(next(rest) for _ in term.parameter),
            )
            for term in terms
        ]
        number = tuple(next(rest) for _ in cell.number)
        weight = tuple(next(rest) for _ in cell.weight)
        state = None if cell.state is None else next(rest)
        ran = _run(cell._replace(number=number, weight=weight, state=state), own)
        return tuple(each for each in (output(ran), ran.state, ran.record) if each is not None)

    found: Any = torch.func.vjp(of_tensors, *flat)
    out, pull_back = found
    wanted_too = (cell.returns_state, grad.state), (cell.record is not None, grad.record)
    above = [grad.output, *(each for wanted, each in wanted_too if wanted)]
    known = tuple(
        torch.zeros_like(given) if each is None else each
        for given, each in zip(out, above, strict=True)
    )
    rest = iter(pull_back(known))
    by_term = []
    for term, wanted in zip(terms, needed, strict=True):
        value, parameter = next(rest), [next(rest).contiguous() for _ in term.parameter]
        by_term.append(Gradient(value if wanted else value.new_empty(0), parameter))
    number = [next(rest) for _ in cell.number]
    weight = [next(rest).contiguous() for _ in cell.weight]
    return Gradients(by_term, number, weight, None if cell.state is None else next(rest))
