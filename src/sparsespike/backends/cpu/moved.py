"""Delays per input are the events': each is moved to the step in which it arrives, once per tap.

What is left are synapses without delays, of n_taps * n_in inputs, and the kernels for these:
unit c * n_in + i is unit i as its tap c brings it. ε comes back to where an entry was, summed over its taps
(`docs/method.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends import Gradient, Gradients
from sparsespike.backends.cpu.form import rows
from sparsespike.backends.cpu.simd import ONE
from sparsespike.compiling.compiled import compiled
from sparsespike.descriptions import Cell, Delayed, Linear, Term
from sparsespike.spikes.lists import Lists


class Moved(NamedTuple):
    """The terms of a layer, those with delays per input as terms without any.

    Attributes:
        terms: as kernels compute them.
        given: as they were.
        place: of each term (n_active, n_taps), where its active entries went, or their number for what comes
            after the last step; None where they stayed.
    """

    terms: Sequence[Term]
    given: Sequence[Term]
    place: Sequence[NDArray | None]

    def back(self, found: Gradients) -> Gradients:
        """The gradients of the terms that were given."""
        own = zip(found.terms, self.given, self.place, strict=True)
        return found._replace(terms=[_back(each, term, place) for each, term, place in own])


def move_events(terms: Sequence[Term], cell: Cell, needed: Sequence[bool] = ()) -> Moved:
    """Moves the events of delays per input; not where the state is wanted, as some would be lost.

    Args:
        terms: of the layer.
        cell: the layer beside them.
        needed: of which terms ε is wanted, so that the active entries move too; of none by default.
    """
    stay = cell.state is not None or cell.returns_state
    found: list[tuple[Term, NDArray | None]] = []
    for t, term in enumerate(terms):
        stays = stay or term.waits or not isinstance(term.connection, Delayed)
        found.append((term, None) if stays else _move(term, bool(needed) and needed[t]))
    return Moved([term for term, _ in found], terms, [place for _, place in found])


def _taps(connection: Delayed, steps: Tensor) -> int:
    """How many of the taps are wanted: of whole delays that are not learned the first brings everything."""
    whole = (
        not connection.learned and connection.spread == 1 and bool((steps == steps.floor()).all())
    )
    return 1 if whole else connection.n_taps


def _move(term: Term, sensed: bool) -> tuple[Term, NDArray]:
    connection, spikes = term.connection, term.spikes
    assert isinstance(connection, Delayed)
    weight, *bias, steps = (each.detach() for each in term.parameter)
    n_batch, n_step, n_in = spikes.shape
    first, n_taps = connection.taps(steps)[0].numpy().astype(np.uint64), _taps(connection, steps)
    events = rows(spikes.unit, spikes.offset)
    unit, offset, _ = _lists(*events, n_step, first, n_taps, False)
    lists, value = Lists(unit, offset), spikes.value
    place = np.empty((0, n_taps), np.uint32)
    if sensed and len(spikes.active_offset):
        active = rows(spikes.active_unit, spikes.active_offset)
        unit, offset, place = _lists(*active, n_step, first, n_taps, True)
        lists = lists._replace(active_unit=unit, active_offset=offset)
        value = value.new_zeros(len(unit))
    if n_taps > 1:
        weights = connection.weights(weight, steps)
        weight = weights.transpose(0, 1).reshape(connection.n_out, n_taps * n_in)
    own = replace(
        spikes,
        shape=(n_batch, n_step, n_taps * n_in),
        storage=lists,
        value=value,
        unit_shape=(),
        potential=None,
    )
    return Term(own, Linear(n_taps * n_in, connection.n_out), (weight, *bias)), place


def _back(found: Gradient, term: Term, place: NDArray | None) -> Gradient:
    if place is None:
        return found
    connection: Any = term.connection
    weight, *_, steps = (each.detach() for each in term.parameter)
    n_taps = place.shape[1]
    moved, *bias = found.parameter
    if n_taps == 1:
        grad_weight, grad_steps = moved, torch.zeros_like(steps)
    else:
        brought = moved.view(connection.n_out, n_taps, -1).transpose(0, 1)
        pull_back: Any = torch.func.vjp(connection.weights, weight, steps)[1]
        grad_weight, grad_steps = pull_back(brought)
    value = found.value
    if len(place):
        by_tap = np.append(
            value.numpy(), value.numpy().dtype.type(0)
        )  # the last: beyond the last step
        value = torch.from_numpy(by_tap[place].sum(1))
    return Gradient(value, [grad_weight.contiguous(), *bias, grad_steps.contiguous()])


def _lists(
    unit: NDArray, offset: NDArray, n_step: int, first: NDArray, n_taps: int, placed: bool
) -> tuple[Tensor, Tensor, NDArray]:
    """The moved list, its bounds, and where each entry went: (n, n_taps), or (0, n_taps) if nobody asks."""
    end = np.zeros(len(offset), np.uint64)
    place = np.empty((len(unit) if placed else 0, n_taps), np.uint32)
    out = np.empty(len(unit) * n_taps, np.uint32)
    n = _move_all(unit, offset, np.uint64(n_step), first, np.uint64(n_taps), end, place, out)
    return torch.from_numpy(out[:n].view(np.int32)), torch.from_numpy(end.view(np.int64)), place


@compiled
def _move_all(unit, offset, n_step, first, n_taps, end, place, out):
    """A counting sort of all taps by the row in which they arrive, those of one row as they were sent.

    Args:
        unit: (n,) units.
        offset: (n_row + 1,) bounds of the rows in `unit`.
        n_step: rows of a sample; what arrives after its last is left out.
        first: (n_in,) rows that each unit's first tap is late.
        n_taps: of each.
        end: (n_row + 1,) zeros, written: bounds of the rows in `out`.
        place: (n, n_taps) written: where in `out`, or how many are there if left out; or (0, n_taps).
        out: (n * n_taps,) written.

    Returns:
        How many there are.
    """
    n_in, placed = np.uint64(len(first)), len(place) > 0
    n_row = np.uint64(len(offset)) - ONE
    left = n_step  # rows of the sample from this one on
    for row in range(n_row):
        for e in range(offset[row], offset[row + ONE]):
            late = first[unit[e]]
            for c in range(late, min(late + n_taps, left)):
                end[row + c + ONE] += ONE
        left = left - ONE if left > ONE else n_step
    n = np.uint64(0)
    for row in range(n_row):  # where the row's next comes, one row further on: at last its end
        size = end[row + ONE]
        end[row + ONE] = n
        n += size
    for row in range(n_row):
        for e in range(offset[row], offset[row + ONE]):
            i = np.uint64(unit[e])
            late = row + first[i]
            for c in range(n_taps):
                if first[i] + c < left:
                    q = end[late + c + ONE]
                    end[late + c + ONE] = q + ONE
                    out[q] = c * n_in + i
                    if placed:
                        place[e, c] = q
                elif placed:
                    place[e, c] = n
        left = left - ONE if left > ONE else n_step
    return n
