"""`EventDataset`: labelled recordings as flat arrays of events, in memory or mapped from a file.

    unit[offset[i] : offset[i + 1]], time[offset[i] : offset[i + 1]]     events of sample i

Times are whole microseconds, in any order within a sample; `batch` rounds them to steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.data import encode, rows, store
from sparsespike.data.encode import Rounding
from sparsespike.data.rows import Rows
from sparsespike.data.store import About
from sparsespike.events import Spikes
from sparsespike.lists import Lists

# A dataset is binned once and kept where that takes at most this much; a larger one is binned batch
# by batch, so that memory does not grow with the store. Fashion-MNIST takes 61 MiB at T = 100.
BINNED_BYTES = 2**30
SAMPLES_PER_PASS = 256  # when all events of a larger one are counted


class Counts(NamedTuple):
    """What becomes of a dataset's events: the last three numbers add up to the first."""

    n_events: int
    n_spikes: int
    n_clamped: int  # shared their (sample, step, unit) with another event, and are merged into it
    n_late: int  # came at step T or later, and are dropped


class EventDataset:
    """Labelled recordings of events; see `from_arrays`, `open` and `sparsespike.data.load`.

    The constructor trusts its arguments. Parts (`split`, `subset`) share the arrays of the whole.
    Pickling an opened dataset sends its path, not its events.

    Attributes:
        about: name, sizes, rounding, licence and citation.
        path: the file it is mapped from, or None.
    """

    def __init__(
        self,
        arrays: dict[str, NDArray[Any]],
        about: About,
        *,
        path: Path | None = None,
        sample: NDArray[np.int64] | None = None,
    ) -> None:
        self.about = about
        self.path = path
        self._arrays = arrays
        self._whole = sample is None
        # Positions of this dataset's samples in the arrays.
        self._sample = np.arange(len(arrays["label"])) if sample is None else sample
        self._n_events = -1
        self._binned: tuple[tuple[int, int], Rows] | None = None

    # ---- building and keeping ------------------------------------------------------------------

    @classmethod
    def from_arrays(
        cls,
        unit: NDArray[Any],
        time: NDArray[Any],
        offset: NDArray[Any],
        label: NDArray[Any],
        *,
        n_units: int,
        n_classes: int,
        name: str = "events",
        rounding: Rounding = "floor",
        licence: str = "",
        citation: str = "",
    ) -> EventDataset:
        """A dataset of your own events, checked; not copied where the types are those of the store.

        Args:
            unit: (n_events,) integers in [0, n_units).
            time: (n_events,) integers >= 0, microseconds, in any order within a sample.
            offset: (n + 1,) integers from 0 to n_events, never descending.
            label: (n,) integers in [0, n_classes).
            n_units, n_classes, name, rounding, licence, citation: see `About`.

        Raises:
            ValueError: naming the argument that breaks one of these rules.
        """
        about = About(name, n_units, n_classes, rounding, licence, citation)
        given = {"unit": unit, "time": time, "offset": offset, "label": label}
        return cls(store.narrowed(given, about), about)

    @classmethod
    def open(cls, path: Path | str) -> EventDataset:
        """Maps a file that `save` wrote; its events are read when a batch needs them.

        Raises:
            ValueError: if the file is damaged, cut short or of another format.
            OSError: if it cannot be opened.
        """
        path = Path(path).absolute()
        return cls(*store.read(path), path=path)

    def save(self, path: Path | str) -> None:
        """Writes one file atomically; a file that was there before is replaced or intact.

        Raises:
            OSError: if it cannot be written.
        """
        store.write(Path(path), self._own(), self.about)

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
        """Number of events of all samples, before binning."""
        if self._n_events < 0:
            self._n_events = int(self._lengths().sum())
        return self._n_events

    @property
    def unit(self) -> NDArray[Any]:
        """(n_events,) uint16 or int32; of a part, this and the next two are copied on each use."""
        return self._own()["unit"]

    @property
    def time(self) -> NDArray[Any]:
        """(n_events,) int32 or int64, microseconds."""
        return self._own()["time"]

    @property
    def offset(self) -> NDArray[np.int64]:
        """(n + 1,) int64, bounds of each sample in `unit` and `time`."""
        return self._own()["offset"]

    @property
    def label(self) -> NDArray[np.int64]:
        """(n,) int64, class of each sample."""
        return self._arrays["label"] if self._whole else self._arrays["label"][self._sample]

    def __len__(self) -> int:
        return len(self._sample)

    def batch(
        self, index: Sequence[int] | NDArray[Any] | Tensor, steps: int, dt: float = 1e-3
    ) -> tuple[Spikes, Tensor]:
        """Some samples as a batch, binned in time.

        The first batch at some (steps, dt) bins the whole dataset and keeps that, if it takes at
        most `BINNED_BYTES`; later ones only copy. A larger dataset is binned batch by batch, to
        the same result.

        Args:
            index: (B,) integers in [0, n), the samples in the order wanted; may repeat.
            steps: T, >= 1. Events of step T or later are dropped: `count` says how many.
            dt: time step, seconds, a whole number of microseconds.

        Returns:
            spikes: (B, T, N) on the CPU, nothing active; its `n_clamped` counts the events that
                shared their (sample, step, unit) with another.
            label: (B,) int64.

        Raises:
            ValueError: naming the argument that breaks one of these rules, or a damaged sample.
        """
        index = self._checked(index)
        dt_us = _checked_grid(steps, dt)
        if self._keeps_binned(steps):
            kept = self._bin_all(steps, dt_us)
            n_clamped = int(kept.n_clamped[index].sum())
            unit, offset = rows.gathered(kept, index, steps)
        else:
            part = rows.binned(self._arrays, self.about, self._sample[index], steps, dt_us)
            n_clamped = int(part.n_clamped.sum())
            unit, offset = part.unit, part.offset
        shape = (len(index), steps, self.n_units)
        lists = Lists(torch.from_numpy(unit), torch.from_numpy(offset))
        spikes = Spikes(shape, lists, n_clamped=n_clamped)
        return spikes, torch.from_numpy(self._arrays["label"][self._sample[index]])

    def count(self, steps: int, dt: float = 1e-3) -> Counts:
        """How many events become spikes, are merged into another, or come too late.

        Costs one pass over all events, or nothing after a batch of a kept binning.

        Args:
            steps: T, >= 1.
            dt: time step, seconds, a whole number of microseconds.
        """
        dt_us = _checked_grid(steps, dt)
        if self._keeps_binned(steps):
            passes = [self._bin_all(steps, dt_us)]
        else:
            starts = range(0, len(self), SAMPLES_PER_PASS)
            parts = (self._sample[start : start + SAMPLES_PER_PASS] for start in starts)
            passes = (rows.binned(self._arrays, self.about, p, steps, dt_us) for p in parts)
        n_clamped = n_late = 0
        for part in passes:
            n_clamped += int(part.n_clamped.sum())
            n_late += int(part.n_late.sum())
        return Counts(self.n_events, self.n_events - n_clamped - n_late, n_clamped, n_late)

    # ---- parts ---------------------------------------------------------------------------------

    def subset(self, index: Sequence[int] | NDArray[Any] | Tensor) -> EventDataset:
        """The samples `index` names, in that order, sharing this dataset's arrays.

        Args:
            index: integers in [0, n); may repeat.
        """
        sample = self._sample[self._checked(index)]
        return EventDataset(self._arrays, self.about, path=self.path, sample=sample)

    def split(self, share: float, seed: int) -> tuple[EventDataset, EventDataset]:
        """(training, validation): disjoint, each class in proportion, in this dataset's order.

        Args:
            share: of each class's samples to validate on, in (0, 1), rounded to whole samples.
            seed: >= 0; the same one gives the same split.

        Raises:
            ValueError: if an argument is out of range or leaves a part without samples.
        """
        if not 0 < share < 1:
            raise ValueError(f"share: expected a number in (0, 1), found {share!r}")
        if seed < 0:
            raise ValueError(f"seed: expected an integer >= 0, found {seed!r}")
        generator = np.random.default_rng(seed)
        label = self.label
        held_out = np.zeros(len(self), bool)
        for value in range(self.n_classes):
            members = generator.permutation(np.flatnonzero(label == value))
            held_out[members[: round(share * len(members))]] = True
        if held_out.all() or not held_out.any():
            raise ValueError(
                f"share: expected samples on both sides, found {share!r} of {len(self)} samples"
            )
        return self.subset(np.flatnonzero(~held_out)), self.subset(np.flatnonzero(held_out))

    def __repr__(self) -> str:
        size = sum(array.nbytes for array in self._arrays.values()) / 2**20
        where = "in memory" if self.path is None else f"mapped from {self.path}"
        return (
            f"EventDataset({self.name}: {len(self):,} samples, {self.n_units:,} units, "
            f"{self.n_classes} classes, {self.n_events:,} events; "
            f"{'' if self._whole else 'part of '}{size:,.1f} MiB {where})"
        )

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_binned": None}
        if self.path is not None:
            del state["_arrays"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.path is not None:
            self._arrays, about = store.read(self.path)
            last = int(self._sample.max(initial=-1))
            if about != self.about or last >= len(self._arrays["label"]):
                raise ValueError(f"{self.path}: the file was replaced by that of another dataset")

    # ---- inside --------------------------------------------------------------------------------

    def _own(self) -> dict[str, NDArray[Any]]:
        """The arrays of this dataset's samples alone."""
        if self._whole:
            return self._arrays
        start, length = self._arrays["offset"][self._sample], self._lengths()
        offset = np.concatenate([[0], np.cumsum(length)])
        event = np.repeat(start - offset[:-1], length) + np.arange(offset[-1])
        unit, time = self._arrays["unit"][event], self._arrays["time"][event]
        return {"unit": unit, "time": time, "offset": offset, "label": self.label}

    def _lengths(self) -> NDArray[np.int64]:
        """(n,) events of each sample."""
        offset = self._arrays["offset"]
        return np.diff(offset) if self._whole else offset[self._sample + 1] - offset[self._sample]

    def _keeps_binned(self, steps: int) -> bool:
        n_bytes = self._arrays["unit"].itemsize * self.n_events + 4 * steps * len(self)
        return n_bytes <= BINNED_BYTES

    def _bin_all(self, steps: int, dt_us: int) -> Rows:
        """All samples binned, kept until another (steps, dt) is asked for."""
        binned = self._binned
        if binned is None or binned[0] != (steps, dt_us):
            # Small: a batch takes the time that its bytes take to come from memory.
            whole = rows.binned(self._arrays, self.about, self._sample, steps, dt_us, small=True)
            # One assignment: another thread sees the old binning or this one, whole.
            self._binned = binned = (steps, dt_us), whole
        return binned[1]

    def _checked(self, index: Sequence[int] | NDArray[Any] | Tensor) -> NDArray[np.int64]:
        array = np.asarray(index)
        if array.size == 0 and array.ndim == 1:
            array = array.astype(np.int64)  # an empty list has no type of its own
        if array.ndim != 1 or array.dtype.kind not in "iu":
            found = f"{array.dtype} of shape {array.shape}"
            raise ValueError(f"index: expected a 1-D list of integers, found {found}")
        if len(array) and not (array.min() >= 0 and array.max() < len(self)):
            raise ValueError(
                f"index: expected samples in [0, {len(self)}), found {array.min()} to {array.max()}"
            )
        return array.astype(np.int64, copy=False)


def _checked_grid(steps: int, dt: float) -> int:
    """The time step in microseconds."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps: expected an integer >= 1, found {steps!r}")
    return encode.microseconds(dt)
