"""Spiking layers of neurons of the form: what the backend offers of them; see `Backend`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sparsespike.backends import Fired, Gradients, Upstream
from sparsespike.backends.gpu import firing, passes, surrogate
from sparsespike.backends.gpu.dynamics.unit import Unit, unit_of
from sparsespike.backends.gpu.dynamics.walks import Back, Walks, Watch
from sparsespike.backends.gpu.synapses import entries
from sparsespike.backends.kernels import refuse
from sparsespike.descriptions import Cell, Linear, Precision, Term
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.words import STEPS, Words

# Neurons of a recurrent layer, at most, each a thread of one program, whose registers they share.
TOGETHER = {torch.float32: 512, torch.float64: 256}


def spiking_forward(
    terms: Sequence[Term], cell: Cell, precision: Precision, recorded: bool
) -> Fired:
    """One spiking layer; see `Backend`. Unless `recorded`, `value` and `potential` come empty."""
    like, n_out = terms[0].parameter[0].detach(), terms[0].connection.n_out
    _check_recurrent(cell, n_out, like.dtype)
    n_batch, steps, _ = terms[0].spikes.shape
    unit = unit_of(cell, n_out, like)
    _check_seam(cell, unit)
    watch, column = _watched(cell, n_out, like)
    walks = Walks(unit, cell, watch, steps)
    n_learned, n_kicks = (unit.n_learned, unit.n_kicks) if recorded else (0, 0)
    record = like.new_empty((n_batch, steps, watch.n))
    recorded_slope = like.new_empty((n_batch, n_learned, steps, watch.n))
    n_ends, n_traces = (n_batch, n_learned) if cell.returns_state else (0, 0)
    ends = like.new_empty((n_ends, unit.n_kept, n_out))
    end_trace = like.new_empty((n_ends, n_traces, unit.k, n_out))

    def walk_of(target: firing.Target) -> passes.Walk:
        samples, listing = target.samples, target.listing
        n, n_word, _ = target.word.shape
        state = walks.start(samples, n)
        traces = walks.traces(n) if n_learned else None

        def walk(first: int, words: int, current: Tensor) -> None:
            beside, kick = None, None
            if n_learned + n_kicks:
                shape = n_learned + n_kicks, n, words * STEPS, n_out
                # With lag 0 the input of the step after the last one, which a spike may swallow, never comes.
                late = n_kicks and unit.told.lag == 0
                beside = current.new_zeros(shape) if late else current.new_empty(shape)
                kick = beside[n_learned:] if n_kicks else None
            total, begun = None, state
            if n_learned and cell.recurrent is not None:
                # What neurons bring each other is known when they have moved.
                total, begun = torch.empty_like(current), state.clone()
                walks.move(first, words, current, state, record[samples], target, kick, total)
            if beside is not None and traces is not None:
                slopes, seen = beside[:n_learned], recorded_slope[samples]
                driven = current if total is None else total
                walks.trace(first, words, driven, begun, traces, seen, slope=slopes)
            if total is None:
                walks.move(first, words, current, state, record[samples], target, kick)
            if listing is not None:
                listing.take(current, first, words, beside)
            if cell.returns_state and first + words == n_word:
                ends[samples] = state
                if traces is not None:
                    end_trace[samples] = traces

        return walk

    rows = 1 + n_learned + n_kicks
    more = int(cell.recurrent is not None and n_learned > 0)
    spikes, listed, planes = firing.fired(
        terms, precision, recorded, walk_of, rows, more, cell.weight
    )
    slopes, kicks = listed[1:].split([n_learned, n_kicks])
    return Fired(
        spikes,
        [*planes, slopes, kicks, end_trace, recorded_slope],
        ends if cell.returns_state else None,
        None if cell.record is None else record[:, :, column],
    )


def spiking_backward(
    grad: Upstream,
    terms: Sequence[Term],
    kept: list[Tensor],
    fired: Spikes,
    cell: Cell,
    precision: Precision,
    needed: Sequence[bool],
) -> Gradients:
    """Sparse gradient of one spiking layer; see `Backend`."""
    *planes, slopes, kicks, end_trace, recorded_slope = kept
    n_batch, steps, n_out = fired.shape
    potential, words = fired.potential, fired.words
    assert potential is not None
    unit = unit_of(cell, n_out, potential)
    watch, column = _watched(cell, n_out, potential)
    walks = Walks(unit, cell, watch, steps)
    ends = grad.state is not None and unit.told.lag == 0
    _, neuron = entries(words, len(potential))
    distance = potential - unit.level.index_select(0, neuron)
    slope, coefficient = surrogate.coefficients(
        unit.told, distance, 0.0, grad.output, walks.kicked or ends
    )
    record = potential.new_zeros((n_batch, steps, 0))
    if grad.record is not None:
        record = potential.new_zeros((n_batch, steps, watch.n)).index_add(2, column, grad.record)
    adjoint = potential.new_zeros((n_batch, unit.n_kept, n_out))
    if grad.state is not None:
        adjoint.copy_(grad.state)
    given = None if unit.told.lag else walks.given
    sent_before = None if given is None else given[:, unit.k].contiguous()

    def walk_of(samples: slice) -> passes.Walk:
        own = Back(
            coefficient,
            slope,
            kicks,
            *(each[samples] for each in (words.word, words.active, words.start)),
        )
        own_adjoint, own_record = adjoint[samples], record[samples]
        before = None if sent_before is None else sent_before[samples]

        def walk(first: int, words: int, delta: Tensor) -> None:
            walks.back(first, words, delta, own_adjoint, own_record, own, before, ends)

        return walk

    own_term = [] if cell.recurrent is None else [_own_term(cell, fired)]
    gradients = passes.gradients(
        [*terms, *own_term], planes, precision, [*needed, *(False for _ in own_term)], walk_of
    )
    weight = gradients.pop().parameter if own_term else []
    number = walks.numbers(coefficient, slopes, words)
    if unit.n_learned and grad.state is not None:
        number = number + (grad.state[:, None, : unit.k] * end_trace).sum((0, 2))
    if unit.n_learned and watch.n and grad.record is not None:
        seen = (record[:, None] * recorded_slope).sum((0, 2))
        number = number + torch.where(watch.slot >= 0, seen[:, watch.slot.clamp(min=0).long()], 0.0)
    return Gradients(gradients, number.unbind(0), weight, walks.before(adjoint))


def _watched(cell: Cell, n_out: int, like: Tensor) -> tuple[Watch, Tensor]:
    """Which neurons are recorded, each once, in their order; and the column of each that was asked for."""
    slot = torch.full((n_out,), -1, dtype=torch.int32, device=like.device)
    if cell.record is None:
        return Watch(slot, 0), slot[:0].long()
    neuron, column = torch.unique(cell.record, return_inverse=True)
    slot[neuron] = torch.arange(len(neuron), dtype=torch.int32, device=like.device)
    return Watch(slot, len(neuron)), column


def _check_recurrent(cell: Cell, n_out: int, dtype: torch.dtype) -> None:
    """Raises a ValueError where neurons cannot wait for each other: all of a sample are in one program."""
    if cell.recurrent is None:
        return
    kind = type(cell.recurrent).__name__
    refuse(not isinstance(cell.recurrent, Linear), f"a recurrent {kind}", "gpu")
    most = TOGETHER[dtype]
    what = f"recurrent connections of more than {most} neurons in {dtype}, found {n_out}"
    refuse(n_out > most, what, "gpu")


def _own_term(cell: Cell, fired: Spikes) -> Term:
    """What the layer's spikes bring to itself, at the steps at which it arrives with the input."""
    words, nothing = fired.words, fired.words.word.new_empty(0)
    word = words.word
    if cell.neuron.lag == 0:  # one step later
        first = torch.zeros_like(word[:, :1])
        if cell.state is not None:
            first = (cell.state[:, -1:] > 0).to(word.dtype)
        word = (word << 1) | torch.cat([first, (word[:, :-1] >> (STEPS - 1)) & 1], 1)
        if fired.shape[1] % STEPS:
            word[:, -1] &= (1 << fired.shape[1] % STEPS) - 1
    total = torch.tensor([int(words.total[0]), 0])
    storage = Words(word, total, nothing, nothing)
    sent = replace(fired, storage=storage, value=fired.value[:0], potential=None)
    assert isinstance(cell.recurrent, Linear)
    return Term(sent, cell.recurrent, cell.weight)


def _check_seam(cell: Cell, unit: Unit) -> None:
    """Raises a ValueError where a gradient would have to go from one call to the one before."""
    resumed = cell.state is not None or cell.returns_state
    if resumed and unit.told.lag == 0 and unit.attached and unit.swallows:
        raise ValueError(
            "state: expected a reset that is detached, or lag 1: a spike of the last step would swallow "
            "the first input of the next call, whose gradient would have to go back to it"
        )
