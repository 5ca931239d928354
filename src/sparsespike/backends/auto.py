"""The backend "auto": per layer, call and pass the event-driven CPU kernels or the dense form, by cost.

Both give the same but for rounding. `costs.py` estimates what each takes, from the counts at hand and numbers
that were measured once per machine. The choice depends on nothing else: the same input gives the same bits.
Every choice is logged. Readouts, counts and pools are the CPU backend's: they cost little.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, get_args

from torch import Tensor

from sparsespike.backends import Fired, Gradients, Upstream, costs, cpu
from sparsespike.backends.cpu import (
    count_backward,
    count_forward,
    readout_backward,
    readout_forward,
    unpacked,
)
from sparsespike.backends.kernels import plain_neuron
from sparsespike.descriptions import LIF, Cell, Dynamics, Precision, Term
from sparsespike.spikes.spikes import Spikes

__all__ = [
    "count_backward",
    "count_forward",
    "readout_backward",
    "readout_forward",
    "spiking_backward",
    "spiking_forward",
]

Form = Literal["sparse", "dense"]

log = logging.getLogger(__name__)


class Choice(NamedTuple):
    """How one pass of a layer is computed, and why.

    Attributes:
        layer: its terms and what their input holds, in words.
        direction: "forward" or "backward".
        form: what was chosen.
        reason: the estimates in words, or why there was no choice.
    """

    layer: str
    direction: str
    form: Form
    reason: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.direction} {self.form}, {self.reason}"


class Forms(NamedTuple):
    """Which form each pass takes.

    Attributes:
        forward: of the forward pass.
        backward: of the backward pass.
    """

    forward: Form
    backward: Form


_forced: Forms | None = None  # no ContextVar: backward passes may run in threads of autograd's own
_seen: list[dict[Choice, None]] = []


@contextmanager
def use_forms(forward: Form, backward: Form) -> Iterator[None]:
    """Layers that have a dense form are computed so inside the `with`, whatever it costs; in all threads.

    Raises:
        ValueError: if there is no such form.
    """
    global _forced
    for name, form in (("forward", forward), ("backward", backward)):
        if form not in get_args(Form):
            raise ValueError(f'{name}: expected "sparse" or "dense", found {form!r}')
    before, _forced = _forced, Forms(forward, backward)
    try:
        yield
    finally:
        _forced = before


@contextmanager
def noted() -> Iterator[dict[Choice, None]]:
    """The choices made inside the `with`, each once, in the order in which they were first made."""
    _seen.append({})
    try:
        yield _seen[-1]
    finally:
        _seen.pop()


def spiking_forward(
    terms: Sequence[Term], cell: Cell, precision: Precision, recorded: bool
) -> Fired:
    """One spiking layer; see `Backend`. Neurons of the form have no dense kernels."""
    if isinstance(cell.neuron, Dynamics):
        return cpu.spiking_forward(terms, cell, precision, recorded)
    plain_neuron(cell, LIF, "auto")
    backend = _chosen(terms, "forward", lambda known: costs.forward(known, terms))
    return backend.spiking_forward(terms, cell, precision, recorded)


def spiking_backward(
    grad: Upstream,
    terms: Sequence[Term],
    kept: list[Tensor],
    fired: Spikes,
    cell: Cell,
    precision: Precision,
    needed: Sequence[bool],
) -> Gradients:
    """Sparse gradient of one spiking layer; see `Backend`. Either form takes over from either."""
    if isinstance(cell.neuron, Dynamics):
        return cpu.spiking_backward(grad, terms, kept, fired, cell, precision, needed)
    lif = plain_neuron(cell, LIF, "auto")
    backend = _chosen(
        terms, "backward", lambda known: costs.backward(known, terms, fired, lif, needed)
    )
    return backend.spiking_backward(grad, terms, kept, fired, cell, precision, needed)


def _chosen(
    terms: Sequence[Term], direction: str, estimated: Callable[[costs.Costs], costs.Estimate]
) -> Any:
    """The module of the cheaper form, or of the one asked for, where there is a choice."""
    refused = unpacked.refusal(terms)
    form: Form
    if refused:
        form, reason = "sparse", f"no dense form: {refused}"
    elif _forced is not None:
        form, reason = getattr(_forced, direction), "asked for"
    else:
        sparse, dense = estimated(costs.in_force().costs)
        form = "dense" if dense < sparse else "sparse"
        reason = f"estimated {sparse / 1e6:.3g} ms sparse, {dense / 1e6:.3g} ms dense"
    if _seen or log.isEnabledFor(logging.DEBUG):
        choice = Choice(_described(terms), direction, form, reason)
        log.debug("%s", choice)
        for seen in _seen:
            seen[choice] = None
    return unpacked if form == "dense" else cpu


def _described(terms: Sequence[Term]) -> str:
    """The layer and what its input holds, in words."""
    parts = []
    for spikes, connection, _ in terms:
        kind, shape = type(connection).__name__, "x".join(map(str, connection.unit_shape))
        counts = f"{len(spikes.unit)} spikes, {len(spikes.active_unit)} active inputs"
        parts.append(f"{kind} {connection.n_in} -> {shape} ({counts})")
    n_batch, steps, _ = terms[0].spikes.shape
    return f"{' + '.join(parts)}, B = {n_batch}, T = {steps}"
