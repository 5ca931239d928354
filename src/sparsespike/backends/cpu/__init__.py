"""The CPU backend: event-driven forward, sparse backward, in Numba.

Compiled once per combination of connection, neuron and dtype and cached on disk. Parallel over samples;
the same bits for the same input and thread count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends import Fired, Gradient, Gradients, Read, Upstream
from sparsespike.backends.cpu import (
    adjoint,
    drive,
    form,
    grouped,
    lazy,
    plan,
    readout,
    surrogate,
)
from sparsespike.backends.cpu.dynamics import readout_layer, spiking_layer
from sparsespike.backends.cpu.lif import ZERO
from sparsespike.backends.cpu.linear_form import LinearForm
from sparsespike.backends.cpu.moved import arrived
from sparsespike.backends.cpu.relays import count_backward, count_forward, max_pool, sum_pool
from sparsespike.backends.cpu.simd import aligned
from sparsespike.backends.cpu.sites import Layout, Sites, at_places, places, room
from sparsespike.backends.cpu.threads import ranges, run_all
from sparsespike.backends.kernels import plain_neuron
from sparsespike.backends.moved import move_events
from sparsespike.descriptions import LIF, Cell, Dynamics, Precision, Readout, Term
from sparsespike.spikes.spikes import Spikes

__all__ = [
    "count_backward",
    "count_forward",
    "max_pool",
    "readout_backward",
    "readout_forward",
    "spiking_backward",
    "spiking_forward",
    "sum_pool",
]


def spiking_forward(
    terms: Sequence[Term], cell: Cell, precision: Precision, recorded: bool
) -> Fired:
    """One spiking layer; see `Backend`. The active set is listed in any case: the scan finds both at once."""
    terms = move_events(terms, cell, arrived).terms
    lif = lazy.lif_of(terms, cell)
    if lif is None:
        return spiking_layer.spiking_forward(terms, cell, recorded)
    dtype, n_out = form.numpy_dtype(terms[0].parameter[0]), terms[0].connection.n_out
    constants = form.lif(lif, dtype)
    n_batch, steps, _ = terms[0].spikes.shape
    n_row = n_batch * steps
    out_offset, active_offset = np.empty(n_row + 1, np.int64), np.empty(n_row + 1, np.int64)
    out_offset[0] = active_offset[0] = 0
    driven = any(len(term.parameter) > 1 for term in terms) or bool(constants.floor < 0)
    layout = form.layout_of(terms)
    inflows, kept = form.inflows(terms, form.forms_of(terms, layout, dtype))
    neurons = lazy.Places(layout, n_out, dtype)
    given, ends = neurons.given(cell), neurons.ends(cell, n_batch)

    def run(first: int, last: int) -> tuple[NDArray, ...]:
        state = aligned((neurons.n,), dtype, -np.inf)
        return drive.forward(
            inflows,
            constants,
            steps,
            first,
            last,
            n_out,
            driven,
            state,
            _sites(layout, dtype, driven),
            given,
            ends,
            out_offset,
            active_offset,
        )

    parts = ranges(n_batch)
    lists, potential, value = form.joined(
        run_all(run, parts), parts, steps, out_offset, active_offset
    )
    spikes = Spikes((n_batch, steps, n_out), lists, value, potential)
    state, as_left = neurons.left(cell, ends)
    return Fired(spikes, kept, state, lazy=as_left)


def spiking_backward(
    grad: Upstream,
    terms: Sequence[Term],
    kept: list[Tensor],
    fired: Spikes,
    cell: Cell,
    precision: Precision,
    needed: Sequence[bool],
) -> Gradients:
    """Sparse gradient of one spiking layer; see `Backend`. Each term has a walk, and forms, of its own."""
    given = move_events(terms, cell, arrived, needed)
    terms = given.terms
    lif = lazy.lif_of(terms, cell)
    if lif is None:
        found = spiking_layer.spiking_backward(grad, terms, kept, fired, cell, needed)
        return given.back(found)
    dtype, n_out = form.numpy_dtype(terms[0].parameter[0]), fired.shape[2]
    neurons = lazy.Places(form.layout_of(terms), n_out, dtype)
    seam = neurons.seam(grad, fired.shape[0])
    by_term = [
        _spiking_gradient(grad.output, term, rows, fired, lif, neurons, need_input, seam)
        for term, rows, need_input in zip(terms, kept, needed, strict=True)
    ]
    return given.back(Gradients(by_term, state=neurons.earlier(grad, seam)))


def _spiking_gradient(
    grad_value: Tensor,
    term: Term,
    rows: Tensor,
    fired: Spikes,
    lif: LIF,
    neurons: lazy.Places,
    need_input: bool,
    seam: lazy.Seam | None,
) -> Gradient:
    spikes, _, parameter = term
    steps, layout, dtype = fired.shape[1], neurons.layout, neurons.dtype
    potential = fired.potential
    assert potential is not None
    neuron = form.lif(lif, dtype)
    lists = form.WalkLists(spikes, need_input)
    gathered = lists.gathered.numpy()
    wanted = len(gathered) > 0
    synapses = form.form_of(term.connection, layout, dtype)
    # The other forms are those of `Linear` whose neurons lie side by side.
    linear = synapses if isinstance(synapses, LinearForm) and synapses.layout is None else None
    summed, spread = plan.AT_ONCE, False
    if linear is not None and seam is None:  # the other forms know of no state
        summed, spread = plan.forms(spikes, fired, parameter, neuron, wanted)
    traced = linear is not None and summed == plan.TRACED
    connection = None
    if wanted and not spread:  # a forward pass by the dense form keeps no rows
        rows = rows if rows.numel() else synapses.fan_outs(parameter[0])
        connection = synapses.kernel(rows, parameter)
    transposed = linear.tiled(parameter[0]) if linear is not None and wanted and spread else None
    slope_of = surrogate.kernel(lif, lif.v_th, potential, grad_value, neuron.attached)
    own = form.rows(fired.unit, fired.offset)
    active = form.rows(fired.active_unit, fired.active_offset)
    place = None if layout is None or layout.in_a_row else places(layout, dtype)
    own_place, active_place = own[0], active[0]
    if place is not None:
        own_place, active_place = np.empty_like(own[0]), np.empty_like(active[0])

    def run(first: int, last: int) -> Any:
        start, stop = int(active[1][first * steps]), int(active[1][last * steps])
        slope, coefficient = slope_of(start, stop)
        if place is not None:
            at_places(place, active[0], start, stop, active_place)
            if neuron.reset == ZERO:  # else nobody asks where it spiked
                at_places(place, own[0], *own[1][[first * steps, last * steps]], own_place)
        if linear is not None and traced:
            gradient = linear.transposed_room()
            filtered = aligned(gradient.weight.shape[1:], dtype)
            unit, offset = lists.arrays[:2]
            adjoint.trace(
                gradient, neuron, unit, offset, steps, first, last, filtered, *active, coefficient
            )
        else:
            gradient = synapses.room(biased=len(parameter) > 1)
        if not traced or connection is not None:
            kept = None
            if summed == plan.GROUPED:
                n_in, n = gradient.weight.shape
                kept = grouped.room(n_in, n, lists.most_events(), dtype)
            adjoint.backward(
                connection,
                None if traced else gradient,
                kept,
                neuron,
                *lists.arrays,
                steps,
                first,
                last,
                aligned((neurons.n,), dtype),
                own_place,
                own[1],
                active_place,
                active[1],
                potential.numpy(),
                slope,
                coefficient,
                gathered,
                None if seam is None else seam.after,
                None if seam is None else seam.before,
            )
        if transposed is not None:
            n = transposed.tiled.shape[1]
            adjoint.spread(
                transposed,
                neuron,
                *lists.arrays[2:],
                steps,
                first,
                last,
                aligned((n,), dtype),
                aligned((grouped.ROWS, n), dtype, None),
                np.empty((2, grouped.ROWS), np.uint64),
                np.empty(adjoint.LISTED, np.int64),
                *active,
                coefficient,
                gathered,
            )
        return gradient

    gradients = run_all(run, ranges(spikes.shape[0]))
    if linear is not None and traced:
        return Gradient(lists.gathered, linear.transposed_total(gradients, parameter))
    return Gradient(lists.gathered, synapses.total(gradients, parameter))


def readout_forward(terms: Sequence[Term], cell: Cell, precision: Precision) -> Read:
    """One readout layer; see `Backend`."""
    terms = move_events(terms, cell, arrived).terms
    if isinstance(cell.neuron, Dynamics):
        return readout_layer.readout_forward(terms, cell)
    dtype, n_out = form.numpy_dtype(terms[0].parameter[0]), terms[0].connection.n_out
    alpha, gain = form.leak(plain_neuron(cell, Readout, "cpu"), dtype)
    n_batch, steps, _ = terms[0].spikes.shape
    potential = np.empty((n_batch, steps, n_out), dtype)
    layout = form.layout_of(terms)
    inflows, kept = form.inflows(terms, form.forms_of(terms, layout, dtype))

    def run(first: int, last: int) -> None:
        state = aligned((form.n_places(layout, n_out, dtype),), dtype)
        sites = _sites(layout, dtype, False)
        readout.forward(inflows, alpha, gain, first, last, state, sites, potential)

    run_all(run, ranges(n_batch))
    return Read(torch.from_numpy(potential), kept)


def readout_backward(
    grad: Upstream,
    terms: Sequence[Term],
    kept: list[Tensor],
    cell: Cell,
    precision: Precision,
    needed: Sequence[bool],
) -> Gradients:
    """Gradient of one readout layer; see `Backend`."""
    given = move_events(terms, cell, arrived, needed)
    terms = given.terms
    if isinstance(cell.neuron, Dynamics):
        return given.back(readout_layer.readout_backward(grad, terms, kept, cell, needed))
    above = grad.output.detach().numpy()
    alpha, gain = form.leak(plain_neuron(cell, Readout, "cpu"), above.dtype)
    layout = form.layout_of(terms)
    by_term = [
        _readout_gradient(above, term, rows, alpha, gain, layout, need_input)
        for term, rows, need_input in zip(terms, kept, needed, strict=True)
    ]
    return given.back(Gradients(by_term))


def _readout_gradient(
    grad: NDArray,
    term: Term,
    rows: Tensor,
    alpha: np.floating,
    gain: np.floating,
    layout: Layout | None,
    need_input: bool,
) -> Gradient:
    dtype = grad.dtype
    synapses, lists = (
        form.form_of(term.connection, layout, dtype),
        form.WalkLists(term.spikes, need_input),
    )
    connection = synapses.kernel(rows, term.parameter)

    def run(first: int, last: int) -> Any:
        gradient = synapses.room(biased=len(term.parameter) > 1)
        readout.backward(
            connection,
            gradient,
            alpha,
            gain,
            *lists.arrays,
            first,
            last,
            aligned((form.n_places(layout, grad.shape[2], dtype),), dtype),
            _sites(layout, dtype, False),
            grad,
            lists.gathered.numpy(),
        )
        return gradient

    found = run_all(run, ranges(grad.shape[0]))
    return Gradient(lists.gathered, synapses.total(found, term.parameter))


def _sites(layout: Layout | None, dtype: np.dtype, driven: bool) -> Sites | None:
    """Room for one thread's marks."""
    return None if layout is None else room(layout, dtype, driven)
