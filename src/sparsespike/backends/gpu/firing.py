"""The forward pass of a spiking layer, whatever its neurons: words, active entries, parts of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsespike.backends.gpu import batches, passes
from sparsespike.backends.gpu.listing import Listing
from sparsespike.descriptions import Precision, Term
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.words import Words, n_words


class Target(NamedTuple):
    """Where neurons write what they do, of some samples.

    Attributes:
        samples: which.
        word: (B, W, N) int32, spikes.
        active: (B, W, N) int32, active entries.
        listing: what takes V, and other numbers, at the active entries; None without gradient.
    """

    samples: slice
    word: Tensor
    active: Tensor
    listing: Listing | None


class Layer(NamedTuple):
    """What a spiking layer gave.

    Attributes:
        spikes: (B, T, N).
        listed: (rows, n_active), V and what else was listed at the active entries.
        planes: what stands for the weights.
    """

    spikes: Spikes
    listed: Tensor
    planes: list[Tensor]


def fired(
    terms: Sequence[Term],
    precision: Precision,
    recorded: bool,
    walk_of: Callable[[Target], passes.Walk],
    rows: int = 1,
    more: int = 0,
    weight: tuple[Tensor, ...] = (),
) -> Layer:
    """Runs a spiking layer.

    Args:
        terms: what drives it.
        precision: of products.
        recorded: whether a backward pass may follow; else the lists come empty.
        walk_of: the neurons' walk, from its start.
        rows: how many numbers are listed of an active entry.
        more: how many numbers per neuron and step the walk keeps beside these.
        weight: of the connection from the layer to itself, to be looked at with those of the terms.
    """
    like = terms[0].parameter[0].detach()
    shape = *terms[0].spikes.shape[:2], terms[0].connection.n_out
    word = terms[0].spikes.words.word.new_empty((shape[0], n_words(shape[1]), shape[2]))
    active, planes, found = torch.empty_like(word), None, []
    beside = rows - 1 + more if recorded else 0
    for first, n in batches.parts(terms, beside):
        part, own = batches.cut(terms, first, n, [False] * len(terms)), slice(first, first + n)
        synapses = passes.synapses_of(part, precision, planes)
        planes = passes.planes(synapses)
        listing, bits = None, (word[own], active[own])
        if recorded:
            pooled = len(passes.segments(synapses, beside)) > 1
            listing = Listing(*bits, like, pooled, rows)
        target = Target(own, *bits, listing)
        passes.forward(synapses, walk_of(target), beside)
        if listing is None:
            uncounted, nothing = torch.empty(0, dtype=torch.int64), like.new_empty((rows, 0))
            bare = Words(bits[0], uncounted, bits[1], word.new_empty(0))
            found.append((bare, nothing[0], nothing))
            continue
        counts = listing.counted([*(term.parameter for term in terms), weight])
        if listing.pooled and counts[1] > listing.capacity:
            listing.capacity = counts[1]
            listing.begin()
            passes.forward(synapses, walk_of(target), beside)
        found.append(listing.lists(*counts))
    assert planes is not None
    storage, value, listed = batches.joined(word, active, found)
    return Layer(Spikes(shape, storage, value, listed[0]), listed, planes)
