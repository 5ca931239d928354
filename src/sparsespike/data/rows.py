"""Rows: the events of some samples binned in time, and batches gathered from them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsespike.compiling.compiled import compiled
from sparsespike.data import encode
from sparsespike.data.recordings import Recordings
from sparsespike.data.store import About


class Rows(NamedTuple):
    """Binned events of n samples, row = i * steps + step, units strictly ascending in each row."""

    unit: NDArray[Any]  # (n_spikes,)
    offset: NDArray[Any]  # (n * steps + 1,), bounds of each row
    n_clamped: NDArray[np.int64]  # (n,) events that shared their (step, unit) with another
    n_late: NDArray[np.int64]  # (n,) events of step T or later, dropped


def binned(
    recordings: Recordings,
    about: About,
    sample: NDArray[np.int64],
    steps: int,
    dt_us: int,
    *,
    small: bool = False,
) -> Rows:
    """Bins the events of some samples, whatever their order.

    Args:
        recordings: of a store.
        about: what they mean.
        sample: (n,) positions in them, in range.
        steps: T.
        dt_us: time step, microseconds.
        small: whether in the smallest types, the store's for units and int32 for bounds (fewer than
            2^31 events), instead of the int32 and int64 of `Spikes`.

    Raises:
        ValueError: naming the first sample whose bounds, units or times are out of range.
    """
    offset = recordings.offset
    room = int((offset[sample + 1] - offset[sample]).clip(0, len(recordings.unit)).sum())
    rows = Rows(
        np.empty(room + 1, recordings.unit.dtype if small else np.int32),
        np.empty(len(sample) * steps + 1, np.int32 if small else np.int64),
        np.empty(len(sample), np.int64),
        np.empty(len(sample), np.int64),
    )
    n_spikes, damaged = encode.bin_events(
        recordings.unit,
        recordings.time,
        offset,
        sample,
        about.n_units,
        steps,
        dt_us,
        about.rounding == "nearest",
        *rows,
    )
    if damaged >= 0:
        raise ValueError(
            f"{about.name}: sample {sample[damaged]} of the store is damaged: "
            "a bound, a unit or a time is out of range"
        )
    return rows._replace(unit=rows.unit[:n_spikes])


def joined(parts: list[Rows]) -> Rows:
    """The rows of several sets of samples, one after the other, in the types of the first.

    Args:
        parts: at least one; fewer than 2^31 spikes in all where bounds are int32.
    """
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([0, *(len(part.unit) for part in parts)]).astype(parts[0].offset.dtype)
    offset = [part.offset[1:] + start for part, start in zip(parts, ends, strict=False)]
    return Rows(
        np.concatenate([part.unit for part in parts]),
        np.concatenate([parts[0].offset[:1], *offset]),
        np.concatenate([part.n_clamped for part in parts]),
        np.concatenate([part.n_late for part in parts]),
    )


def gathered(
    rows: Rows, index: NDArray[np.int64], steps: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The rows of some of the samples, in the types of `Spikes`.

    Args:
        rows: of n samples.
        index: (B,) in [0, n).
        steps: T of those rows.

    Returns:
        unit: (n_spikes,) int32.
        offset: (B * steps + 1,) int64.
    """
    return _gather(rows.unit, rows.offset, index, steps)


@compiled
def _gather(unit, offset, index, steps):
    n_spikes = 0
    for i in index:
        n_spikes += offset[(i + 1) * steps] - offset[i * steps]
    out_unit = np.empty(n_spikes, np.int32)
    out_offset = np.empty(len(index) * steps + 1, np.int64)
    out_offset[0] = 0
    n = np.int64(0)
    for b in range(len(index)):
        row = index[b] * steps
        start, stop = np.int64(offset[row]), np.int64(offset[row + steps])
        # Slices, so that the loops below run over plain indices and become vector code.
        source, target = unit[start:stop], out_unit[n : n + stop - start]
        for k in range(len(source)):
            target[k] = source[k]
        source_row, target_row = offset[row + 1 : row + steps + 1], out_offset[b * steps + 1 :]
        for k in range(steps):
            target_row[k] = source_row[k] + (n - start)
        n += stop - start
    return out_unit, out_offset
