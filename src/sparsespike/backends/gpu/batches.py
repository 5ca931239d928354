"""Batches so large that one word of their currents is too much: they are computed some samples at a time.

Samples have nothing to do with each other, so a part of a batch is a batch. Weights are split into planes
once. Bits are written where those of the whole batch lie, values come one part after the other, and
gradients of the parameters are added in the order of the parts: the same bits on every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sparsespike.backends import Gradient
from sparsespike.backends.gpu import plan
from sparsespike.descriptions import Term
from sparsespike.spikes.words import Words

# Of a spiking layer's forward pass: its words, its values, and what was listed of active entries, V first.
Fired = tuple[Words, Tensor, Tensor]


def parts(terms: Sequence[Term], rows: int = 0) -> list[tuple[int, int]]:
    """(first sample, samples) of each part, in order; at least one part, be it empty.

    Args:
        terms: of the whole batch.
        rows: how many numbers per neuron and step the neurons' walk keeps beside the currents.
    """
    first = terms[0]
    # Of several terms, the currents of one are added to those of the others.
    units = first.connection.n_out * (min(2, len(terms)) + rows)
    return plan.batches(first.spikes.shape[0], units, first.parameter[0].itemsize)


def cut(terms: Sequence[Term], first: int, n: int, valued: Sequence[bool]) -> list[Term]:
    """The terms of the samples first:first + n.

    Args:
        terms: of the whole batch.
        first: sample.
        n: samples.
        valued: of which terms active entries and values are wanted; the others keep bits of spikes alone.
    """
    if n == terms[0].spikes.shape[0]:
        return list(terms)
    found = []
    for term, wanted in zip(terms, valued, strict=True):
        spikes = term.spikes if wanted else replace(term.spikes, storage=term.spikes.words.plain())
        storage, kept = spikes.storage.samples(first, first + n, spikes.shape)
        shape, value = (n, *spikes.shape[1:]), spikes.value[kept]
        part = replace(spikes, shape=shape, storage=storage, value=value, potential=None)
        found.append(term._replace(spikes=part))
    return found


def joined(word: Tensor, active: Tensor, fired: list[Fired]) -> Fired:
    """What the parts of a batch gave, as that of the whole.

    Args:
        word: (B, W, N) spikes, written by the parts.
        active: (B, W, N) active entries, written by the parts.
        fired: of each part.

    Raises:
        ValueError: if there are 2^31 active entries or more.
    """
    if len(fired) == 1:
        return fired[0]
    value = torch.cat([part for _, part, _ in fired])
    listed = torch.cat([part for _, _, part in fired], 1)
    if not len(fired[0][0].start):  # without gradient nothing was listed
        return fired[0][0]._replace(word=word, active=active), value, listed
    if len(value) >= 2**31:
        raise ValueError(
            f"spikes: expected fewer than 2^31 active entries of a layer, found {len(value)}"
        )
    before, starts = 0, []
    for words, own, _ in fired:
        starts.append(words.start + before)
        before += len(own)
    total = torch.stack([words.total for words, _, _ in fired]).sum(0)
    return Words(word, total, active, torch.cat(starts)), value, listed


class Sum:
    """The gradients of a batch's terms, of the parts that were added so far.

    Args:
        n_term: how many terms there are.
    """

    def __init__(self, n_term: int) -> None:
        self.values: list[list[Tensor]] = [[] for _ in range(n_term)]
        self.parameters: list[list[Tensor]] = []

    def add(self, gradients: list[Gradient]) -> None:
        """Takes up the gradients of the next part."""
        for values, gradient in zip(self.values, gradients, strict=True):
            values.append(gradient.value)
        if not self.parameters:
            self.parameters = [gradient.parameter for gradient in gradients]
            return
        for total, gradient in zip(self.parameters, gradients, strict=True):
            for parameter, more in zip(total, gradient.parameter, strict=True):
                parameter += more

    def gradients(self) -> list[Gradient]:
        """Of the whole batch."""
        values = [part[0] if len(part) == 1 else torch.cat(part) for part in self.values]
        return [Gradient(*one) for one in zip(values, self.parameters, strict=True)]
