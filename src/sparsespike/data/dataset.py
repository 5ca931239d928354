"""`EventDataset`: labelled recordings of events, in memory or mapped from a file.

Times are whole microseconds, in any order within a sample; `batch` rounds them to steps.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sparsespike.data import binning, rows, store
from sparsespike.data.binning import GRID, Counts, Grid, Kept, checked_grid
from sparsespike.data.build import Building
from sparsespike.data.encode import MICROSECONDS
from sparsespike.data.keeping import Keeping
from sparsespike.data.late import LateEventsWarning, Watch
from sparsespike.data.parts import Parts
from sparsespike.data.recordings import Index, Recordings, checked_index
from sparsespike.data.rows import Rows
from sparsespike.data.store import About
from sparsespike.data.tonic import AsTonic
from sparsespike.data.transform import Transform, checked_augment, checked_draw, transformed
from sparsespike.spikes.arguments import integer
from sparsespike.spikes.lists import Lists
from sparsespike.spikes.spikes import Spikes

# Transformed at once: what lies between two transforms stays in cache, and is no memory that the system
# gives and takes back at every batch, which would take longer than the transforms do.
SAMPLES_AT_ONCE = 16


class EventDataset(Building, Keeping, Parts, Dataset[tuple[Spikes, int]]):
    """Labelled recordings of events; see `data.build` for the ways to one, and `data.load`.

    It is a dataset of `torch.utils.data` as well: `dataset[i]` gives (spikes, label) of one sample, binned
    on `grid`, and `data.collate` makes batches of these.

    The constructor trusts its arguments. Parts (`split`, `subset`, `select`) and `transformed` share
    the arrays of the whole. Pickling an opened dataset sends its path, not its events.

    Attributes:
        about: name, sizes, rounding, licence and citation.
        path: the file it is mapped from, or None.
        grid: T and the time step of `dataset[i]`, and of loaders that are told no other; 100 steps of
            1 ms unless `with_grid` says otherwise.
    """

    def __init__(
        self,
        recordings: Recordings,
        about: About,
        *,
        path: Path | None = None,
        sample: NDArray[np.int64] | None = None,
        transforms: tuple[Transform, ...] = (),
        grid: Grid = GRID,
    ) -> None:
        self.path = path
        self.grid = grid
        self._recordings = recordings
        self._stored = about
        # Positions of this dataset's samples among the recordings; None for all of them, in order.
        self._sample = sample
        self._labels_checked = False
        self._transforms = transforms
        self._n_events = -1
        self._kept = Kept()
        self._watch = Watch(grid)
        sensor = about.sensor
        for transform in transforms:
            sensor = transform.sensor(sensor)
        self.about = dataclasses.replace(about, sensor=sensor, n_units=math.prod(sensor))

    # ---- reading -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return self.about.name

    @property
    def n_units(self) -> int:
        """N, the number of input units."""
        return self.about.n_units

    @property
    def n_classes(self) -> int:
        """C, the number of classes."""
        return self.about.n_classes

    @property
    def n_events(self) -> int:
        """Number of stored events of all samples, before transforms and binning."""
        if self._n_events < 0:
            offset, sample = self._recordings.offset, self._sample
            of_part = None if sample is None else int((offset[sample + 1] - offset[sample]).sum())
            self._n_events = int(offset[-1]) if of_part is None else of_part
        return self._n_events

    @property
    def n_bytes(self) -> int:
        """Bytes of the units of those events: what a binning of them takes at most before transforms."""
        return self._recordings.unit.itemsize * self.n_events

    @property
    def unit(self) -> NDArray[Any]:
        """(n_events,) uint16 or int32; of a part, this and the next two are copied on each use."""
        return self.recordings().unit

    @property
    def time(self) -> NDArray[Any]:
        """(n_events,) int32 or int64, microseconds."""
        return self.recordings().time

    @property
    def offset(self) -> NDArray[np.int64]:
        """(n + 1,) int64, bounds of each sample in `unit` and `time`."""
        return self.recordings().offset

    @property
    def label(self) -> NDArray[np.int64]:
        """(n,) int64, class of each sample."""
        label = self._recordings.label
        if not self._labels_checked:  # not before they are asked for: opening reads none
            store.check_labels(label, self._stored)
            self._labels_checked = True
        return label if self._sample is None else label[self._sample]

    @property
    def meta(self) -> dict[str, NDArray[np.int64]]:
        """(n,) int64 by name, what else is known of each sample."""
        sample = slice(None) if self._sample is None else self._sample
        return {name: value[sample] for name, value in self._recordings.meta.items()}

    def __getitem__(self, index: SupportsIndex) -> tuple[Spikes, int]:
        """One sample on `grid`.

        Warns once (`LateEventsWarning`) if more than 1 % of the events are late on it.

        Args:
            index: in [-n, n).

        Returns:
            spikes: (1, T, N), see `batch`.
            label: its class.

        Raises:
            IndexError: if the index is out of range.
            ValueError: if it is no integer, or recordings begin at step T or later, as those with
                absolute times do; or as `batch`.
        """
        n = len(self)
        try:
            i = integer("index", index, -(2**63))
        except ValueError as error:
            raise ValueError(f"{error}; .subset and .batch take several") from None
        if not -n <= i < n:
            raise IndexError(f"sample {i} of {n}")
        spikes, label = self.batch([i % n], self.grid.steps, self.grid.dt_us / MICROSECONDS)
        self._watch.check(self, np.array([i % n]), spikes)
        message = self._watch.message(self, spikes)
        if message is not None:
            warnings.warn(message, LateEventsWarning, stacklevel=2)
        return spikes, int(label[0])

    def __len__(self) -> int:
        return len(self._recordings.label if self._sample is None else self._sample)

    def recordings(
        self,
        index: Index | None = None,
        augment: Sequence[Transform] = (),
        draw: np.random.Generator | None = None,
    ) -> Recordings:
        """The events of some samples, before binning.

        Args:
            index: (B,) integers in [0, n), may repeat; None for all samples, which are mapped, not
                copied, where this dataset is a whole store as it is.
            augment: transforms, applied after those of the dataset.
            draw: where their chance comes from; None for a generator of seed 0.

        Raises:
            ValueError: if an index is out of range or a sample damaged.
        """
        if index is None and self._sample is None and not self._transforms and not augment:
            return self._recordings
        index = np.arange(len(self)) if index is None else checked_index(index, len(self))
        taken = self._recordings.taken(self._positions(index))
        steps = (*self._transforms, *checked_augment(augment))
        return transformed(taken, self._stored.sensor, steps, checked_draw(draw))

    def batch(
        self,
        index: Index,
        steps: int,
        dt: float = 1e-3,
        augment: Sequence[Transform] = (),
        draw: np.random.Generator | None = None,
    ) -> tuple[Spikes, Tensor]:
        """Some samples as a batch, binned in time.

        The first batch at some (steps, dt) bins the whole dataset and keeps that, if it takes at
        most `BINNED_BYTES`; later ones only copy. A larger dataset, and an augmented batch, is binned
        batch by batch, to the same result.

        Args:
            index: (B,) integers in [0, n), the samples in the order wanted; may repeat.
            steps: T, >= 1. Events of step T or later are dropped and counted.
            dt: time step, seconds, a whole number of microseconds.
            augment, draw: see `recordings`; they leave the sensor as it is.

        Returns:
            spikes: (B, T, N) on the CPU, nothing active; its `n_clamped` counts the events that
                shared their (sample, step, unit) with another, its `n_late` those dropped.
            label: (B,) int64.

        Raises:
            ValueError: naming the argument that breaks one of these rules, or a damaged sample.
        """
        index = checked_index(index, len(self))
        grid = checked_grid(steps, dt)
        augment = checked_augment(augment, self.about.sensor)
        kept = None if augment else self.kept(grid)
        if kept is not None:
            lost = np.stack([kept.n_clamped[index], kept.n_late[index]], 1)
            unit, offset = rows.gathered(kept, index, grid.steps)
        else:
            part = self.binned(index, grid, augment, draw)
            lost = np.stack([part.n_clamped, part.n_late], 1)
            unit, offset = part.unit, part.offset
        shape = (len(index), grid.steps, self.n_units)
        lists = Lists(torch.from_numpy(unit), torch.from_numpy(offset))
        n_clamped, n_late = lost.sum(0).tolist()
        spikes = Spikes(
            shape,
            lists,
            n_clamped=n_clamped,
            n_late=n_late,
            lost=torch.from_numpy(lost),
            unit_shape=self.about.sensor,
        )
        label = self._recordings.label[self._positions(index)]
        store.check_labels(label, self._stored)
        return spikes, torch.from_numpy(label)

    def count(self, steps: int, dt: float = 1e-3) -> Counts:
        """How many events become spikes, are merged into another, or come too late.

        Costs one pass over all events, or nothing after a batch of a kept binning.

        Args:
            steps: T, >= 1.
            dt: time step, seconds, a whole number of microseconds.
        """
        grid = checked_grid(steps, dt)
        kept = self.kept(grid)
        return binning.counts(binning.passes(self, grid) if kept is None else [kept])

    def kept(self, grid: Grid) -> Rows | None:
        """All samples binned, which is kept until another grid is asked for; None for a large dataset."""
        return self._kept.rows(self, grid)

    def binned(
        self,
        index: NDArray[np.int64],
        grid: Grid,
        augment: Sequence[Transform] = (),
        draw: np.random.Generator | None = None,
        small: bool = False,
    ) -> Rows:
        """The rows of a batch, as `batch` has them; `index` is trusted, `small` as in `rows.binned`."""
        if not self._transforms and not augment:
            sample = self._positions(index)
            return rows.binned(self._recordings, self.about, sample, *grid, small=small)
        draw = checked_draw(draw)
        parts = []
        for start in range(0, max(1, len(index)), SAMPLES_AT_ONCE):
            few = self.recordings(index[start : start + SAMPLES_AT_ONCE], augment, draw)
            sample = np.arange(len(few.label))
            parts.append(rows.binned(few, self.about, sample, *grid, small=small))
        return rows.joined(parts)

    def to_tonic(self, transform: Callable[[NDArray[Any]], Any] | None = None) -> AsTonic:
        """This dataset as one of Tonic's, which gives (events, label) of each sample.

        Args:
            transform: of Tonic, applied to the events of each sample, or None.
        """
        return AsTonic(self.recordings(), self.about.sensor, transform)

    def __repr__(self) -> str:
        stored = self._recordings
        arrays = [stored.unit, stored.time, stored.offset, stored.label, *stored.meta.values()]
        size = sum(array.nbytes for array in arrays) / 2**20
        where = "in memory" if self.path is None else f"mapped from {self.path}"
        seen = "".join(f", {transform}" for transform in self._transforms)
        return (
            f"EventDataset({self.name}: {len(self):,} samples, {self.n_units:,} units, "
            f"{self.n_classes} classes, {self.n_events:,} events{seen}; "
            f"{'' if self._sample is None else 'part of '}{size:,.1f} MiB {where})"
        )

    # ---- inside --------------------------------------------------------------------------------

    def _part(
        self,
        sample: NDArray[np.int64] | None,
        transforms: tuple[Transform, ...],
        grid: Grid,
    ) -> EventDataset:
        return EventDataset(
            self._recordings,
            self._stored,
            path=self.path,
            sample=sample,
            transforms=transforms,
            grid=grid,
        )
