"""Delays per input are the events': each is moved to the step in which it arrives, once per tap.

What is left are synapses without delays, of n_taps * n_in inputs, and the kernels for these:
unit c * n_in + i is unit i as its tap c brings it. ε comes back to where an entry was, summed over its taps
(`docs/method.md`). How a backend's store of events is moved is its own to say: `Mover`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsespike.backends import Gradient, Gradients
from sparsespike.descriptions import Cell, Delayed, Linear, Term
from sparsespike.spikes.lists import Lists
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.words import Words


class Arrived(NamedTuple):
    """Events of (B, T, N) as events of (B, T, n_taps * N).

    Attributes:
        storage: of them; those beyond the last step are left out.
        n_active: active entries in it.
        place: (active entries before, n_taps) integers, where each has gone, or `n_active` for one that is
            left out; (0, n_taps) if nobody asked.
    """

    storage: Lists | Words
    n_active: int
    place: Tensor


# (spikes, (N,) steps that a unit's first tap is late, n_taps, whether active entries are wanted) -> `Arrived`
Mover = Callable[[Spikes, Tensor, int, bool], Arrived]


class Moved(NamedTuple):
    """The terms of a layer, those with delays per input as terms without any.

    Attributes:
        terms: as kernels compute them.
        given: as they were.
        place: of each term, see `Arrived`; None where events stayed.
    """

    terms: Sequence[Term]
    given: Sequence[Term]
    place: Sequence[Tensor | None]

    def back(self, found: Gradients) -> Gradients:
        """The gradients of the terms that were given."""
        own = zip(found.terms, self.given, self.place, strict=True)
        return found._replace(terms=[_back(each, term, place) for each, term, place in own])


def move_events(
    terms: Sequence[Term], cell: Cell, mover: Mover, needed: Sequence[bool] = ()
) -> Moved:
    """Moves the events of delays per input; not where the state is wanted, as some would be lost.

    Args:
        terms: of the layer.
        cell: the layer beside them.
        mover: moves what the backend stores.
        needed: of which terms ε is wanted, so that the active entries move too; of none by default.
    """
    stay = cell.state is not None or cell.returns_state
    found: list[tuple[Term, Tensor | None]] = []
    for t, term in enumerate(terms):
        stays = stay or term.waits or not isinstance(term.connection, Delayed)
        sensed = bool(needed) and needed[t]
        found.append((term, None) if stays else _move(term, mover, sensed))
    return Moved([term for term, _ in found], terms, [place for _, place in found])


def _taps(connection: Delayed, steps: Tensor) -> int:
    """How many of the taps are wanted: of whole delays that are not learned the first brings everything."""
    whole = (
        not connection.learned and connection.spread == 1 and bool((steps == steps.floor()).all())
    )
    return 1 if whole else connection.n_taps


def _move(term: Term, mover: Mover, sensed: bool) -> tuple[Term, Tensor]:
    connection, spikes = term.connection, term.spikes
    assert isinstance(connection, Delayed)
    weight, *bias, steps = (each.detach() for each in term.parameter)
    n_batch, n_step, n_in = spikes.shape
    n_taps = _taps(connection, steps)
    arrived = mover(spikes, connection.taps(steps)[0], n_taps, sensed)
    if n_taps > 1:
        weights = connection.weights(weight, steps)
        weight = weights.transpose(0, 1).reshape(connection.n_out, n_taps * n_in)
    own = replace(
        spikes,
        shape=(n_batch, n_step, n_taps * n_in),
        storage=arrived.storage,
        value=spikes.value.new_zeros(arrived.n_active),
        unit_shape=(),
        potential=None,
    )
    return Term(own, Linear(n_taps * n_in, connection.n_out), (weight, *bias)), arrived.place


def _back(found: Gradient, term: Term, place: Tensor | None) -> Gradient:
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
        by_tap = torch.cat([value, value.new_zeros(1)])  # the last: beyond the last step
        value = by_tap[place].sum(1)
    return Gradient(value, [grad_weight.contiguous(), *bias, grad_steps.contiguous()])
