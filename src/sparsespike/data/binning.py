"""Binning: a dataset's events in steps, all at once and kept where that is small, else by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sparsespike.data import rows
from sparsespike.data.encode import microseconds
from sparsespike.data.rows import Rows

if TYPE_CHECKING:
    from sparsespike.data.dataset import EventDataset

# A dataset is binned once and kept where that takes at most this much; a larger one is binned batch
# by batch, so that memory does not grow with the store. The paper's grids take: Fashion-MNIST 61 MiB,
# N-MNIST half a GiB.
BINNED_BYTES = 2**31
SAMPLES_PER_PASS = 256  # when all events are binned


class Counts(NamedTuple):
    """What becomes of a dataset's events: the last three numbers add up to the first."""

    n_events: int
    n_spikes: int
    n_clamped: int  # shared their (sample, step, unit) with another event, and are merged into it
    n_late: int  # came at step T or later, and are dropped


class Grid(NamedTuple):
    """Time steps: how many, and how long in microseconds."""

    steps: int
    dt_us: int


def checked_grid(steps: int, dt: float) -> Grid:
    """A grid of time.

    Raises:
        ValueError: if `steps` is no integer >= 1 or `dt` no whole number of microseconds.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps: expected an integer >= 1, found {steps!r}")
    return Grid(steps, microseconds(dt))


class Kept:
    """The last binning of a whole dataset, while it is small enough to keep."""

    def __init__(self) -> None:
        self._binned: tuple[Grid, Rows] | None = None

    def rows(self, dataset: EventDataset, grid: Grid) -> Rows | None:
        """All samples binned, kept until another grid is asked for; None for a large dataset."""
        n_bytes = dataset.n_bytes
        if n_bytes + 4 * grid.steps * len(dataset) > BINNED_BYTES:
            return None
        binned = self._binned
        if binned is None or binned[0] != grid:
            # Small: a batch takes the time that its bytes take to come from memory.
            whole = rows.joined(list(passes(dataset, grid, small=True)))
            # One assignment: another thread sees the old binning or this one, whole.
            self._binned = binned = grid, whole
        return binned[1]


def passes(dataset: EventDataset, grid: Grid, small: bool = False) -> Iterator[Rows]:
    """All samples binned, some at a time; see `rows.binned` for `small`."""
    for start in range(0, max(1, len(dataset)), SAMPLES_PER_PASS):
        index = np.arange(start, min(start + SAMPLES_PER_PASS, len(dataset)))
        yield dataset.binned(index, grid, small=small)


def counts(parts: Iterator[Rows] | list[Rows]) -> Counts:
    """What became of the events of some binned samples."""
    n_spikes = n_clamped = n_late = 0
    for part in parts:
        n_spikes += len(part.unit)
        n_clamped += int(part.n_clamped.sum())
        n_late += int(part.n_late.sum())
    return Counts(n_spikes + n_clamped + n_late, n_spikes, n_clamped, n_late)
