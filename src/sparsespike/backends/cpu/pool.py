"""Max pooling of event lists, row by row: the windows that spikes and active entries are in."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from sparsespike.backends.cpu.verbs import INLINE
from sparsespike.compiling.compiled import compiled
from sparsespike.spikes.bits import lowest_bit
from sparsespike.spikes.windows import WindowAxis, Windows

ONE, SIX, LOW = np.uint64(1), np.uint64(6), np.uint64(63)


class Images(NamedTuple):
    """The windows of one channel as the kernel takes them.

    Attributes:
        bound: (H * W + 1,) uint64 bounds of each position's entries in the next two.
        window: uint32, the windows that it is in.
        first: bool, whether it is the first of that window inside the image.
        n_position: H * W.
        n_window: H' * W'.
    """

    bound: NDArray
    window: NDArray
    first: NDArray
    n_position: np.uint64
    n_window: np.uint64


@compiled
def forward(
    images,
    unit,
    offset,
    active_unit,
    active_offset,
    first,
    last,
    peak,
    seen,
    entry,
    due,
    summary,
    out_unit,
    out_offset,
    out_active,
    out_active_offset,
    source,
):
    """Pools the rows first:last.

    Args:
        images: the windows.
        unit: (n_spikes,) units that spike.
        offset: (B*T + 1,) bounds of the rows in `unit`.
        active_unit: (n_active,) active units.
        active_offset: (B*T + 1,) bounds of their rows, or (0,).
        first: first row.
        last: one past the last row.
        peak: (n_out,) scratch: the unit that spikes first in each window seen.
        seen: (n_out,) zeros, scratch: the last row in which each window held a spike.
        entry: (n_out,) scratch: which active entry is the peak of each window listed.
        due: (words of 64 windows,) zeros, scratch: windows to list.
        summary: (words of 64 of these,) zeros, scratch.
        out_unit: written: windows with a spike, ascending within rows.
        out_offset: (B*T + 1,) written for rows first + 1 ... last, counted from 0 in this range.
        out_active: written: windows whose peak is active.
        out_active_offset: (B*T + 1,) the same for these.
        source: written: the peaks' places among the active entries.

    Returns:
        How many of each were written.
    """
    bound, window_of, is_first = images.bound, images.window, images.first
    n_position, n_window = images.n_position, images.n_window
    n, m, now = np.uint64(0), np.uint64(0), np.uint32(0)
    for row in range(first, last):
        now += np.uint32(1)
        for k in range(offset[row], offset[row + ONE]):
            channel = np.uint64(unit[k] // np.uint32(n_position))
            position, base = np.uint64(unit[k]) - channel * n_position, channel * n_window
            for a in range(bound[position], bound[position + ONE]):
                window = base + np.uint64(window_of[a])
                if seen[window] != now:  # units ascend: this is the first
                    seen[window] = now
                    peak[window] = unit[k]
                    mark(due, summary, window)
        n = _listed(due, summary, out_unit, n)
        out_offset[row + ONE] = n
        if len(active_offset):
            for k in range(active_offset[row], active_offset[row + ONE]):
                channel = np.uint64(active_unit[k] // np.uint32(n_position))
                position = np.uint64(active_unit[k]) - channel * n_position
                base = channel * n_window
                for a in range(bound[position], bound[position + ONE]):
                    window = base + np.uint64(window_of[a])
                    if seen[window] == now:
                        found = peak[window] == active_unit[k]
                    else:
                        found = is_first[a]
                    if found:
                        entry[window] = k
                        mark(due, summary, window)
            m_before = m
            m = _listed(due, summary, out_active, m)
            for q in range(m_before, m):
                source[q] = entry[out_active[q]]
            out_active_offset[row + ONE] = m
    return n, m


@njit(**INLINE)
def mark(due, summary, window):
    """The window is due."""
    word = window >> SIX
    due[word] |= ONE << (window & LOW)
    summary[word >> SIX] |= ONE << (word & LOW)


@njit(**INLINE)
def _listed(due, summary, into, n):
    """Appends the windows that are due, ascending, and forgets them."""
    for at in range(np.uint64(len(summary))):
        words = summary[at]
        summary[at] = 0
        while words:
            index = (at << SIX) + np.uint64(lowest_bit(words))
            words &= words - ONE
            word = due[index]
            due[index] = 0
            while word:
                into[n] = (index << SIX) + np.uint64(lowest_bit(word))
                n += ONE
                word &= word - ONE
    return n


@lru_cache(maxsize=64)
def images(windows: Windows) -> Images:
    """The kernel's form."""
    rows, columns = windows.rows, windows.columns
    (y, i, y_first), (x, j, x_first) = _axis(rows), _axis(columns)
    position = y[:, None] * columns.size + x
    order = np.argsort(position, axis=None, kind="stable")
    window = (i[:, None] * columns.n_out + j).ravel()[order]
    first = (y_first[:, None] & x_first).ravel()[order]
    n_position = rows.size * columns.size
    bound = np.searchsorted(position.ravel()[order], np.arange(n_position + 1))
    return Images(
        bound.astype(np.uint64),
        window.astype(np.uint32),
        first,
        np.uint64(n_position),
        np.uint64(rows.n_out * columns.n_out),
    )


def most_windows(windows: Windows) -> int:
    """How many windows a position is in, at most."""
    return int(np.diff(images(windows).bound.astype(np.int64)).max())


def _axis(axis: WindowAxis) -> tuple[NDArray, NDArray, NDArray]:
    """Along one axis: each position that is in a window, the window, and whether it is its first inside."""
    window = axis.windows(torch.device("cpu"))[0].numpy()
    position, place = np.nonzero(window >= 0)
    window = window[position, place]
    every = torch.arange(axis.n_out)
    first = every * axis.stride - axis.padding + axis.first_tap(every) * axis.dilation
    return position, window, position == first.numpy()[window]
