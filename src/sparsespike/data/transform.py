"""Transforms of recordings: what one is, and selections, which do the same every time.

`EventDataset.transformed` applies selections to all that a dataset gives. What is drawn anew each time
is in `augment`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from sparsespike.data.encode import MICROSECONDS, microseconds, nearest_us
from sparsespike.data.recordings import Recordings, Sensor, checked_sensor
from sparsespike.spikes.arguments import described, integer, items, number


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
    """The recordings after some transforms, in order; see `Transform.__call__`.

    Raises:
        ValueError: if a unit is not on the sensor, of a damaged file or of a transform that is wrong:
            transforms look units up in tables, and do not check them.
    """
    for transform in transforms:
        unit, n_units = recordings.unit, math.prod(sensor)
        if len(unit) and not (unit.min() >= 0 and int(unit.max()) < n_units):
            raise ValueError(
                f"{transform}: expected units in [0, {n_units}), found {unit.min()} to {unit.max()}: "
                "the file is damaged, or the transform before it wrong"
            )
        recordings = transform(recordings, sensor, draw)
        sensor = transform.sensor(sensor)
    return recordings


def checked_augment(augment: Any, sensor: Sensor | None = None) -> tuple[Transform, ...]:
    """Augmentations as a tuple.

    Raises:
        ValueError: if one is none, or changes the sensor, where that is given.
    """
    expected = "a list of Transform"
    transforms = tuple(items("augment", augment, expected))
    for transform in transforms:
        if not isinstance(transform, Transform):
            raise ValueError(f"augment: expected {expected}, found {described(transform)} in it")
        if sensor is not None and transform.sensor(sensor) != sensor:
            raise ValueError(
                f"augment: expected transforms that keep the sensor {sensor}, found {transform}; "
                "give it to EventDataset.transformed"
            )
    return transforms


def checked_draw(draw: Any) -> np.random.Generator:
    """Where the chance of augmentations comes from; None is a generator of seed 0.

    Raises:
        ValueError: if it is anything else.
    """
    draw = np.random.default_rng(0) if draw is None else draw
    if not isinstance(draw, np.random.Generator):
        raise ValueError(f"draw: expected a numpy.random.Generator, found {described(draw)}")
    return draw


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
        pixel = np.arange(sensor[1] * sensor[2], dtype=np.int32)
        return recordings.mapped(np.tile(pixel, sensor[0])[None])


@dataclass(frozen=True)
class OnePolarity(Transform):
    """Only the events of one polarity: (P, H, W) -> (1, H, W).

    Args:
        polarity: which, in [0, P): 1 is ON, brighter, and 0 is OFF in most cameras' files.
    """

    polarity: int
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "polarity", integer("OnePolarity", self.polarity, 0))

    def sensor(self, sensor: Sensor) -> Sensor:
        """See `Transform`."""
        n_polarity, height, width = _camera(self, sensor)
        if not self.polarity < n_polarity:
            raise ValueError(
                f"{self}: expected a polarity in [0, {n_polarity}), found {self.polarity}"
            )
        return 1, height, width

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        pixel = np.arange(sensor[1] * sensor[2], dtype=np.int32)
        table = np.full((sensor[0], len(pixel)), -1, np.int32)
        table[self.polarity] = pixel
        return recordings.mapped(table.reshape(1, -1))


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
        object.__setattr__(self, "size", integer("Pool", self.size, 1, 2**31))

    def sensor(self, sensor: Sensor) -> Sensor:
        """See `Transform`."""
        pooled = tuple(-(-n // self.size) for n in space(sensor))
        return (*sensor[: -len(pooled)], *pooled)

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        where = np.indices(sensor)
        where[-len(space(sensor)) :] //= self.size
        table = np.ravel_multi_index(tuple(where), self.sensor(sensor))
        return recordings.mapped(table.reshape(1, -1).astype(np.int32))


@dataclass(frozen=True)
class CropTime(Transform):
    """Only the events from `start` up to, not including, `stop`; times then count from `start`.

    Args:
        start, stop: seconds, 0 <= start < stop < 2^62 microseconds.
    """

    start: float
    stop: float
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("start", "stop"):
            value = number("CropTime", getattr(self, name), "seconds")
            object.__setattr__(self, name, value)
        if not 0 <= self.start < self.stop < 2**62 / MICROSECONDS:
            raise ValueError(f"CropTime: expected 0 <= start < stop < 2^62 us, found {self}")

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        start, stop = nearest_us(np.array([self.start, self.stop])).tolist()
        kept = recordings.kept((recordings.time >= start) & (recordings.time < stop))
        # Beyond the largest time that the type holds, no event is left to move.
        least = min(start, np.iinfo(kept.time.dtype).max)
        return kept._replace(time=kept.time - kept.time.dtype.type(least))


@dataclass(frozen=True, init=False)
class Thermometer(Transform):
    """When a unit spikes, told by how many of K channels spike: (P, H, W) -> (K P, H, W), (N,) -> (K N,).

    An event at time t becomes one at 0, period, ... (repeats - 1) period in each channel k whose bound is not
    before t. So a network reads a latency code without telling times apart: of an image, channel k is all
    that is brighter than some level. Where a unit spikes once, nothing but the exact time is lost.

    The code is that of J. Buckman, A. Roy, C. Raffel, I. Goodfellow, Thermometer Encoding: One Hot Way To
    Resist Adversarial Examples, ICLR 2018, section 3, of numbers there.

    Args:
        repeats: spikes of a channel, >= 1.
        period: seconds between them, in microseconds a whole number >= 1.
        *bounds: of the K >= 1 channels, seconds >= 0, ascending.
    """

    repeats: int
    period: float
    bounds: tuple[float, ...]
    random: ClassVar[bool] = False

    def __init__(self, repeats: int, period: float, *bounds: float) -> None:
        expected = "Thermometer: expected bounds"
        times = tuple(number("Thermometer", bound, "bounds in seconds") for bound in bounds)
        if not times:
            raise ValueError(f"{expected}, one for each channel, found none")
        ordered = all(low < high for low, high in pairwise(times))
        if not (ordered and times[0] >= 0 and times[-1] < 2**62 / MICROSECONDS):
            raise ValueError(f"{expected} >= 0 and ascending, found {times}")
        object.__setattr__(self, "repeats", integer("Thermometer", repeats, 1, 2**16))
        whole = microseconds(period, "Thermometer")
        object.__setattr__(self, "period", whole / MICROSECONDS)
        object.__setattr__(self, "bounds", times)

    def sensor(self, sensor: Sensor) -> Sensor:
        """See `Transform`."""
        return checked_sensor((len(self.bounds) * sensor[0], *sensor[1:]))

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        n_channels, n_units = len(self.bounds), math.prod(sensor)
        # Channels from `first` on spike, at every repeat.
        first = np.searchsorted(nearest_us(np.array(self.bounds)), recordings.time)
        n_each = (n_channels - first) * self.repeats
        end = np.cumsum(n_each)
        nth = np.arange(end[-1] if len(end) else 0) - np.repeat(end - n_each, n_each)
        channel = np.repeat(first, n_each) + nth // self.repeats
        unit = np.repeat(recordings.unit, n_each) + channel * n_units
        small = np.uint16 if n_channels * n_units <= 2**16 else np.int32
        return recordings._replace(
            unit=unit.astype(small),
            time=nth % self.repeats * microseconds(self.period),
            offset=np.concatenate([[0], end])[recordings.offset],
        )


def _camera(transform: Any, sensor: Sensor) -> Sensor:
    if len(sensor) != 3:
        raise ValueError(
            f"{transform}: expected a sensor (polarities, height, width), found {sensor}"
        )
    return sensor


def space(sensor: Sensor) -> Sensor:
    """The axes one can move along: (H, W) of a camera, (N,) of anything else."""
    return sensor[-2:] if len(sensor) == 3 else sensor
