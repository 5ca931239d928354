"""Tonic's datasets and transforms, used as they are, and this library's datasets as Tonic's.

G. Lenz et al., Tonic: event-based datasets and transformations, https://tonic.readthedocs.io. Tonic
itself is not imported: a dataset of its kind has `sensor_size` (W, H, P) and gives (structured array
of x, y, p, t, label). Tonic's times are microseconds, as ours are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsespike.data.recordings import Recordings, Sensor
from sparsespike.data.transform import Transform
from sparsespike.spikes.arguments import described, integer, items

CAMERA = np.dtype([("x", np.int16), ("y", np.int16), ("p", np.int8), ("t", np.int64)])
CHANNELS = np.dtype([("t", np.int64), ("x", np.int32), ("p", np.int8)])


class TonicDataset(Protocol):
    """What is needed of a dataset of Tonic, or of one like it.

    Attributes:
        sensor_size: (W, H, P), which is our sensor backwards.
    """

    sensor_size: Any

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[NDArray[Any], Any]: ...


class AsTonic:
    """Recordings as a dataset of Tonic: what takes those, its transforms and caches, takes this.

    Args:
        recordings: of all samples.
        sensor: shape of their units.
        transform: applied to the events of each sample, or None.

    Attributes:
        sensor_size: (W, H, P), or (N, 1, 1) without a camera.
        dtype: of the events, x, y, p, t or, without a camera, t, x, p.
        ordering: names of its fields.
    """

    def __init__(
        self,
        recordings: Recordings,
        sensor: Sensor,
        transform: Callable[[NDArray[Any]], Any] | None = None,
    ) -> None:
        self.sensor_size = sensor[::-1] if len(sensor) == 3 else (*sensor, 1, 1)
        self.dtype = _dtype(sensor)
        self.ordering = self.dtype.names
        self.transform = None if transform is None else _checked_transform(transform)
        self._recordings, self._sensor = recordings, sensor

    def __len__(self) -> int:
        return len(self._recordings.label)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """(events in their stored order, label)."""
        recordings, n = self._recordings, len(self)
        index = integer("index", index, -(2**63))
        if not -n <= index < n:
            raise IndexError(f"sample {index} of {n}")
        index %= n
        start, stop = recordings.offset[index], recordings.offset[index + 1]
        events = structured(recordings.unit[start:stop], recordings.time[start:stop], self._sensor)
        return self.transform(events) if self.transform else events, int(recordings.label[index])


def structured(unit: NDArray[Any], time: NDArray[Any], sensor: Sensor) -> NDArray[Any]:
    """Events as a structured array.

    Args:
        unit, time: (n_events,).
        sensor: shape of the units.

    Returns:
        (n_events,) of x, y, p, t for (P, H, W); of t, x and p = 1 for (N,).
    """
    events = np.empty(len(unit), _dtype(sensor))
    if len(sensor) == 1:
        events["x"], events["p"] = unit, 1
    else:
        events["p"], events["y"], events["x"] = np.unravel_index(unit, sensor)
    events["t"] = time
    return events


def _dtype(sensor: Sensor) -> np.dtype[Any]:
    return CAMERA if len(sensor) == 3 else CHANNELS


def flattened(
    samples: Sequence[NDArray[Any]], label: Sequence[int] | NDArray[Any], sensor: Sensor
) -> Recordings:
    """Structured arrays, one a sample, as recordings; checked.

    Args:
        samples: each of x, y, p and t, t in microseconds; y and p may be missing where the sensor has
            one row, or one polarity, in which case p is not looked at.
        label: of each.
        sensor: (P, H, W) or (N,).

    Raises:
        ValueError: naming the sample, what was expected and what was found.
    """
    sizes = sensor if len(sensor) == 3 else (1, 1, *sensor)
    units, times = [], []
    for i, events in enumerate(samples):
        names = getattr(getattr(events, "dtype", None), "names", None) or ()
        wanted = {"x", "t"} | {n for n, size in zip("py", sizes[:2], strict=True) if size > 1}
        if not wanted <= set(names) or events.ndim != 1:
            found = ", ".join(names) or type(events).__name__
            raise ValueError(
                f"events {i}: expected a structured array of {', '.join(sorted(wanted))}, found {found}"
            )
        unit = np.zeros(len(events), np.int64)
        for name, size in zip("pyx", sizes, strict=True):
            unit *= size
            if size > 1:
                unit += _field(events, name, size, i)
        units.append(unit)
        times.append(_field(events, "t", 2**63, i))
    offset = np.cumsum([0, *map(len, units)])
    unit = np.concatenate([np.empty(0, np.int64), *units])
    time = np.concatenate([np.empty(0, np.int64), *times])
    return Recordings(unit, time, offset, np.asarray(label), {})


def _field(events: NDArray[Any], name: str, size: int, i: int) -> NDArray[np.int64]:
    values = events[name]
    if values.dtype.kind not in "iub" or values.ndim != 1:
        raise ValueError(f"events {i}: {name}: expected integers, found {described(values)}")
    if len(values) and not (values.min() >= 0 and int(values.max()) < size):
        raise ValueError(
            f"events {i}: {name}: expected values in [0, {size}), "
            f"found {values.min()} to {values.max()}"
        )
    return values.astype(np.int64)


def read(dataset: TonicDataset, index: Sequence[int]) -> tuple[list[NDArray[Any]], list[int]]:
    """(events, labels) of some samples of a dataset of Tonic.

    Raises:
        ValueError: if a sample is no pair, or a label is no integer, naming the sample.
    """
    samples, labels = [], []
    for i in index:
        pair = dataset[i]
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise ValueError(f"sample {i}: expected (events, label), found {described(pair)}")
        try:
            labels.append(integer("label", pair[1], 0))
        except ValueError:
            raise ValueError(
                f"sample {i}: expected a label that is an integer >= 0, found {described(pair[1])}; "
                "give the dataset a target_transform that makes it one"
            ) from None
        samples.append(pair[0])
    return samples, labels


def sensor_of(dataset: TonicDataset) -> Sensor:
    """Our sensor of a dataset of Tonic: (P, H, W), or (N,) of one row and one polarity.

    Raises:
        ValueError: if it is no such dataset, or does not say its sensor: some have one for each sample.
    """
    needed = ("sensor_size", "__len__", "__getitem__")
    if isinstance(dataset, type) or not all(hasattr(dataset, name) for name in needed):
        raise ValueError(
            "dataset: expected one of Tonic, with sensor_size, len and [index], "
            f"found {described(dataset)}"
        )
    expected, found = "(width, height, polarities), each >= 1", dataset.sensor_size
    try:
        width, height, n_polarity = (
            integer("sensor_size", size, 1) for size in items("sensor_size", found, expected)
        )
    except ValueError:
        raise ValueError(
            f"dataset: expected a sensor_size {expected}, found {described(found)}"
        ) from None
    return (width,) if height == n_polarity == 1 else (n_polarity, height, width)


def _checked_transform(transform: Any) -> Callable[[NDArray[Any]], Any]:
    if not callable(transform) or isinstance(transform, Transform):
        raise ValueError(f"transform: expected one of Tonic, found {described(transform)}")
    return transform


class TonicTransform(Transform):
    """A transform of Tonic that gives events, as an augmentation: one sample after the other.

    It draws from NumPy's global generator, as Tonic's do: seed that for the same augmentation again.

    Args:
        transform: takes and gives a structured array, and keeps the sensor.
    """

    def __init__(self, transform: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self._transform = _checked_transform(transform)

    def __call__(
        self, recordings: Recordings, sensor: Sensor, draw: np.random.Generator
    ) -> Recordings:
        """See `Transform`."""
        seen = AsTonic(recordings, sensor, self._transform)
        samples = [seen[i][0] for i in range(len(seen))]
        return flattened(samples, recordings.label, sensor)._replace(meta=recordings.meta)
