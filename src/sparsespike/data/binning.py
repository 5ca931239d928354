"""Binning: a dataset's events in steps, all at once and kept where that is small, else by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsespike.data import rows
from sparsespike.data.encode import microseconds
from sparsespike.data.rows import Rows
from sparsespike.spikes.arguments import integer

# A dataset is binned once and kept where that takes at most this much; a larger one is binned batch
# by batch, so that memory does not grow with the store. The paper's grids take: Fashion-MNIST 61 MiB,
# N-MNIST half a GiB.
BINNED_BYTES = 2**31
MOST_STEPS = 2**31
SAMPLES_PER_PASS = 256  # when all events are binned


class Counts(NamedTuple):
    """What becomes of a dataset's events: the last three numbers add up to the first."""

    n_events: int
    n_spikes: int
    n_clamped: int  # shared their (sample, step, unit) with another event, and are merged into it
    n_late: int  # came at step T or later, and are dropped

    @property
    def late(self) -> float:
        """Share of the events that come at step T or later."""
        return self.n_late / max(1, self.n_events)

    @property
    def merged(self) -> float:
        """Share of the events in time that are merged into another of the same step and unit."""
        return self.n_clamped / max(1, self.n_events - self.n_late)


class Grid(NamedTuple):
    """Time steps: how many, and how long in microseconds."""

    steps: int
    dt_us: int


GRID = Grid(100, 1000)  # where nobody says another: the paper's on images


class Binnable(Protocol):
    """What binning needs of a dataset; see `EventDataset`."""

    @property
    def n_bytes(self) -> int:
        """Bytes that a binning of all of it takes at most."""
        ...

    def __len__(self) -> int: ...

    def binned(self, index: NDArray[np.int64], grid: Grid, *, small: bool = False) -> Rows:
        """The rows of some samples."""
        ...


def checked_grid(steps: int, dt: float) -> Grid:
    """A grid of time.

    Raises:
        ValueError: if `steps` is no integer in [1, 2^31) or `dt` no whole number of microseconds.
    """
    return Grid(integer("steps", steps, 1, MOST_STEPS), microseconds(dt))


class Kept:
    """The last binning of a whole dataset, while it is small enough to keep."""

    def __init__(self) -> None:
        self._binned: tuple[Grid, Rows | None] | None = None

    def rows(self, dataset: Binnable, grid: Grid) -> Rows | None:
        """All samples binned, kept until another grid is asked for; None for a large dataset."""
        if dataset.n_bytes + 4 * grid.steps * len(dataset) > BINNED_BYTES:
            return None
        binned = self._binned
        if binned is None or binned[0] != grid:
            # One assignment: another thread sees the old binning or this one, whole.
            self._binned = binned = grid, _whole(dataset, grid)
        return binned[1]


def _whole(dataset: Binnable, grid: Grid) -> Rows | None:
    """All samples binned; None if they take too much, as those of a transform that adds events may."""
    parts, n_bytes = [], 0
    # Small: a batch takes the time that its bytes take to come from memory.
    for part in passes(dataset, grid, small=True):
        n_bytes += part.unit.nbytes + part.offset.nbytes
        if n_bytes > BINNED_BYTES:
            return None
        parts.append(part)
    return rows.joined(parts)


def passes(dataset: Binnable, grid: Grid, small: bool = False) -> Iterator[Rows]:
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
