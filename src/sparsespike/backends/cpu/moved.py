"""Events in lists, each moved to the step in which it arrives, once per tap; see `backends/moved.py`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.form import rows
from sparsespike.backends.cpu.simd import ONE
from sparsespike.backends.moved import Arrived
from sparsespike.compiling.compiled import compiled
from sparsespike.spikes.lists import Lists
from sparsespike.spikes.spikes import Spikes


def arrived(spikes: Spikes, first: Tensor, n_taps: int, sensed: bool) -> Arrived:
    """See `Mover`."""
    n_step, late = spikes.shape[1], first.numpy().astype(np.uint64)
    events = rows(spikes.unit, spikes.offset)
    unit, offset, _ = _lists(*events, n_step, late, n_taps, False)
    if not sensed or not len(spikes.active_offset):
        return Arrived(Lists(unit, offset), 0, torch.empty((0, n_taps), dtype=torch.int32))
    active = rows(spikes.active_unit, spikes.active_offset)
    active_unit, active_offset, place = _lists(*active, n_step, late, n_taps, True)
    return Arrived(Lists(unit, offset, active_unit, active_offset), len(active_unit), place)


def _lists(
    unit: NDArray, offset: NDArray, n_step: int, first: NDArray, n_taps: int, placed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The moved list, its bounds, and where each entry went: (n, n_taps), or (0, n_taps) if nobody asks."""
    end = np.zeros(len(offset), np.uint64)
    place = np.empty((len(unit) if placed else 0, n_taps), np.uint32)
    out = np.empty(len(unit) * n_taps, np.uint32)
    n = _move_all(unit, offset, np.uint64(n_step), first, np.uint64(n_taps), end, place, out)
    own, bounds = torch.from_numpy(out[:n].view(np.int32)), torch.from_numpy(end.view(np.int64))
    return own, bounds, torch.from_numpy(place.view(np.int32))


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
