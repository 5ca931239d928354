"""Events that come too late for a grid: warned about, and refused where all of a recording does."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparsespike.data.binning import Counts, Grid
from sparsespike.data.encode import MICROSECONDS, step_of
from sparsespike.data.recordings import Recordings
from sparsespike.data.rows import Rows
from sparsespike.data.store import About
from sparsespike.spikes.spikes import Spikes

MOST_LATE = 0.01  # share of the events above which their loss is told
HELD = 0.99  # share of the events that the steps advised would hold
EVENTS_READ = 2**22  # to find them: of more, every so many recordings are read
RECORDINGS_READ = 256  # of those that are wholly late


class LateEventsWarning(UserWarning):
    """More than 1 % of the events come at step T or later, and are dropped."""


class Source(Protocol):
    """What is needed of a dataset; see `EventDataset`."""

    @property
    def about(self) -> About:
        """Its name and rounding."""
        ...

    @property
    def n_events(self) -> int:
        """Of all samples."""
        ...

    def __len__(self) -> int: ...

    def recordings(self, index: NDArray[np.int64]) -> Recordings:
        """The events of some samples."""
        ...

    def kept(self, grid: Grid) -> Rows | None:
        """All samples binned, where that is kept."""
        ...


class Watch:
    """Looks at the batches of one loader: refuses other origins of time, and tells once of late events.

    Costs some additions a batch until it has told. Where the binning of the whole dataset is kept, its
    counts are looked at with the first batch, and nothing afterwards.

    Attributes:
        told: whether it has nothing more to tell.
    """

    def __init__(self, grid: Grid, augmented: bool = False) -> None:
        self.told = False
        self._grid, self._augmented = grid, augmented
        self._in_time = False
        self._n_events = self._n_late = self._n_samples = self._n_busy = self._n_wholly = 0
        self._steps: int | None = None  # that hold 99 % of the dataset's events, once it was asked

    def check(self, dataset: Source, index: NDArray[np.int64], spikes: Spikes) -> None:
        """Raises a ValueError if recordings seem to count their times from elsewhere than their start.

        They do if all events come too late in half of the recordings or more, or in one that starts later
        than it lasts.

        Args:
            dataset: of the batch.
            index: (B,) the batch's samples.
            spikes: the batch.
        """
        if self._in_time:
            return
        steps = self._grid.steps
        kept = None if self._augmented else dataset.kept(self._grid)
        if kept is not None:
            n_kept, n_late = np.diff(kept.offset[::steps]), kept.n_late
            index = np.arange(len(dataset))
        else:
            assert spikes.lost is not None
            n_kept = np.diff(spikes.offset.numpy()[::steps])
            n_late = spikes.lost[:, 1].numpy()
        wholly = (n_late > 0) & (n_kept == 0)
        self._n_busy += int(((n_late > 0) | (n_kept > 0)).sum())
        self._n_wholly += int(wholly.sum())
        if wholly.any():
            half = 2 * self._n_wholly >= self._n_busy
            found = dataset.recordings(index[wholly][:RECORDINGS_READ])
            _refuse(dataset.about.name, found, half, (self._n_wholly, self._n_busy), self._grid)
        self._in_time = kept is not None

    def message(self, dataset: Source, spikes: Spikes) -> str | None:
        """What to warn of after a batch of a dataset, once; else None."""
        if self.told:
            return None
        kept = None if self._augmented else dataset.kept(self._grid)
        if kept is not None:
            self.told = True
            n_late = int(kept.n_late.sum())
            n_events, of = len(kept.unit) + int(kept.n_clamped.sum()) + n_late, "the events"
        else:
            self._n_late += spikes.n_late
            self._n_events += spikes.n_spikes + spikes.n_clamped + spikes.n_late
            self._n_samples += len(spikes)
            n_events, n_late = self._n_events, self._n_late
            of = f"the {n_events:,} events so far"
        if n_late <= MOST_LATE * n_events:
            return None
        # A few batches may have more by chance: then the whole epoch decides.
        if kept is None and self._n_samples < len(dataset):
            if self._steps is None:
                self._steps = steps_that_hold(dataset, self._grid, HELD)
            if self._steps <= self._grid.steps:
                return None
        self.told = True
        return advice(dataset, self._grid, n_late / n_events, of)


def told(dataset: Source, grid: Grid, counts: Counts) -> str | None:
    """What to say of late events, given the counts of the whole dataset; None if they are few."""
    return advice(dataset, grid, counts.late, "the events") if counts.late > MOST_LATE else None


def advice(dataset: Source, grid: Grid, share: float, of: str) -> str:
    """How many events are late, and how many steps would hold 99 % of them."""
    dt = grid.dt_us / MICROSECONDS
    steps = max(steps_that_hold(dataset, grid, HELD), grid.steps + 1)
    # A step is as long as its number times dt or, rounded to the nearest, half a step less.
    half = dataset.about.rounding == "nearest"
    longer = -((half - 2 * steps) * grid.dt_us // (2 * grid.steps - half)) / MICROSECONDS
    return (
        f"{dataset.about.name}: {share:.1%} of {of} come at step {grid.steps} or later and are "
        f"dropped (steps={grid.steps}, dt={dt:g} s); steps={steps} would hold {HELD:.0%} of them, as would "
        f'dt={longer:g}; if times do not count from the start of a recording, origin="first-event" '
        "makes them"
    )


def steps_that_hold(dataset: Source, grid: Grid, share: float) -> int:
    """The smallest T that holds a share of the events, of about `EVENTS_READ` of them at most."""
    n = len(dataset)
    few = max(1, min(n, n * EVENTS_READ // max(1, dataset.n_events)))
    time = dataset.recordings(np.linspace(0, n - 1, few).astype(np.int64)).time
    if not len(time):
        return 1
    k = min(len(time), math.ceil(share * len(time))) - 1
    nearest = dataset.about.rounding == "nearest"
    return int(step_of(int(np.partition(time, k)[k]), grid.dt_us, nearest)) + 1


def _refuse(name: str, found: Recordings, half: bool, counted: tuple[int, int], grid: Grid) -> None:
    """Raises the error of `Watch.check` if half of the recordings are late, or one by its own times."""
    known = found.lengths > 0  # none of them, where an augmentation of one's own made events up
    if not known.any():
        return
    starts = found.offset[:-1][known]
    first, last = np.minimum.reduceat(found.time, starts), np.maximum.reduceat(found.time, starts)
    if not half and not ((first > last - first) & (last > first)).any():
        return
    dt, start = grid.dt_us / MICROSECONDS, int(first.min()) / MICROSECONDS
    raise ValueError(
        f"{name}: expected events before {grid.steps * dt:g} s (steps={grid.steps}, dt={dt:g} s), found "
        f"{counted[0]:,} of {counted[1]:,} recordings that begin later, at {start:,.6g} s or after: if "
        "their times count from elsewhere (absolute time stamps), build the dataset with "
        'origin="first-event"; else take more steps'
    )
