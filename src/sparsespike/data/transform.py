"""Transforms of recordings: selections, the same every time, and augmentations, drawn anew.

A transform takes `Recordings` of a batch and gives others. `EventDataset.transformed` applies
selections to all that a dataset gives; `EventLoader(augment=...)` augmentations in training. An event
that a transform moves off the sensor or before time 0 is left out. New times are rounded by `encode`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sparsespike.data.encode import MICROSECONDS, nearest_us
from sparsespike.data.recordings import Recordings, Sensor


class Transform:
    """What a transform is; one of your own overrides `__call__`, and what else differs.

    Attributes:
        random: whether it draws anything; an augmentation does, a selection does not.
    """

    random: ClassVar[bool] = True

    def sensor(self, sensor: Sensor) -> Sensor:
        """Shape of the units afterwards.

        Raises:
            ValueError: if it cannot be applied to such a sensor.
        """
        return sensor

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """The recordings changed.

        Args:
            recordings: a batch; neither they nor their arrays are written to.
            sensor: shape of their units.
            draw: where all chance comes from.
        """
        raise NotImplementedError


def transformed(
    recordings: Recordings,
    sensor: Sensor,
    transforms: Sequence[Transform],
    draw: np.random.Generator,
) -> Recordings:
    """The recordings after some transforms, in order; see `Transform.__call__`."""
    for transform in transforms:
        recordings = transform(recordings, sensor, draw)
        sensor = transform.sensor(sensor)
    return recordings


# ---- selections --------------------------------------------------------------------------------


@dataclass(frozen=True)
class FoldPolarity(Transform):
    """ON and OFF events of a pixel become events of one unit: (P, H, W) -> (1, H, W)."""

    random: ClassVar[bool] = False

    def sensor(self, sensor: Sensor) -> Sensor:
        """See `Transform`."""
        _, height, width = _camera(self, sensor)
        return 1, height, width

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        n_pixels = sensor[1] * sensor[2]
        return recordings._replace(unit=recordings.unit % recordings.unit.dtype.type(n_pixels))


@dataclass(frozen=True)
class OnePolarity(Transform):
    """Only the events of one polarity: (P, H, W) -> (1, H, W).

    Args:
        polarity: which, in [0, P): 1 is ON, brighter, and 0 is OFF in most cameras' files.
    """

    polarity: int
    random: ClassVar[bool] = False

    def sensor(self, sensor: Sensor) -> Sensor:
        """See `Transform`."""
        n_polarity, height, width = _camera(self, sensor)
        if not (isinstance(self.polarity, int) and 0 <= self.polarity < n_polarity):
            raise ValueError(
                f"{self}: expected a polarity in [0, {n_polarity}), found {self.polarity}"
            )
        return 1, height, width

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        n_pixels = sensor[1] * sensor[2]
        return FoldPolarity()(
            recordings.kept(recordings.unit // n_pixels == self.polarity), sensor, draw
        )


@dataclass(frozen=True)
class Pool(Transform):
    """Merges neighbours: squares of size x size pixels, or `size` channels in a row, into one unit.

    On SHD, 5 channels are merged into one by I. Hammouamri, I. Khalfaoui-Hassani, T. Masquelier,
    Learning Delays in Spiking Neural Networks using Dilated Convolutions with Learnable Spacings,
    ICLR 2024, section 4.

    Args:
        size: >= 1.
    """

    size: int
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if type(self.size) is not int or self.size < 1:
            raise ValueError(f"Pool: expected a whole size >= 1, found {self.size!r}")

    def sensor(self, sensor: Sensor) -> Sensor:
        """See `Transform`."""
        pooled = tuple(-(-n // self.size) for n in _space(sensor))
        return (*sensor[: -len(pooled)], *pooled)

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        where = np.unravel_index(recordings.unit, sensor)
        n_kept = len(sensor) - len(_space(sensor))
        where = where[:n_kept] + tuple(x // self.size for x in where[n_kept:])
        return recordings._replace(unit=_flat(where, self.sensor(sensor)))


@dataclass(frozen=True)
class CropTime(Transform):
    """Only the events from `start` up to, not including, `stop`; times then count from `start`.

    Args:
        start, stop: seconds, 0 <= start < stop.
    """

    start: float
    stop: float
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"CropTime: expected 0 <= start < stop, found {self}")

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        start, stop = nearest_us(np.array([self.start, self.stop])).tolist()
        kept = recordings.kept((recordings.time >= start) & (recordings.time < stop))
        return kept._replace(time=kept.time - kept.time.dtype.type(start))


# ---- augmentations -----------------------------------------------------------------------------


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
        shape = (len(_space(sensor)), len(recordings.unit))
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
        shape = (len(_space(sensor)), len(recordings.label))
        moved = draw.integers(-self.distance, self.distance, shape, endpoint=True)
        return _moved(recordings, sensor, moved[:, _owner(recordings)])


# ---- shared ------------------------------------------------------------------------------------


def _check(transform: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"{type(transform).__name__}: expected {expected}, found {transform}")


def _camera(transform: Any, sensor: Sensor) -> Sensor:
    if len(sensor) != 3:
        raise ValueError(
            f"{transform}: expected a sensor (polarities, height, width), found {sensor}"
        )
    return sensor


def _space(sensor: Sensor) -> Sensor:
    """The axes one can move along: (H, W) of a camera, (N,) of anything else."""
    return sensor[-2:] if len(sensor) == 3 else sensor


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
        zip(moved, _space(sensor), strict=True), len(sensor) - len(moved)
    ):
        where[axis] = where[axis] + by
        keep &= (where[axis] >= 0) & (where[axis] < size)
    unit = _flat(tuple(x[keep] for x in where), sensor)
    return recordings.kept(keep)._replace(unit=unit)


def _flat(where: tuple[NDArray[Any], ...], sensor: Sensor) -> NDArray[Any]:
    small = np.uint16 if math.prod(sensor) <= 2**16 else np.int32
    return np.ravel_multi_index(where, sensor).astype(small)
