"""Augmentations: transforms of recordings that are drawn anew each time, for training.

`EventLoader(augment=...)` applies them. An event that one moves off the sensor or before time 0 is left
out. New times are rounded by `encode`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsespike.compiling.compiled import compiled
from sparsespike.data.encode import MICROSECONDS, move_times
from sparsespike.data.recordings import Recordings, Sensor
from sparsespike.data.transform import Transform, space
from sparsespike.spikes.arguments import integer, number


@dataclass(frozen=True)
class EventDrop(Transform):
    """Leaves out each event with one probability.

    F. Gu, W. Sng, X. Hu, F. Yu, EventDrop: Data Augmentation for Event-based Learning, IJCAI 2021:
    their "random drop", with a fixed ratio.

    Args:
        share: the probability, in [0, 1).
    """

    share: float

    def __post_init__(self) -> None:
        _check(self, "share", "a share in [0, 1)", 1.0)

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        return recordings.kept(draw.random(len(recordings.unit), np.float32) >= self.share)


@dataclass(frozen=True)
class UnitDrop(Transform):
    """Silences each unit of each recording with one probability: dead pixels, lost channels.

    Args:
        share: the probability, in [0, 1).
    """

    share: float

    def __post_init__(self) -> None:
        _check(self, "share", "a share in [0, 1)", 1.0)

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        n, n_units = len(recordings.label), math.prod(sensor)
        alive = draw.random((n, n_units), np.float32) >= self.share
        table = np.where(alive, np.arange(n_units, dtype=np.int32), np.int32(-1))
        return recordings.mapped(table, np.arange(n))


@dataclass(frozen=True)
class TimeJitter(Transform):
    """Moves each event in time by a normal amount.

    B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, The Heidelberg Spiking Data Sets for the
    Systematic Evaluation of Spiking Neural Networks, IEEE TNNLS 33(7), 2022, use such noise.

    Args:
        sigma: standard deviation, seconds, >= 0.
    """

    sigma: float

    def __post_init__(self) -> None:
        _check(self, "sigma", "seconds >= 0")

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        normal = draw.standard_normal(len(recordings.time), np.float32)
        return _at(recordings, jitter=normal * np.float32(self.sigma * MICROSECONDS))


@dataclass(frozen=True)
class TimeShift(Transform):
    """Moves each recording as a whole in time by a uniform amount.

    Args:
        distance: the farthest, to either side, seconds, >= 0.
    """

    distance: float

    def __post_init__(self) -> None:
        _check(self, "distance", "seconds >= 0")

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        moved = draw.uniform(-self.distance, self.distance, len(recordings.label))
        return _at(recordings, shift=moved * MICROSECONDS)


@dataclass(frozen=True)
class TimeStretch(Transform):
    """Plays each recording slower or faster by a uniform factor.

    Args:
        share: the factor lies in [1 - share, 1 + share]; in [0, 1).
    """

    share: float

    def __post_init__(self) -> None:
        _check(self, "share", "a share in [0, 1)", 1.0)

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        factor = draw.uniform(1 - self.share, 1 + self.share, len(recordings.label))
        return _at(recordings, factor=factor)


@dataclass(frozen=True)
class UnitJitter(Transform):
    """Moves each event in space by a normal amount, rounded: a channel, or a pixel along both axes.

    Args:
        sigma: standard deviation, units, >= 0.
    """

    sigma: float

    def __post_init__(self) -> None:
        _check(self, "sigma", "units >= 0")

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        axes, n_events = len(space(sensor)), len(recordings.unit)
        moved = np.rint(draw.standard_normal((n_events, axes), np.float32) * np.float32(self.sigma))
        keep = np.empty(n_events, bool)
        unit = np.empty_like(recordings.unit)
        place = np.indices(sensor).reshape(len(sensor), -1)[-axes:].T.astype(np.int32)
        sizes = np.array(space(sensor), np.int32)
        _jitter(
            recordings.unit, moved.astype(np.int32), np.ascontiguousarray(place), sizes, unit, keep
        )
        return recordings._replace(unit=unit).kept(keep)


@dataclass(frozen=True)
class Shift(Transform):
    """Moves each recording as a whole in space by whole units: channels, or pixels along both axes.

    T. Nowotny, J. P. Turner, J. C. Knight, Loss shaping enhances exact gradient learning with
    Eventprop in spiking neural networks, Neuromorphic Computing and Engineering 5, 2025: "shift" by
    up to 40 channels on SHD.

    Args:
        distance: the farthest, to either side, units, >= 0.
    """

    distance: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "distance", integer("Shift", self.distance, 0, 2**31))

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        axes = len(space(sensor))
        shape = (len(recordings.label), axes)
        moved = draw.integers(-self.distance, self.distance, shape, endpoint=True)
        # One line of the table for each way to move, of which there are few.
        ways, row = np.unique(moved, axis=0, return_inverse=True)
        where = np.indices(sensor).reshape(1, len(sensor), -1).repeat(len(ways), 0)
        where[:, -axes:] += ways[:, :, None]
        sizes = np.array(sensor)[None, :, None]
        on = ((where >= 0) & (where < sizes)).all(1)
        table = np.ravel_multi_index(tuple(where.swapaxes(0, 1)), sensor, mode="clip")
        return recordings.mapped(np.where(on, table, -1).astype(np.int32), row.reshape(-1))


@dataclass(frozen=True)
class FlipLR(Transform):
    """Mirrors each recording left to right with one probability; a line of channels, end to end.

    Args:
        share: the probability, in [0, 1).
    """

    share: float

    def __post_init__(self) -> None:
        _check(self, "share", "a share in [0, 1)", 1.0)

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        as_it_is = np.arange(math.prod(sensor), dtype=np.int32).reshape(sensor)
        table = np.stack([as_it_is, as_it_is[..., ::-1]]).reshape(2, -1)
        mirrored = draw.random(len(recordings.label)) < self.share
        return recordings.mapped(table, mirrored.astype(np.int64))


def _check(transform: Any, name: str, expected: str, below: float = math.inf) -> None:
    """Makes the number of a transform Python's own, or raises a ValueError unless in [0, below)."""
    what = type(transform).__name__
    value = number(what, getattr(transform, name), expected)
    if not 0 <= value < below:
        raise ValueError(f"{what}: expected {expected}, found {value}")
    object.__setattr__(transform, name, value)


def _at(
    recordings: Recordings,
    factor: NDArray[np.float64] | None = None,
    shift: NDArray[np.float64] | None = None,
    jitter: NDArray[np.float32] | None = None,
) -> Recordings:
    """The recordings at other times, without the events whose time is before 0.

    Args:
        factor: (n,) of each recording's times; None for 1.
        shift: (n,) added to them, microseconds; None for 0.
        jitter: (n_events,) added to each event's; None for 0.
    """
    n = len(recordings.label)
    unit, time, offset = move_times(
        recordings.unit,
        recordings.time,
        recordings.offset,
        np.ones(n) if factor is None else factor,
        np.zeros(n) if shift is None else shift,
        np.zeros(0, np.float32) if jitter is None else jitter,
    )
    return recordings._replace(unit=unit, time=time, offset=offset)


@compiled
def _jitter(unit, moved, place, sizes, out_unit, keep):
    """Moves each event by its own amount along the last axes of the sensor, and tells which stay on it.

    Args:
        unit: (n_events,).
        moved: (n_events, axes) units.
        place: (N, axes), where each unit is.
        sizes: (axes,) of the sensor.
        out_unit, keep: (n_events,) written.
    """
    for e in range(len(unit)):
        u = np.int64(unit[e])
        to, stride, on = u, 1, True
        for axis in range(len(sizes) - 1, -1, -1):
            at = place[u, axis] + moved[e, axis]
            on &= at >= 0 and at < sizes[axis]
            to += moved[e, axis] * stride
            stride *= sizes[axis]
        keep[e] = on
        out_unit[e] = to if on else 0
