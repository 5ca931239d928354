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

from sparsespike.data.encode import MICROSECONDS, nearest_us
from sparsespike.data.recordings import Recordings, Sensor
from sparsespike.data.transform import Transform, flat, space


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
        _check(self, 0 <= self.share < 1, "a share in [0, 1)")

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
        _check(self, 0 <= self.share < 1, "a share in [0, 1)")

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        alive = draw.random((len(recordings.label), math.prod(sensor)), np.float32) >= self.share
        return recordings.kept(alive[_owner(recordings), recordings.unit])


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
        _check(self, 0 <= self.sigma < math.inf, "seconds >= 0")

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        moved = draw.standard_normal(len(recordings.time), np.float32) * (self.sigma * MICROSECONDS)
        return _at(recordings, recordings.time + moved.astype(np.float64))


@dataclass(frozen=True)
class TimeShift(Transform):
    """Moves each recording as a whole in time by a uniform amount.

    Args:
        distance: the farthest, to either side, seconds, >= 0.
    """

    distance: float

    def __post_init__(self) -> None:
        _check(self, 0 <= self.distance < math.inf, "seconds >= 0")

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        moved = draw.uniform(-self.distance, self.distance, len(recordings.label)) * MICROSECONDS
        return _at(recordings, recordings.time + moved[_owner(recordings)])


@dataclass(frozen=True)
class TimeStretch(Transform):
    """Plays each recording slower or faster by a uniform factor.

    Args:
        share: the factor lies in [1 - share, 1 + share]; in [0, 1).
    """

    share: float

    def __post_init__(self) -> None:
        _check(self, 0 <= self.share < 1, "a share in [0, 1)")

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        factor = draw.uniform(1 - self.share, 1 + self.share, len(recordings.label))
        return _at(recordings, recordings.time * factor[_owner(recordings)])


@dataclass(frozen=True)
class UnitJitter(Transform):
    """Moves each event in space by a normal amount, rounded: a channel, or a pixel along both axes.

    Args:
        sigma: standard deviation, units, >= 0.
    """

    sigma: float

    def __post_init__(self) -> None:
        _check(self, 0 <= self.sigma < math.inf, "units >= 0")

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        shape = (len(space(sensor)), len(recordings.unit))
        moved = np.rint(draw.standard_normal(shape, np.float32) * self.sigma).astype(np.int64)
        return _moved(recordings, sensor, moved)


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
        _check(self, type(self.distance) is int and self.distance >= 0, "a whole number >= 0")

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        shape = (len(space(sensor)), len(recordings.label))
        moved = draw.integers(-self.distance, self.distance, shape, endpoint=True)
        return _moved(recordings, sensor, moved[:, _owner(recordings)])


def _check(transform: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"{type(transform).__name__}: expected {expected}, found {transform}")


def _owner(recordings: Recordings) -> NDArray[np.int64]:
    """(n_events,) the recording of each event."""
    return np.repeat(np.arange(len(recordings.label)), recordings.lengths)


def _at(recordings: Recordings, microseconds: NDArray[np.float64]) -> Recordings:
    """The recordings with new times, without the events whose time is before 0."""
    keep = microseconds >= 0
    return recordings.kept(keep)._replace(time=nearest_us(microseconds[keep] / MICROSECONDS))


def _moved(recordings: Recordings, sensor: Sensor, moved: NDArray[np.int64]) -> Recordings:
    """The recordings with events moved along the axes of space, without those off the sensor."""
    where = list(np.unravel_index(recordings.unit, sensor))
    keep = np.ones(len(recordings.unit), bool)
    for axis, (by, size) in enumerate(
        zip(moved, space(sensor), strict=True), len(sensor) - len(moved)
    ):
        where[axis] = where[axis] + by
        keep &= (where[axis] >= 0) & (where[axis] < size)
    unit = flat(tuple(x[keep] for x in where), sensor)
    return recordings.kept(keep)._replace(unit=unit)
