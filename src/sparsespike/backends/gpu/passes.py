"""A pass through a layer: segment after segment, what its terms bring, and its neurons' walk through that.

Forward, the terms' currents are added up and walked through; backward, the walk from the last segment on
gives δ, from which every term takes its gradients. The walks are the neurons': `lif.py`, `readout.py`,
`dynamics/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sparsespike.backends import Gradient
from sparsespike.backends.gpu import batches, plan
from sparsespike.backends.gpu.conv import ConvSynapses
from sparsespike.backends.gpu.precision import Products, products
from sparsespike.backends.gpu.sparse import SparseSynapses
from sparsespike.backends.gpu.synapses import LinearSynapses
from sparsespike.backends.kernels import refuse, with_kernel
from sparsespike.descriptions import Conv, Delayed, Linear, Precision, SparseLinear, Term
from sparsespike.spikes.words import STEPS

# The neurons' walk through one segment: (first word, words, currents or δ (B, words * 32, N)).
Walk = Callable[[int, int, Tensor], None]
Synapses = LinearSynapses | ConvSynapses | SparseSynapses


def synapses_of(
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


def planes(synapses: list[Synapses]) -> list[Tensor]:
    """What stands for the weights, once each."""
    return list({id(one.planes): one.planes for one in synapses}.values())


def segments(synapses: list[Synapses], rows: int = 0) -> list[tuple[int, int]]:
    """(first word, words) of each segment.

    Args:
        synapses: of the terms one at a time has something beside the currents or δ.
        rows: how many numbers per neuron and step the walk keeps beside them.
    """
    first = synapses[0]
    units = first.n_out * (1 + rows) + max(one.beside for one in synapses)
    return plan.segments(first.batch, first.n_word, units, first.weight.itemsize)


def forward(synapses: list[Synapses], walk: Walk, rows: int = 0) -> None:
    """Segment after segment: currents of all terms, and the neurons' walk; `rows`: see `segments`."""
    like, n_batch, n_out = synapses[0].weight, synapses[0].batch, synapses[0].n_out
    for first, words in segments(synapses, rows):
        current = like.new_empty((n_batch, words * STEPS, n_out))
        synapses[0].scatter(first, words, current)
        for one in synapses[1:]:
            # Added here: the kernel would need registers for what it adds to, and spill.
            more = torch.empty_like(current)
            one.scatter(first, words, more)
            current += more
        walk(first, words, current)


def backward(synapses: list[Synapses], needed: Sequence[bool], walk: Walk) -> list[Gradient]:
    """Segment after segment from the last: the neurons' walk gives δ, which the gradients are sums of."""
    like, n_batch, n_out = synapses[0].weight, synapses[0].batch, synapses[0].n_out
    found = [
        one.gradient(len(one.spikes.value) if wanted else 0)
        for one, wanted in zip(synapses, needed, strict=True)
    ]
    # All terms read the same δ: in the widest format that any of them wants.
    dtype = max((one.how.delta for one in synapses), key=lambda dtype: dtype.itemsize)
    for first, words in reversed(segments(synapses)):
        delta = like.new_empty((n_batch, words * STEPS, n_out), dtype=dtype)
        walk(first, words, delta)
        for gradient in found:
            gradient.add(delta, first, words)
    return [Gradient(one.input, one.parameters()) for one in found]


def gradients(
    terms: Sequence[Term],
    kept: list[Tensor],
    precision: Precision,
    needed: Sequence[bool],
    walk_of: Callable[[slice], Walk],
) -> list[Gradient]:
    """The gradients of a spiking layer's terms, of a large batch some samples at a time.

    Args:
        terms: of the whole batch.
        kept: what stands for their weights.
        precision: of products.
        needed: of which terms ε is wanted.
        walk_of: the neurons' walk back, of the samples that it is given.
    """
    total = batches.Sum(len(terms))
    for first, n in batches.parts(terms):
        synapses = synapses_of(batches.cut(terms, first, n, needed), precision, kept)
        total.add(backward(synapses, needed, walk_of(slice(first, first + n))))
    return total.gradients()


def _one(term: Term, how: Products, planes: Tensor | None) -> Synapses:
    if isinstance(term.connection, Conv):
        return ConvSynapses(term, how, planes)
    if isinstance(term.connection, SparseLinear):
        return SparseSynapses(term, planes)
    if isinstance(term.connection, Delayed):
        refuse(True, _late(term.connection), "gpu")
    with_kernel(term.connection, Linear, "gpu")
    return LinearSynapses(term, how, planes)


def _late(connection: Delayed) -> str:
    """Delays in words: those that are not given to the events."""
    if connection.moves_events:
        return "delays with a state"
    of = f" of a {type(connection.synapses).__name__}" if connection.per == "input" else ""
    return f"delays per {connection.per}{of}"
