"""Sum pooling of event lists, row by row: each event becomes one of every window that it is in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsespike.backends.cpu.pool import ONE, SIX, mark
from sparsespike.compiling.compiled import compiled
from sparsespike.spikes.bits import lowest_bit


def scratch(n_out: int) -> tuple[NDArray, NDArray, NDArray]:
    """`place`, `due` and `summary` for one thread; a pass leaves them as they were."""
    n_word = -(-n_out // 64)
    place, due = np.zeros(n_out, np.uint64), np.zeros(n_word, np.uint64)
    return place, due, np.zeros(-(-n_word // 64), np.uint64)


@compiled
def forward(images, unit, offset, first, last, place, due, summary, out_unit, out_offset, source):
    """Relabels the rows first:last: a counting sort of each by window, those of one window as they came.

    Args:
        images: the windows (`pool.py`).
        unit: (n,) units; a row may hold one several times.
        offset: (B*T + 1,) bounds of the rows in `unit`.
        first: first row.
        last: one past the last row.
        place: (n_out,) zeros: how many events each window has; then, where its next one goes.
        due: (words of 64 windows,) zeros: windows with an event.
        summary: (words of 64 of these,) zeros.
        out_unit: written: windows, ascending within rows, each as often as it holds an event.
        out_offset: (B*T + 1,) written for rows first + 1 ... last, counted from 0 in this range.
        source: written: which of `unit` each was; None where nobody asks.

    Returns:
        How many were written.
    """
    bound, window_of = images.bound, images.window
    n_position, n_window = images.n_position, images.n_window
    n = np.uint64(0)
    for row in range(first, last):
        start, stop = offset[row], offset[row + ONE]
        if start == stop:
            out_offset[row + ONE] = n
            continue
        for k in range(start, stop):
            channel = np.uint64(unit[k] // np.uint32(n_position))
            position, base = np.uint64(unit[k]) - channel * n_position, channel * n_window
            for a in range(bound[position], bound[position + ONE]):
                window = base + np.uint64(window_of[a])
                place[window] += ONE
                mark(due, summary, window)
        n_before = n
        for at in range(np.uint64(len(summary))):
            words = summary[at]
            summary[at] = 0
            while words:
                index = (at << SIX) + np.uint64(lowest_bit(words))
                words &= words - ONE
                word = due[index]
                due[index] = 0
                while word:
                    window = (index << SIX) + np.uint64(lowest_bit(word))
                    word &= word - ONE
                    end = n + place[window]
                    place[window] = np.uint64(0) if source is None else n
                    while n < end:
                        out_unit[n] = window
                        n += ONE
        out_offset[row + ONE] = n
        if source is not None:
            for k in range(start, stop):
                channel = np.uint64(unit[k] // np.uint32(n_position))
                position, base = np.uint64(unit[k]) - channel * n_position, channel * n_window
                for a in range(bound[position], bound[position + ONE]):
                    window = base + np.uint64(window_of[a])
                    source[place[window]] = k
                    place[window] += ONE
            for k in range(n_before, n):
                place[out_unit[k]] = 0
    return n
