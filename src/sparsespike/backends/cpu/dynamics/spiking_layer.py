"""Spiking layers of neurons of the form: what the backend offers of them; see `Backend`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends import Fired, Gradient, Gradients, Upstream
from sparsespike.backends.cpu import form, surrogate
from sparsespike.backends.cpu.dynamics import back, fire, spiking
from sparsespike.backends.cpu.dynamics.placed import Placed
from sparsespike.backends.cpu.dynamics.unit import N_KEPT, kept_of, unit_from
from sparsespike.backends.cpu.linear_form import summed
from sparsespike.backends.cpu.simd import FOUR, lanes_of
from sparsespike.backends.cpu.sites import at_places
from sparsespike.backends.cpu.threads import ranges, run_all
from sparsespike.descriptions import Cell, Dynamics, Term
from sparsespike.spikes.spikes import Spikes


def spiking_forward(terms: Sequence[Term], cell: Cell, recorded: bool) -> Fired:
    """One spiking layer; see `Backend`. Eligibilities are carried where a backward pass may follow."""
    placed = Placed(terms, cell, traced=recorded)
    unit, n_out = placed.unit, placed.n_out
    n_batch, steps, _ = terms[0].spikes.shape
    k, n_learned = len(unit.states), unit.learned.number
    n_row = n_batch * steps
    out_offset, active_offset = np.empty(n_row + 1, np.int64), np.empty(n_row + 1, np.int64)
    out_offset[0] = active_offset[0] = 0
    driven = any(form.has_bias(term.connection, term.parameter) for term in terms)
    inflows, kept = placed.inflows(terms)
    recurrent, kept_recurrent = _recurrent(cell, placed)
    n_kept = k + 1 - unit.lag
    resumed = cell.state is not None or cell.returns_state
    if resumed and unit.lag == 0 and unit.attached and len(unit.swallowed):
        raise ValueError(
            "state: expected a reset that is detached, or lag 1: a spike of the last step would swallow "
            "the first input of the next call, whose gradient would have to go back to it"
        )
    given, ends, end_trace = placed.seam(cell, n_batch, n_kept)
    watched = _watched(cell, placed)
    n_watched = n_row * len(watched)
    watch = fire.Watch(watched, placed.zeros(n_watched), placed.zeros(n_watched * n_learned))

    def run(first: int, last: int) -> tuple[NDArray, ...]:
        state = placed.zeros((k + 1) * placed.n)
        scratch = fire.Room(
            state,
            placed.zeros(n_learned * k * placed.n),
            state[k * placed.n :],
            np.zeros(-(-placed.n // (FOUR * lanes_of(placed.dtype))), np.uint64),
            placed.zeros(0 if placed.layout is None else placed.n),
            placed.zeros(n_out * (1 + n_learned) * k),
            np.empty(n_out, np.uint32),
            np.empty(n_out, np.uint32),
            *placed.ring(),
        )
        return spiking.forward(
            inflows,
            recurrent,
            unit,
            steps,
            first,
            last,
            n_out,
            driven,
            scratch,
            placed.sites(),
            given,
            ends,
            end_trace,
            watch,
            out_offset,
            active_offset,
        )

    parts = ranges(n_batch)
    lists, potential, value, slope, kick = form.joined(
        run_all(run, parts), parts, steps, out_offset, active_offset
    )
    spikes = Spikes((n_batch, steps, n_out), lists, value, potential)
    state = placed.by_neuron(ends) if cell.returns_state else None
    record = None
    if cell.record is not None:
        record = torch.from_numpy(watch.potential).view(n_batch, steps, -1)
    known = kept_recurrent, slope, kick, *map(torch.from_numpy, (end_trace, watch.slope))
    return Fired(spikes, [*kept, *known, *kept_of(unit)], state, record)


def spiking_backward(
    grad: Upstream,
    terms: Sequence[Term],
    kept: list[Tensor],
    fired: Spikes,
    cell: Cell,
    needed: Sequence[bool],
) -> Gradients:
    """Sparse gradient of one spiking layer; see `Backend`. The first term's walk finds c for the others."""
    told = cell.neuron
    assert isinstance(told, Dynamics)
    kept, numbers = kept[:-N_KEPT], kept[-N_KEPT:]
    placed = Placed(terms, cell, unit=unit_from(numbers, told))
    *rows, kept_recurrent, slope, kick, trace, watched_slope = kept
    assert len(slope) == fired.n_active * len(cell.number), "eligibilities were not followed"
    walk = _Walk(grad, fired, cell, placed, slope, kick, trace, watched_slope)
    if cell.recurrent is not None:
        walk.recurrent = placed.synapses(cell.recurrent).kernel(kept_recurrent, cell.weight)
    gradients = [
        walk.term(term, own, need_input)
        for term, own, need_input in zip(terms, rows, needed, strict=True)
    ]
    return Gradients(gradients, walk.number(), walk.weight, walk.earlier())


class _Walk:
    """The walks back of one layer, one per term; the first does what is the neurons' own.

    Attributes:
        recurrent: kernel form of the connection from the layer to itself, or None.
        weight: the gradient of its tensors, after the first walk.
    """

    def __init__(
        self,
        grad: Upstream,
        fired: Spikes,
        cell: Cell,
        placed: Placed,
        slope: Tensor,
        kick: Tensor,
        trace: Tensor,
        watched_slope: Tensor,
    ) -> None:
        self.cell, self.placed, self.steps = cell, placed, fired.shape[1]
        unit, dtype = placed.unit, placed.dtype
        told: Any = cell.neuron
        own = form.rows(fired.unit, fired.offset)
        active = form.rows(fired.active_unit, fired.active_offset)
        potential, given = fired.potential, cell.state
        assert potential is not None
        distance = np.empty_like(potential.numpy())
        level = unit.theta + unit.rest
        place, active_place = own[0], active[0]
        if placed.layout is not None:
            place, active_place = np.empty_like(place), np.empty_like(active_place)
            at_places(placed.place, own[0], 0, len(place), place)
            at_places(placed.place, active[0], 0, len(active_place), active_place)
        back.distances(level, active_place, potential.numpy(), distance)
        upstream = grad.output.detach()
        # Where nothing else reaches a spike, c is at hand before the walk.
        known = cell.recurrent is None and not unit.kicked and (unit.lag or grad.state is None)
        every = surrogate.kernel(told, 0.0, torch.from_numpy(distance), upstream, not known)
        g, coefficient = every(0, len(distance))
        self.own = back.Own(
            own[0],
            own[1],
            place,
            active[0],
            active[1],
            active_place,
            fired.value.detach().numpy(),
            distance[:0] if g is None else g,
            kick.numpy(),
            slope.numpy(),
            coefficient if g is None else upstream.numpy().copy(),
        )
        nothing = np.zeros((0, 0, 0), dtype)
        n_batch = fired.shape[0]
        self.seam = back.Seam(
            nothing if grad.state is None else placed.placed(grad.state),
            trace.numpy(),
            nothing if given is None or unit.lag else placed.placed(given),
            nothing if given is None else np.zeros((n_batch, given.shape[1], placed.n), dtype),
        )
        watched = _watched(cell, placed)
        if grad.record is None:
            watched = watched[:0]
        above = np.zeros(0, dtype) if grad.record is None else grad.record.reshape(-1).numpy()
        self.watch = fire.Watch(watched, above, watched_slope.numpy())
        self.recurrent: Any = None
        self.weight: list[Tensor] = []
        self._numbers: list[NDArray] = []
        self._first = True

    def term(self, term: Term, rows: Tensor, need_input: bool) -> Gradient:
        """The gradient of one term."""
        placed, unit, first_walk = self.placed, self.placed.unit, self._first
        k, n_out, n_learned = len(unit.states), placed.n_out, len(self.cell.number)
        synapses = placed.synapses(term.connection)
        lists = form.WalkLists(term.spikes, need_input)
        gathered = lists.gathered.zero_().numpy()
        kernel = synapses.kernel(rows, term.parameter)
        connection = kernel if len(gathered) else None
        biased = form.has_bias(term.connection, term.parameter)
        recurrent = self.recurrent if first_walk else None
        own, seam = self.own, self.seam
        if not first_walk:
            nothing = np.zeros((0, 0, 0), placed.dtype)
            own = own._replace(slope=own.slope[:0])
            seam = seam._replace(before=nothing, earlier=nothing)
        own_connection = self.cell.recurrent

        def run(first: int, last: int) -> Any:
            gradient = placed.gradient(term.connection, kernel, biased)
            back_gradient = None
            if recurrent is not None and own_connection is not None:
                own_biased = form.has_bias(own_connection, self.cell.weight)
                back_gradient = placed.gradient(own_connection, recurrent, own_biased)
            number = placed.zeros(n_learned, placed.n)
            scratch = back.BackRoom(
                placed.zeros(k * placed.n),
                placed.zeros(placed.n),
                placed.zeros(n_out, k + 1),
                placed.zeros(len(own.coefficient) if recurrent is not None else 0),
                np.arange(n_out, dtype=np.uint32),
                placed.place,
                np.empty(n_out, np.uint32),
                np.empty(n_out, np.uint32),
                placed.zeros(n_out),
                *placed.ring(),
            )
            back.backward(
                connection,
                gradient,
                recurrent,
                back_gradient,
                unit,
                *lists.arrays,
                self.steps,
                first,
                last,
                scratch,
                own,
                seam,
                self.watch,
                gathered,
                number,
            )
            return gradient, back_gradient, number

        found = run_all(run, ranges(term.spikes.shape[0]))
        if first_walk:
            self._first = False
            self._numbers = [number for _, _, number in found]
            if own_connection is not None:
                own_form = placed.synapses(own_connection)
                self.weight = own_form.total([part for _, part, _ in found], self.cell.weight)
        total = synapses.total([gradient for gradient, _, _ in found], term.parameter)
        return Gradient(lists.gathered, total)

    def number(self) -> list[Tensor]:
        """The gradients of the learned numbers, each (n_out,)."""
        if not self.cell.number:
            return []
        return list(self.placed.by_neuron(summed(self._numbers)).unbind(0))

    def earlier(self) -> Tensor | None:
        """The gradient of the state that was given."""
        return self.placed.by_neuron(self.seam.earlier) if len(self.seam.earlier) else None


def _watched(cell: Cell, placed: Placed) -> NDArray:
    """(m,) uint32: where the neurons to record are."""
    if cell.record is None:
        return np.empty(0, np.uint32)
    return placed.place[cell.record.numpy()].astype(np.uint32)


def _recurrent(cell: Cell, placed: Placed) -> tuple[Any, Tensor]:
    """The connection from the layer to itself as kernels take it, and what it keeps."""
    if cell.recurrent is None:
        return None, torch.empty(0)
    synapses = placed.synapses(cell.recurrent)
    rows = synapses.fan_outs(cell.weight[0])
    return synapses.kernel(rows, cell.weight), rows
