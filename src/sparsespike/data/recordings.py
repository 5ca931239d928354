"""`Recordings`: some recordings as flat arrays, what readers give, transforms change and stores keep.

    unit[offset[i] : offset[i + 1]], time[offset[i] : offset[i + 1]]     events of recording i

A sensor is the shape of its units: (P, H, W) of a camera with P polarities, unit (p H + y) W + x;
(N,) of anything else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.compiling.compiled import compiled
from sparsespike.spikes.arguments import described, integer, items

Sensor = tuple[int, ...]
Index = Sequence[SupportsIndex] | NDArray[Any] | Tensor


class Recordings(NamedTuple):
    """Labelled recordings.

    Attributes:
        unit: (n_events,) integers in [0, N).
        time: (n_events,) integers >= 0, microseconds, in any order within a recording.
        offset: (n + 1,) int64, bounds of each recording in `unit` and `time`.
        label: (n,) int64, class of each.
        meta: (n,) int64 by name, what else is known of each: its speaker, say.
        n_dropped: events that a reader left out, because the format marks them as invalid or they
            belong to no recording.
    """

    unit: NDArray[Any]
    time: NDArray[Any]
    offset: NDArray[Any]
    label: NDArray[Any]
    meta: dict[str, NDArray[Any]]
    n_dropped: int = 0

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) events of each recording."""
        return np.diff(self.offset)

    def from_first_event(self) -> Recordings:
        """The recordings with the first event of each at time 0."""
        busy = self.lengths > 0
        if not busy.any():
            return self
        first = np.minimum.reduceat(self.time, self.offset[:-1][busy])
        return self._replace(time=self.time - np.repeat(first, self.lengths[busy]))

    def taken(self, index: NDArray[np.int64]) -> Recordings:
        """Some of the recordings, copied.

        Args:
            index: (b,) in [0, n), in the order wanted; may repeat.

        Raises:
            ValueError: if the bounds of one are out of range, as those of a damaged file may be.
        """
        start, stop = self.offset[index], self.offset[index + 1]
        damaged = (start < 0) | (stop < start) | (stop > len(self.unit))
        if damaged.any():
            i = index[damaged.argmax()]
            raise ValueError(f"recording {i} is damaged: its bounds in the file are out of range")
        offset = np.zeros(len(index) + 1, np.int64)
        np.cumsum(stop - start, out=offset[1:])
        unit, time = np.empty(offset[-1], self.unit.dtype), np.empty(offset[-1], self.time.dtype)
        _copy(self.unit, self.time, start, offset, unit, time)
        meta = {name: value[index] for name, value in self.meta.items()}
        return Recordings(unit, time, offset, self.label[index], meta, self.n_dropped)

    def kept(self, keep: NDArray[np.bool_]) -> Recordings:
        """The recordings without some of their events.

        Args:
            keep: (n_events,) which events stay.
        """
        unit, time, offset = _keep(self.unit, self.time, self.offset, keep)
        return self._replace(unit=unit, time=time, offset=offset)

    def mapped(self, table: NDArray[np.int32], row: NDArray[np.int64] | None = None) -> Recordings:
        """The recordings with other units, without the events whose unit has none.

        Args:
            table: (m, N), the new unit of each, or -1 for none.
            row: (n,) in [0, m), which line holds for each recording; None for the first.
        """
        row = np.zeros(len(self.label), np.int64) if row is None else row
        small = np.uint16 if table.max(initial=0) < 2**16 else np.int32
        unit = np.empty(len(self.unit), small)
        n, time, offset = _map(self.unit, self.time, self.offset, table, row, unit)
        return self._replace(unit=unit[:n], time=time[:n], offset=offset)


def checked_sensor(sensor: Sequence[int]) -> Sensor:
    """A sensor as a tuple.

    Raises:
        ValueError: if it is no shape of one or three sizes >= 1, or of 2^26 units or more.
    """
    expected = "(units,) or (polarities, height, width), each >= 1 and fewer than 2^26 units in all"
    try:
        sizes = tuple(integer("sensor", size, 1) for size in items("sensor", sensor, expected))
    except ValueError:
        sizes = ()
    if len(sizes) not in (1, 3) or math.prod(sizes) >= 2**26:
        raise ValueError(f"sensor: expected {expected}, found {described(sensor)}")
    return sizes


def as_array(name: str, value: Any, expected: str) -> NDArray[Any]:
    """An argument as an array, of integers if it is an empty list, which has no type of its own.

    Raises:
        ValueError: naming the argument, what was expected and what was found, if it is none.
    """
    try:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged; sparse, or of a type of torch's own
        raise ValueError(f"{name}: expected {expected}, found {described(value)}") from None
    return array.astype(np.int64) if array.size == 0 and array.ndim == 1 else array


def checked_label(label: Any, n: int) -> NDArray[Any]:
    """Labels as an array; their range is checked with the store.

    Raises:
        ValueError: if they are no integers, or not n.
    """
    array = as_array("label", label, f"{n} integers, one for each sample")
    if array.shape != (n,) or array.dtype.kind not in "iu":
        found = f"{len(array)} labels" if array.ndim == 1 and len(array) != n else described(label)
        raise ValueError(f"label: expected {n} integers, one for each sample, found {found}")
    return array


def joined(parts: Sequence[Recordings]) -> Recordings:
    """Recordings one after the other.

    Args:
        parts: with the same names in `meta`; none at all gives no recordings.
    """
    ends = np.cumsum([0, *(len(part.unit) for part in parts)])
    offset = [part.offset[1:] + start for part, start in zip(parts, ends, strict=False)]
    return Recordings(
        np.concatenate([np.empty(0, np.int64), *(part.unit for part in parts)]),
        np.concatenate([np.empty(0, np.int64), *(part.time for part in parts)]),
        np.concatenate([[0], *offset]),
        np.concatenate([np.empty(0, np.int64), *(part.label for part in parts)]),
        {
            name: np.concatenate([part.meta[name] for part in parts])
            for name in (parts[0].meta if parts else ())
        },
        sum(part.n_dropped for part in parts),
    )


def checked_index(index: Index, n: int) -> NDArray[np.int64]:
    """Positions in [0, n) as an array.

    Raises:
        ValueError: if they are anything else.
    """
    array = as_array("index", index, "a 1-D list of integers")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"index: expected a 1-D list of integers, found {described(index)}")
    if len(array) and not (array.min() >= 0 and array.max() < n):
        raise ValueError(
            f"index: expected samples in [0, {n}), found {array.min()} to {array.max()}"
        )
    return array.astype(np.int64, copy=False)


def stratified(label: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    """Which samples a split holds out: of each class the same share, rounded to whole samples.

    Args:
        label: (n,) classes.
        share: in (0, 1).
        seed: >= 0.
    """
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(label), bool)
    for value in range(int(label.max(initial=-1)) + 1):
        members = generator.permutation(np.flatnonzero(label == value))
        held_out[members[: round(share * len(members))]] = True
    return held_out


@compiled
def _copy(unit, time, start, offset, out_unit, out_time):
    for i in range(len(start)):
        first, n = offset[i], offset[i + 1] - offset[i]
        # Slices, so that the loop below runs over plain indices and becomes vector code.
        source_unit, source_time = unit[start[i] : start[i] + n], time[start[i] : start[i] + n]
        target_unit, target_time = out_unit[first : first + n], out_time[first : first + n]
        for k in range(n):
            target_unit[k] = source_unit[k]
            target_time[k] = source_time[k]


@compiled
def _keep(unit, time, offset, keep):
    out_unit, out_time = np.empty_like(unit), np.empty_like(time)
    out_offset = np.zeros_like(offset)
    n = 0
    for i in range(len(offset) - 1):
        for e in range(offset[i], offset[i + 1]):
            # Written in any case, and counted if it stays: a branch would be guessed wrong too often.
            out_unit[n] = unit[e]
            out_time[n] = time[e]
            n += keep[e]
        out_offset[i + 1] = n
    return out_unit[:n], out_time[:n], out_offset


@compiled
def _map(unit, time, offset, table, row, out_unit):
    out_time = np.empty_like(time)
    out_offset = np.zeros_like(offset)
    n = 0
    for i in range(len(offset) - 1):
        line = table[row[i]]
        for e in range(offset[i], offset[i + 1]):
            to = line[unit[e]]
            out_unit[n] = to
            out_time[n] = time[e]
            n += to >= 0
        out_offset[i + 1] = n
    return n, out_time, out_offset
