"""What the CPU backend does with spikes between layers: counts, pools and sums them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu import count, form, pool, relabel
from sparsespike.backends.cpu.threads import ranges, run_all
from sparsespike.spikes.lists import Lists, Shape
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.windows import Windows


def count_forward(spikes: Spikes) -> Tensor:
    """Spikes of each unit over time; see `Backend`."""
    total = spikes.value.new_zeros(spikes.shape[0], spikes.shape[2])
    arrays = form.rows(spikes.unit, spikes.offset)
    run_all(
        lambda first, last: count.forward(*arrays, spikes.shape[1], first, last, total.numpy()),
        ranges(spikes.shape[0]),
    )
    return total


def count_backward(grad: Tensor, spikes: Spikes) -> Tensor:
    """Gradient of the counts at the active entries; see `Backend`."""
    gathered = torch.empty_like(spikes.value)
    if not len(gathered):
        return gathered
    arrays = grad.numpy(), *form.rows(spikes.active_unit, spikes.active_offset)
    run_all(
        lambda first, last: count.backward(*arrays, spikes.shape[1], first, last, gathered.numpy()),
        ranges(spikes.shape[0]),
    )
    return gathered


def max_pool(lists: Lists, shape: Shape, windows: Windows) -> tuple[Lists, Tensor]:
    """Pooled lists, and (n_active_out,) int64 which active input entry each active one is the peak of."""
    n_batch, steps, _ = shape
    images, most, n_out = pool.images(windows), pool.most_windows(windows), windows.n_out
    unit, offset = form.rows(lists.unit, lists.offset)
    active = np.empty(0, np.uint32), np.empty(0, np.uint64)
    if lists.has_active:
        active = form.rows(lists.active_unit, lists.active_offset)
    n_row = n_batch * steps
    out_offset, active_offset = np.zeros(n_row + 1, np.int64), np.zeros(n_row + 1, np.int64)

    def run(first: int, last: int) -> tuple[NDArray, ...]:
        begin, end, n_word = first * steps, last * steps, -(-n_out // 64)
        room = most * int(offset[end] - offset[begin])
        active_room = most * int(active[1][end] - active[1][begin]) if lists.has_active else 0
        out, found = np.empty(room, np.uint32), np.empty(active_room, np.uint32)
        source = np.empty(active_room, np.int64)
        n, m = pool.forward(
            images,
            unit,
            offset,
            *active,
            np.uint64(begin),
            np.uint64(end),
            np.empty(n_out, np.uint32),
            np.zeros(n_out, np.uint32),
            np.empty(n_out, np.int64),
            np.zeros(n_word, np.uint64),
            np.zeros(-(-n_word // 64), np.uint64),
            out,
            out_offset,
            found,
            active_offset,
            source,
        )
        return out[:n], found[:m], source[:m]

    parts = ranges(n_batch)
    pooled, source = form.joined(run_all(run, parts), parts, steps, out_offset, active_offset)
    return pooled if lists.has_active else pooled.plain(), source


def sum_pool(lists: Lists, shape: Shape, windows: Windows) -> tuple[Lists, Tensor]:
    """Lists of the windows' events, and (n_active_out,) int64 the active input entry of each active one."""
    n_batch, steps, _ = shape
    images, most, n_out = pool.images(windows), pool.most_windows(windows), windows.n_out
    unit, offset = form.rows(lists.unit, lists.offset)
    active_unit, active_offset = unit[:0], np.zeros_like(offset)
    if lists.has_active:
        active_unit, active_offset = form.rows(lists.active_unit, lists.active_offset)
    out_offset, found_offset = (np.zeros(n_batch * steps + 1, np.int64) for _ in range(2))

    def run(first: int, last: int) -> tuple[NDArray, ...]:
        begin, end = np.uint64(first * steps), np.uint64(last * steps)
        out = np.empty(most * int(offset[end] - offset[begin]), np.uint32)
        found = np.empty(most * int(active_offset[end] - active_offset[begin]), np.uint32)
        source = np.empty(len(found), np.int64)
        scratch = relabel.scratch(n_out)
        n = relabel.forward(images, unit, offset, begin, end, *scratch, out, out_offset, None)
        m = relabel.forward(
            images, active_unit, active_offset, begin, end, *scratch, found, found_offset, source
        )
        return out[:n], found[:m], source[:m]

    parts = ranges(n_batch)
    pooled, source = form.joined(run_all(run, parts), parts, steps, out_offset, found_offset)
    return pooled if lists.has_active else pooled.plain(), source
