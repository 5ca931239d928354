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


class Axis(NamedTuple):
    """Windows along one axis; all of uint64.

    Attributes:
        bound: (positions + 1,) bounds of each position's entries in `window`.
        window: those that it is in.
        first: (windows,) the first position of each inside the image.
    """

    bound: NDArray
    window: NDArray
    first: NDArray


class Images(NamedTuple):
    """The windows as the kernel takes them.

    Attributes:
        y: along the rows.
        x: along the columns.
        width: W of the input.
        n_position: H * W.
        out_width: W' of the output.
        n_window: H' * W'.
    """

    y: Axis
    x: Axis
    width: np.uint64
    n_position: np.uint64
    out_width: np.uint64
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
        peak: (n_out,) scratch: where each window seen spikes first; then, which active entry is its peak.
        seen: (n_out,) zeros, scratch: the last row in which each window held a spike.
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
    (y_bound, y_window, y_first), (x_bound, x_window, x_first) = images.y, images.x
    width, n_position = images.width, images.n_position
    out_width, n_window = images.out_width, images.n_window
    n, m, now = np.uint64(0), np.uint64(0), np.uint32(0)
    for row in range(first, last):
        now += np.uint32(1)
        for k in range(offset[row], offset[row + ONE]):
            u = np.uint64(unit[k])
            channel = u // n_position
            position = u - channel * n_position
            i = position // width
            j = position - i * width
            for a in range(y_bound[i], y_bound[i + ONE]):
                base = channel * n_window + y_window[a] * out_width
                for b in range(x_bound[j], x_bound[j + ONE]):
                    window = base + x_window[b]
                    if seen[window] != now:  # units ascend: this is the first
                        seen[window] = now
                        peak[window] = unit[k]
                        mark(due, summary, window)
        n = _listed(due, summary, out_unit, n)
        out_offset[row + ONE] = n
        if len(active_offset):
            start = active_offset[row]
            for k in range(start, active_offset[row + ONE]):
                u = np.uint64(active_unit[k])
                channel = u // n_position
                position = u - channel * n_position
                i = position // width
                j = position - i * width
                for a in range(y_bound[i], y_bound[i + ONE]):
                    base = channel * n_window + y_window[a] * out_width
                    for b in range(x_bound[j], x_bound[j + ONE]):
                        window = base + x_window[b]
                        if seen[window] == now:
                            found = peak[window] == active_unit[k]
                        else:
                            found = y_first[y_window[a]] == i and x_first[x_window[b]] == j
                        if found:
                            mark(due, summary, window)
            m_before = m
            m = _listed(due, summary, out_active, m)
            # Which entry each listed window's peak is: looked up among this row's, which ascend.
            for q in range(m_before, m):
                window = np.uint64(out_active[q])
                if seen[window] == now:
                    u = np.uint64(peak[window])
                else:
                    channel = window // n_window
                    place = window - channel * n_window
                    i = y_first[place // out_width]
                    j = x_first[place - place // out_width * out_width]
                    u = channel * n_position + i * width + j
                source[q] = _place(active_unit, start, active_offset[row + ONE], u)
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


@njit(**INLINE)
def _place(units, start, stop, unit):
    """Where `unit` is among the ascending units[start:stop]; it is there."""
    low, high = start, stop
    while high - low > ONE:
        middle = (low + high) >> ONE
        if np.uint64(units[middle]) <= unit:
            low = middle
        else:
            high = middle
    return low


@lru_cache(maxsize=64)
def images(windows: Windows) -> Images:
    """The kernel's form."""
    rows, columns = windows.rows, windows.columns
    return Images(
        _axis(rows),
        _axis(columns),
        np.uint64(columns.size),
        np.uint64(rows.size * columns.size),
        np.uint64(columns.n_out),
        np.uint64(rows.n_out * columns.n_out),
    )


def most_windows(windows: Windows) -> int:
    """How many windows a position is in, at most."""
    return int(
        np.prod([np.diff(axis.bound.astype(np.int64)).max() for axis in images(windows)[:2]])
    )


def _axis(axis: WindowAxis) -> Axis:
    window, _ = axis.windows(torch.device("cpu"))
    inside = window >= 0
    bound = np.concatenate([[0], inside.sum(1).numpy().cumsum()])
    every = torch.arange(axis.n_out)
    first = every * axis.stride - axis.padding + axis.first_tap(every) * axis.dilation
    parts = bound, window[inside].numpy(), first.numpy()
    return Axis(*(np.ascontiguousarray(part.astype(np.uint64)) for part in parts))
