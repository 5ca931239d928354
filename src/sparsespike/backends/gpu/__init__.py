"""The GPU backend: forward and sparse backward in Triton, over bits packed along time.

Segment by segment of time, a connection's kernels make currents of spikes (`linear.py`, `conv.py`,
`sparse.py`), and a neuron's kernel walks through them, one thread a unit (`lif.py`, `readout.py`);
backwards the same with δ in place of currents. Nothing of size batch x time x unit outlives a
segment; a batch too large for one is cut (`batches.py`). Every sum has a fixed order: the same bits on
every run. The host waits once for the device in the recorded forward pass of a spiking layer or a max
pooling (`pool.py`), and never in evaluation; once more at a connection on sums or averages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sparsespike.backends import Fired, Gradient, Gradients, Read, Upstream
from sparsespike.backends.gpu import batches, count, lif, plan, pool, readout, surrogate
from sparsespike.backends.gpu.conv import ConvSynapses
from sparsespike.backends.gpu.launch import on_device
from sparsespike.backends.gpu.listing import Listing
from sparsespike.backends.gpu.precision import Products, products
from sparsespike.backends.gpu.sparse import SparseSynapses
from sparsespike.backends.gpu.synapses import LinearSynapses
from sparsespike.backends.kernels import plain_neuron, with_kernel
from sparsespike.descriptions import (
    LIF,
    Cell,
    Conv,
    Linear,
    Precision,
    Readout,
    SparseLinear,
    Term,
)
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.windows import Windows
from sparsespike.spikes.words import STEPS, UNITS, Words, n_blocks, n_words

# A neuron's walk through one segment: (first word, words, state (B, N), currents or δ (B, words * 32, N)).
Walk = Callable[[int, int, Tensor, Tensor], None]
Synapses = LinearSynapses | ConvSynapses | SparseSynapses


def spiking_forward(
    terms: Sequence[Term], cell: Cell, precision: Precision, recorded: bool
) -> Fired:
    """One spiking layer; see `Backend`. Unless `recorded`, `value` and `potential` come empty."""
    known, like = plain_neuron(cell, LIF, "gpu"), terms[0].parameter[0].detach()
    shape = *terms[0].spikes.shape[:2], terms[0].connection.n_out
    word = terms[0].spikes.words.word.new_empty((shape[0], n_words(shape[1]), shape[2]))
    active, kept, fired = torch.empty_like(word), None, []
    with on_device(like):
        constants = lif.constants(known, like.dtype, like.device)
        for first, n in batches.parts(terms):
            part, own = batches.cut(terms, first, n, [False] * len(terms)), slice(first, first + n)
            synapses = _synapses(part, precision, kept)
            kept = _planes(synapses)
            listing = _fire(synapses, known, constants, recorded, word[own], active[own], shape[1])
            if listing is None:
                uncounted, nothing = torch.empty(0, dtype=torch.int64), like.new_empty(0)
                bare = Words(word[own], uncounted, active[own], word.new_empty(0))
                fired.append((bare, nothing, nothing))
                continue
            counts = listing.counted([term.parameter for term in terms])
            if listing.pooled and counts[1] > listing.capacity:
                listing.capacity = counts[1]
                _fire(
                    synapses, known, constants, recorded, word[own], active[own], shape[1], listing
                )
            fired.append(listing.lists(*counts))
        assert kept is not None
        return Fired(Spikes(shape, *batches.joined(word, active, fired)), kept)


def _fire(
    synapses: list[Synapses],
    known: LIF,
    constants: Tensor,
    recorded: bool,
    word: Tensor,
    active: Tensor,
    n_step: int,
    listing: Listing | None = None,
) -> Listing | None:
    """Writes (B, W, N) spikes and active entries; gives what lists the latter, anew or once more."""
    n_batch, n_word, n_out = word.shape
    if listing is not None:
        listing.begin()
    elif recorded:
        listing = Listing(word, active, constants, len(_segments(synapses)) > 1)

    def fire(first: int, words: int, state: Tensor, current: Tensor) -> None:
        lif.fire[(n_batch, n_blocks(n_out))](
            current,
            state,
            constants,
            word,
            active,
            word if listing is None else listing.count,
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

    _forward(synapses, fire)
    return listing


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
    known, potential, own = plain_neuron(cell, LIF, "gpu"), fired.potential, fired.words
    assert potential is not None
    attached = known.attached
    _, n_word, n_out = own.word.shape
    with on_device(grad.output):
        constants = lif.constants(known, potential.dtype, potential.device)
        slope, coefficient = surrogate.coefficients(known, potential, grad.output, attached)
        total = batches.Sum(len(terms))

        def send_back(first: int, words: int, state: Tensor, delta: Tensor) -> None:
            lif.send_back[(n, n_blocks(n_out))](
                coefficient,
                slope,
                potential,
                constants,
                own.word[sample:],
                own.active[sample:],
                own.start[sample:],
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

        for sample, n in batches.parts(terms):
            part = batches.cut(terms, sample, n, needed)
            total.add(_backward(_synapses(part, precision, kept), needed, send_back))
        return Gradients(total.gradients())


def readout_forward(terms: Sequence[Term], cell: Cell, precision: Precision) -> Read:
    """One readout layer; see `Backend`."""
    known, like = plain_neuron(cell, Readout, "gpu"), terms[0].parameter[0].detach()
    n_batch, n_step, _ = terms[0].spikes.shape
    n_out = terms[0].connection.n_out
    potential = like.new_empty((n_batch, n_step, n_out))
    with on_device(like):
        constants = readout.constants(known, like.dtype, like.device)

        def integrate(first: int, words: int, state: Tensor, current: Tensor) -> None:
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

        synapses = _synapses(terms, precision)
        _forward(synapses, integrate)
    return Read(potential, _planes(synapses))


def readout_backward(
    grad: Upstream,
    terms: Sequence[Term],
    kept: list[Tensor],
    cell: Cell,
    precision: Precision,
    needed: Sequence[bool],
) -> Gradients:
    """Gradient of one readout layer; see `Backend`."""
    known = plain_neuron(cell, Readout, "gpu")
    above = grad.output
    n_batch, n_step, n_out = above.shape
    with on_device(above):
        constants = readout.constants(known, above.dtype, above.device)

        def integrate_back(first: int, words: int, state: Tensor, delta: Tensor) -> None:
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

        return Gradients(_backward(_synapses(terms, precision, kept), needed, integrate_back))


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


def _synapses(
    terms: Sequence[Term], precision: Precision, kept: list[Tensor] | None = None
) -> list[Synapses]:
    """Of every term; layers of words through one connection share its planes, which `kept` has once."""
    how = products(terms[0].parameter[0].dtype, precision)
    known, made, rest = {}, [], iter(kept or ())
    for term in terms:
        key = id(term.connection), term.parameter[0].data_ptr()
        planes = known[key] if key in known else next(rest, None)
        made.append(_one(term, how, planes))
        known[key] = made[-1].planes
    return made


def _planes(synapses: list[Synapses]) -> list[Tensor]:
    """What stands for the weights, once each."""
    return list({id(one.planes): one.planes for one in synapses}.values())


def _one(term: Term, how: Products, planes: Tensor | None) -> Synapses:
    if isinstance(term.connection, Conv):
        return ConvSynapses(term, how, planes)
    if isinstance(term.connection, SparseLinear):
        return SparseSynapses(term, planes)
    with_kernel(term.connection, Linear, "gpu")
    return LinearSynapses(term, how, planes)


def _segments(synapses: list[Synapses]) -> list[tuple[int, int]]:
    """Of the terms one at a time has something beside the currents or δ."""
    first = synapses[0]
    units = first.n_out + max(one.beside for one in synapses)
    return plan.segments(first.batch, first.n_word, units, first.weight.itemsize)


def _forward(synapses: list[Synapses], walk: Walk) -> None:
    """Segment after segment: currents of all terms, and the neurons' walk through them."""
    like, n_batch, n_out = synapses[0].weight, synapses[0].batch, synapses[0].n_out
    state = like.new_zeros((n_batch, n_out))
    for first, words in _segments(synapses):
        current = like.new_empty((n_batch, words * STEPS, n_out))
        synapses[0].scatter(first, words, current)
        for one in synapses[1:]:
            # Added here: the kernel would need registers for what it adds to, and spill.
            more = torch.empty_like(current)
            one.scatter(first, words, more)
            current += more
        walk(first, words, state, current)


def _backward(synapses: list[Synapses], needed: Sequence[bool], walk: Walk) -> list[Gradient]:
    """Segment after segment from the last: the neurons' walk gives δ, which the gradients are sums of."""
    like, n_batch, n_out = synapses[0].weight, synapses[0].batch, synapses[0].n_out
    gradients = [
        one.gradient(len(one.spikes.value) if wanted else 0)
        for one, wanted in zip(synapses, needed, strict=True)
    ]
    # All terms read the same δ: in the widest format that any of them wants.
    dtype = max((one.how.delta for one in synapses), key=lambda dtype: dtype.itemsize)
    state = like.new_zeros((n_batch, n_out))
    for first, words in reversed(_segments(synapses)):
        delta = like.new_empty((n_batch, words * STEPS, n_out), dtype=dtype)
        walk(first, words, state, delta)
        for gradient in gradients:
            gradient.add(delta, first, words)
    return [Gradient(one.input, one.parameters()) for one in gradients]
