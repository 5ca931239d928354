"""Statistics of a dataset: what is in it, and what a grid of steps makes of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from sparsespike.data.binning import SAMPLES_PER_PASS, Counts
from sparsespike.data.dataset import EventDataset
from sparsespike.data.encode import MICROSECONDS, microseconds
from sparsespike.spikes.arguments import described, integer

SECONDS_BEFORE_BAR = 2.0


class Spread(NamedTuple):
    """How a number differs from sample to sample, or from class to class."""

    smallest: float
    median: float
    mean: float
    largest: float


@dataclass(frozen=True)
class Stats:
    """What is in a dataset.

    Attributes:
        name: of the dataset.
        n_samples, n_classes, n_units: its sizes.
        class_size: samples of a class.
        n_events: of a sample.
        duration: of a sample, from time 0 to its last event, seconds; 0 without events.
        rate: mean of a unit over the duration of the samples, Hz; 0 if that is 0.
        used: share of the units that have an event in some sample.
        steps, dt: the grid of `counts`: T and the time step, seconds.
        counts: what becomes of all events on that grid.
    """

    name: str
    n_samples: int
    n_classes: int
    n_units: int
    class_size: Spread
    n_events: Spread
    duration: Spread
    rate: float
    used: float
    steps: int
    dt: float
    counts: Counts

    @property
    def merged(self) -> float:
        """Share of the events in time that are merged into another of the same step and unit."""
        return self.counts.merged

    @property
    def late(self) -> float:
        """Share of the events that come at step T or later."""
        return self.counts.late


def stats(dataset: EventDataset, steps: int = 100, dt: float = 1e-3) -> Stats:
    """Statistics of all samples of a dataset, as it gives them: after its transforms.

    Takes two passes over the events, some samples at a time, so that memory does not grow with the
    dataset; a bar on the terminal tells how far it is, if that takes long.

    Args:
        dataset: at least one sample.
        steps: T, >= 1.
        dt: time step, seconds, a whole number of microseconds.

    Raises:
        ValueError: if the dataset has no samples, an argument is out of range, or a sample is damaged.
    """
    if not isinstance(dataset, EventDataset):
        raise ValueError(f"dataset: expected an EventDataset, found {described(dataset)}")
    steps, dt = integer("steps", steps, 1), microseconds(dt) / MICROSECONDS
    n, n_units = len(dataset), dataset.n_units
    if n == 0:
        raise ValueError(f"dataset: expected samples, found none in {dataset.name}")
    n_events, last = np.empty(n, np.int64), np.zeros(n, np.int64)
    used = np.zeros(n_units, bool)
    totals = np.zeros(len(Counts._fields), np.int64)
    for index in _passes(n, f"statistics of {dataset.name}"):
        part = dataset.subset(index)
        recordings = part.recordings()
        n_events[index] = recordings.lengths
        busy = recordings.lengths > 0
        if busy.any():
            starts = recordings.offset[:-1][busy]
            last[index[busy]] = np.maximum.reduceat(recordings.time, starts)
        used[recordings.unit] = True
        totals += part.count(steps, dt)
    seconds = last / MICROSECONDS
    return Stats(
        name=dataset.name,
        n_samples=n,
        n_classes=dataset.n_classes,
        n_units=n_units,
        class_size=_spread(np.bincount(dataset.label, minlength=dataset.n_classes)),
        n_events=_spread(n_events),
        duration=_spread(seconds),
        rate=float(n_events.sum() / (n_units * seconds.sum())) if seconds.any() else 0.0,
        used=float(used.mean()),
        steps=steps,
        dt=dt,
        counts=Counts(*totals.tolist()),
    )


def table(found: Stats) -> Table:
    """The statistics as a table for the terminal."""
    counts, events, duration = found.counts, found.n_events, found.duration
    grid = f"{found.steps} steps of {found.dt * 1e3:g} ms"
    rows = {
        "samples": f"{found.n_samples:,}",
        "classes": f"{found.n_classes:,}, of {_range(found.class_size)} samples",
        "units": f"{found.n_units:,}, {found.used:.1%} of them ever used",
        "events": f"{counts.n_events:,}",
        "events of a sample": f"{_range(events)}, median {events.median:,.0f}, mean {events.mean:,.0f}",
        "duration of a sample": f"median {_ms(duration.median)}, at most {_ms(duration.largest)}",
        "rate of a unit": f"{found.rate:,.3g} Hz",
        f"in {grid}": f"{counts.n_spikes:,} spikes",
        "  merged": f"{counts.n_clamped:,}, {found.merged:.2%} of the events in time",
        "  too late": f"{counts.n_late:,}, {found.late:.2%} of the events",
    }
    drawn = Table(title=found.name, show_header=False)
    drawn.add_column()
    drawn.add_column(justify="right")
    for name, value in rows.items():
        drawn.add_row(name, value)
    return drawn


def _spread(values: NDArray[Any]) -> Spread:
    return Spread(*(float(f(values)) for f in (np.min, np.median, np.mean, np.max)))


def _range(spread: Spread) -> str:
    least, most = f"{spread.smallest:,.0f}", f"{spread.largest:,.0f}"
    return least if least == most else f"{least} to {most}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def _passes(n: int, text: str) -> Iterator[NDArray[np.int64]]:
    """The samples, a few at a time; with a bar on the terminal once that takes long."""
    console = Console(stderr=True)
    started = time.perf_counter()
    bar: Progress | None = None
    with contextlib.ExitStack() as stack:
        for start in range(0, n, SAMPLES_PER_PASS):
            yield np.arange(start, min(start + SAMPLES_PER_PASS, n))
            slow = time.perf_counter() - started > SECONDS_BEFORE_BAR
            if bar is None and slow and console.is_terminal:
                bar = stack.enter_context(Progress(console=console, transient=True))
                bar.add_task(text, total=n)
            if bar is not None:
                bar.update(bar.task_ids[0], completed=start + SAMPLES_PER_PASS)
