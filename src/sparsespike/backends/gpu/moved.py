"""Events in words, each moved to the step in which it arrives, once per tap; see `backends/moved.py`.

In plain PyTorch, on the device: entries are listed, moved and packed again. The host waits for their number.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsespike.backends.moved import Arrived
from sparsespike.spikes.lists import Shape
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.words import Words


def arrived(spikes: Spikes, first: Tensor, n_taps: int, sensed: bool) -> Arrived:
    """See `Mover`."""
    words, shape = spikes.words, spikes.shape
    wide = *shape[:2], n_taps * shape[2]
    entry, inside = _moved(words.entry(shape), shape, first, n_taps)
    if not sensed or not words.has_active:
        storage = Words.of(entry[inside], None, wide)[0]
        return Arrived(storage, 0, entry.new_empty((0, n_taps)))
    active, arrives = _moved(words.active_entry(shape), shape, first, n_taps)
    storage, order = Words.of(entry[inside], active[arrives], wide)
    assert order is not None
    place = torch.full_like(active, len(order))
    where = torch.empty_like(order)
    where[order] = torch.arange(len(order), device=order.device)
    place[arrives] = where
    return Arrived(storage, len(order), place)


def _moved(entry: Tensor, shape: Shape, first: Tensor, n_taps: int) -> tuple[Tensor, Tensor]:
    """(n, n_taps): the entry of each tap of (B, T, n_taps * N), and whether it arrives within T."""
    _, n_step, n_in = shape
    row, unit = entry // n_in, entry % n_in
    tap = torch.arange(n_taps, device=entry.device)
    late = first.long()[unit, None] + tap
    moved = (row[:, None] + late) * (n_taps * n_in) + tap * n_in + unit[:, None]
    return moved, row[:, None] % n_step + late < n_step
