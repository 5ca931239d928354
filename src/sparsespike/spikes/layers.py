"""Layers, how words hold numbers: an entry that comes k times sets a bit in each of the first k layers.

Layer l has B rows of bits, row l * B + b that of sample b, and a unit's number is the sum of its bits over
the layers. So words of L layers are words of L * B samples, and each layer by itself is words of B samples.
Spikes and active entries are ranked each by themselves, which takes the fewest layers: the value at an
active entry is that of its source, whatever bit the same layer has there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparsespike.spikes.lists import Shape


def layered(
    entry: Tensor, active: Tensor | None, shape: Shape
) -> tuple[Tensor, Tensor | None, Shape]:
    """Entries that may come again as distinct ones of so many layers, and (L * B, T, N)."""
    size = math.prod(shape)
    entry = entry + _rank(entry) * size
    active = None if active is None else active + _rank(active) * size
    most = max(
        int(index.max()) if index is not None and len(index) else 0 for index in (entry, active)
    )
    return entry, active, ((1 + most // max(1, size)) * shape[0], *shape[1:])


def _rank(entry: Tensor) -> Tensor:
    """How many equal entries come before each."""
    ascending, order = torch.sort(entry, stable=True)
    place = torch.arange(len(entry), device=entry.device)
    first = torch.searchsorted(ascending, ascending)  # of those equal
    return torch.empty_like(entry).index_copy_(0, order, place - first)
