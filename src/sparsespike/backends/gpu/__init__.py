"""The GPU backend: forward and sparse backward in Triton, over bits packed along time.

Segment by segment of time, a connection's kernels make currents of spikes (`linear.py`, `conv.py`,
`sparse.py`), and a neuron's kernel walks through them, one thread a unit (`lif.py`, `readout.py`, and
`dynamics/` for every other neuron); backwards the same with δ in place of currents (`passes.py`). Nothing
of size batch x time x unit outlives a segment; a batch too large for one is cut (`batches.py`). Every sum
has a fixed order: the same bits on every run. The host waits once for the device in the recorded forward
pass of a spiking layer or a max pooling (`pool.py`), and never in evaluation; once more at a connection on
sums or averages.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsespike.backends import Fired, Gradients, Read, Upstream
from sparsespike.backends.gpu import (
    count,
    dynamics,
    firing,
    lif,
    passes,
    pool,
    readout,
    surrogate,
)
from sparsespike.backends.gpu.launch import on_device
from sparsespike.backends.gpu.moved import arrived
from sparsespike.backends.kernels import plain_neuron
from sparsespike.backends.moved import move_events
from sparsespike.descriptions import LIF, Cell, Dynamics, Precision, Readout, Term
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.windows import Windows
from sparsespike.spikes.words import UNITS, Words, n_blocks


def spiking_forward(
    terms: Sequence[Term], cell: Cell, precision: Precision, recorded: bool
) -> Fired:
    """One spiking layer; see `Backend`. Unless `recorded`, `value` and `potential` come empty."""
    terms = move_events(terms, cell, arrived).terms
    if isinstance(cell.neuron, Dynamics):
        with on_device(terms[0].parameter[0]):
            return dynamics.spiking_forward(terms, cell, precision, recorded)
    known, like = plain_neuron(cell, LIF, "gpu"), terms[0].parameter[0].detach()
    n_step, n_out = terms[0].spikes.shape[1], terms[0].connection.n_out
    with on_device(like):
        constants = lif.constants(known, like.dtype, like.device)

        def walk_of(target: firing.Target) -> passes.Walk:
            n_batch, n_word, _ = target.word.shape
            listing, state = target.listing, like.new_zeros((n_batch, n_out))

            def fire(first: int, words: int, current: Tensor) -> None:
                lif.fire[(n_batch, n_blocks(n_out))](
                    current,
                    state,
                    constants,
                    target.word,
                    target.active,
                    target.word if listing is None else listing.count,
                    first,
                    n_word,
                    words,
                    n_step,
                    n_out,
                    n_batch * n_word * n_blocks(n_out),
                    RESET=lif.RESET[known.reset],
                    RECORDED=recorded,
                    UNITS=UNITS,
                    num_warps=UNITS // 32,
                    enable_fp_fusion=False,
                )
                if listing is not None:
                    listing.take(current, first, words)

            return fire

        spikes, _, planes = firing.fired(terms, precision, recorded, walk_of)
        return Fired(spikes, planes)


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
    given = move_events(terms, cell, arrived, needed)
    terms = given.terms
    if isinstance(cell.neuron, Dynamics):
        with on_device(grad.output):
            found = dynamics.spiking_backward(grad, terms, kept, fired, cell, precision, needed)
        return given.back(found)
    known, potential, own = plain_neuron(cell, LIF, "gpu"), fired.potential, fired.words
    assert potential is not None
    attached = known.attached
    n_out = fired.shape[2]
    with on_device(grad.output):
        constants = lif.constants(known, potential.dtype, potential.device)
        slope, coefficient = surrogate.coefficients(
            known, potential, known.v_th, grad.output, attached
        )

        def walk_of(samples: slice) -> passes.Walk:
            words_of, active_of, start_of = (
                each[samples] for each in (own.word, own.active, own.start)
            )
            n_batch, n_word, _ = words_of.shape
            state = potential.new_zeros((n_batch, n_out))

            def send_back(first: int, words: int, delta: Tensor) -> None:
                lif.send_back[(n_batch, n_blocks(n_out))](
                    coefficient,
                    slope,
                    potential,
                    constants,
                    words_of,
                    active_of,
                    start_of,
                    state,
                    delta,
                    first,
                    n_word,
                    words,
                    fired.shape[1],
                    n_out,
                    RESET=lif.RESET[known.reset],
                    ATTACHED=attached,
                    UNITS=UNITS,
                    num_warps=UNITS // 32,
                    enable_fp_fusion=False,
                )

            return send_back

        found = passes.gradients(terms, kept, precision, needed, walk_of)
    return given.back(Gradients(found))


def readout_forward(terms: Sequence[Term], cell: Cell, precision: Precision) -> Read:
    """One readout layer; see `Backend`."""
    terms = move_events(terms, cell, arrived).terms
    if isinstance(cell.neuron, Dynamics):
        with on_device(terms[0].parameter[0]):
            return dynamics.readout_forward(terms, cell, precision)
    known, like = plain_neuron(cell, Readout, "gpu"), terms[0].parameter[0].detach()
    n_batch, n_step, _ = terms[0].spikes.shape
    n_out = terms[0].connection.n_out
    potential = like.new_empty((n_batch, n_step, n_out))
    with on_device(like):
        constants = readout.constants(known, like.dtype, like.device)
        state = like.new_zeros((n_batch, n_out))

        def integrate(first: int, words: int, current: Tensor) -> None:
            readout.integrate[(n_batch, n_blocks(n_out))](
                current,
                state,
                constants,
                potential,
                first,
                words,
                n_step,
                n_out,
                UNITS=UNITS,
                num_warps=UNITS // 32,
                enable_fp_fusion=False,
            )

        synapses = passes.synapses_of(terms, precision)
        passes.forward(synapses, integrate)
    return Read(potential, passes.planes(synapses))


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
        with on_device(grad.output):
            found = dynamics.readout_backward(grad, terms, kept, cell, precision, needed)
        return given.back(found)
    known = plain_neuron(cell, Readout, "gpu")
    above = grad.output
    n_batch, n_step, n_out = above.shape
    with on_device(above):
        constants = readout.constants(known, above.dtype, above.device)
        state = above.new_zeros((n_batch, n_out))

        def integrate_back(first: int, words: int, delta: Tensor) -> None:
            readout.integrate_back[(n_batch, n_blocks(n_out))](
                above,
                state,
                constants,
                delta,
                first,
                words,
                n_step,
                n_out,
                UNITS=UNITS,
                num_warps=UNITS // 32,
                enable_fp_fusion=False,
            )

        synapses = passes.synapses_of(terms, precision, kept)
        return given.back(Gradients(passes.backward(synapses, needed, integrate_back)))


def count_forward(spikes: Spikes) -> Tensor:
    """Spikes of each unit over time; see `Backend`."""
    word, n_layer = spikes.words.word, spikes.words.n_layers(spikes.shape)
    n_row, n_word, n_unit = word.shape
    total = spikes.value.new_empty((n_row, n_unit))
    with on_device(total):
        count.count[(n_row, n_blocks(n_unit))](word, total, n_word, n_unit, UNITS=UNITS)
    return total if n_layer == 1 else total.unflatten(0, (n_layer, -1)).sum(0)


def count_backward(grad: Tensor, spikes: Spikes) -> Tensor:
    """Gradient of the counts at the active entries; see `Backend`."""
    words, gathered = spikes.words, torch.empty_like(spikes.value)
    if not len(gathered):
        return gathered
    n_row, n_word, n_unit = words.word.shape
    grad = grad.repeat(words.n_layers(spikes.shape), 1)
    with on_device(grad):
        count.count_back[(n_row, n_word, n_blocks(n_unit))](
            grad, words.active, words.start, gathered, n_word, n_unit, UNITS=UNITS
        )
    return gathered


def max_pool(words: Words, windows: Windows) -> tuple[Words, Tensor]:
    """Pooled words, and which active input each active entry is the peak of; see `pool.max_pool`."""
    with on_device(words.word):
        return pool.max_pool(words, windows)
