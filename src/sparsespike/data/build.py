"""`Building`: the ways to an `EventDataset` from what people have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sparsespike.data import store, tonic
from sparsespike.data.encode import Rounding, microseconds
from sparsespike.data.formats import camera, hdf5, table
from sparsespike.data.formats.table import TimeUnit
from sparsespike.data.recordings import Recordings, as_array, checked_label, checked_sensor, joined
from sparsespike.data.store import About
from sparsespike.data.tonic import TonicDataset
from sparsespike.spikes.arguments import described, integer, items, path_of

# Where the times of a recording count from: "recording", as they are given, 0 being its start; or
# "first-event", its own first event, whatever they are given as: absolute time stamps, or those of a
# session with many recordings.
Origin = Literal["recording", "first-event"]


class Building:
    """The class methods of `EventDataset` that make one; what each takes is checked by name."""

    def __init__(self, recordings: Recordings, about: About) -> None:
        raise NotImplementedError

    @classmethod
    def from_arrays(
        cls,
        unit: ArrayLike,
        time: ArrayLike,
        offset: ArrayLike,
        label: ArrayLike,
        *,
        n_units: int,
        n_classes: int,
        name: str = "events",
        rounding: Rounding = "floor",
        origin: Origin = "recording",
        licence: str = "",
        citation: str = "",
        sensor: Sequence[int] = (),
        classes: Sequence[str] = (),
        meta: Mapping[str, ArrayLike] | None = None,
    ) -> Self:
        """A dataset of flat arrays; not copied where the types are those of the store.

        Args:
            unit: (n_events,) integers in [0, n_units).
            time: (n_events,) integers >= 0, microseconds, in any order within a sample.
            offset: (n + 1,) integers from 0 to n_events, never descending.
            label: (n,) integers in [0, n_classes).
            n_units, n_classes, name, rounding, licence, citation, sensor, classes: see `About`.
            origin: where a recording's times count from, see `Origin`.
            meta: (n,) integers by name, what else is known of each sample: its speaker, say.

        Raises:
            ValueError: naming the argument that breaks one of these rules.
        """
        sensor = tuple(items("sensor", sensor, "(units,) or (polarities, height, width)"))
        classes = tuple(items("classes", classes, "names"))
        about = About(name, n_units, n_classes, rounding, licence, citation, sensor, classes)
        arrays: list[Any] = [unit, time, offset, label]
        given = Recordings(*arrays, meta=_checked_meta(meta))
        return cls(_made(given, about, origin), about)

    @classmethod
    def from_events(
        cls,
        events: Sequence[NDArray[Any]],
        label: Sequence[int] | NDArray[Any],
        *,
        sensor: Sequence[int],
        n_classes: int,
        name: str = "events",
        rounding: Rounding = "floor",
        origin: Origin = "recording",
    ) -> Self:
        """A dataset of structured arrays, one a sample.

        Args:
            events: each with integer fields x, y, p and t, t in microseconds >= 0; y and p may be
                missing where the sensor has one row or one polarity, p is then not looked at.
            label: of each, in [0, n_classes).
            sensor: (polarities, height, width) or (units,); x < width, y < height, p < polarities.
            n_classes, name, rounding: see `About`.
            origin: where a recording's times count from, see `Origin`.

        Raises:
            ValueError: naming the sample, what was expected and what was found.
        """
        sizes = checked_sensor(sensor)
        about = About(name, math.prod(sizes), n_classes, rounding, sensor=sizes)
        events = items("events", events, "a list of structured arrays, one a sample")
        label = checked_label(label, len(events))
        return cls(_made(tonic.flattened(events, label, sizes), about, origin), about)

    @classmethod
    def from_dense(
        cls,
        spikes: Tensor | NDArray[Any],
        label: Sequence[int] | NDArray[Any],
        *,
        n_classes: int,
        dt: float = 1e-3,
        name: str = "events",
        origin: Origin = "recording",
    ) -> Self:
        """A dataset of binned spikes: an event at the start of each step that holds one.

        Args:
            spikes: (n, T, N) of 0 and 1, tensor or array.
            label: of each sample, in [0, n_classes).
            n_classes, name: see `About`.
            dt: time step, seconds, a whole number of microseconds.
            origin: where a recording's times count from, see `Origin`.

        Raises:
            ValueError: naming the argument that breaks one of these rules.
        """
        expected = "0 and 1 of shape (n, T, N)"
        dense = as_array("spikes", spikes, expected)
        if (
            not isinstance(spikes, np.ndarray | Tensor)
            or dense.ndim != 3
            or dense.dtype.kind not in "biuf"
            or not bool(((dense == 0) | (dense == 1)).all())
        ):
            raise ValueError(f"spikes: expected {expected}, found {described(spikes)}")
        label = checked_label(label, len(dense))
        sample, step, unit = np.nonzero(dense)
        return cls.from_arrays(
            unit,
            step * microseconds(dt),
            np.searchsorted(sample, np.arange(len(dense) + 1)),
            label,
            n_units=dense.shape[2],
            n_classes=n_classes,
            name=name,
            origin=origin,
        )

    @classmethod
    def from_tonic(
        cls,
        dataset: TonicDataset,
        *,
        name: str | None = None,
        n_classes: int | None = None,
        rounding: Rounding = "floor",
        origin: Origin = "recording",
    ) -> Self:
        """A dataset of Tonic, read whole into memory; `save` keeps it.

        Args:
            dataset: of Tonic, or like one: `sensor_size` (W, H, P), `len`, and (events, label) of each
                index, after the transforms it has. A label is an integer >= 0.
            name: of this dataset; None for the class name, in lower case.
            n_classes: C; None for as many as `dataset.classes` has, or else one more than the largest.
            rounding: see `About`.
            origin: where a recording's times count from, see `Origin`.

        Raises:
            ValueError: naming the sample, what was expected and what was found.
        """
        sensor = tonic.sensor_of(dataset)
        samples, label = tonic.read(dataset, range(len(dataset)))
        if n_classes is None:
            named = getattr(dataset, "classes", None)
            if isinstance(named, Sized) and not isinstance(named, str):
                n_classes = len(named)
            else:
                n_classes = max(label, default=0) + 1
        return cls.from_events(
            samples,
            label,
            sensor=sensor,
            n_classes=n_classes,
            name=type(dataset).__name__.lower() if name is None else name,
            rounding=rounding,
            origin=origin,
        )

    @classmethod
    def from_hdf5(
        cls,
        path: Path | str,
        *,
        n_units: int,
        name: str | None = None,
        rounding: Rounding = "nearest",
        origin: Origin = "recording",
    ) -> Self:
        """A dataset of an HDF5 file in SHD's layout, read whole into memory.

        Args:
            path: see `formats.hdf5`: spikes/times, spikes/units, labels, extra/speaker, extra/keys.
            n_units: N; units are in [0, N).
            name: of this dataset; None for the file's.
            rounding: see `About`.
            origin: where a recording's times count from, see `Origin`.

        Raises:
            ValueError: naming the file, what was expected and what was found, if it is damaged or of
                another layout.
            OSError: if it cannot be read.
        """
        path = path_of("path", path)
        contents = hdf5.contents(path)
        name = path.stem if name is None else name
        about = About(name, n_units, contents.n_classes, rounding, classes=contents.classes)
        return cls(_made(hdf5.read(path, n_units), about, origin), about)

    @classmethod
    def from_csv(
        cls,
        files: Sequence[tuple[Path | str, int]],
        *,
        n_units: int,
        n_classes: int,
        time_unit: TimeUnit,
        name: str = "events",
        rounding: Rounding = "floor",
        origin: Origin = "recording",
    ) -> Self:
        """A dataset of tables of text, one a sample: a time and a unit on each line.

        Args:
            files: (path, label) of each, at least one; see `formats.table`.
            n_units, n_classes, name, rounding: see `About`.
            time_unit: of the times in them, "s", "ms" or "us".
            origin: where a recording's times count from, see `Origin`.

        Raises:
            ValueError: naming the file and the line, what was expected and what was found.
            OSError: if a file cannot be read.
        """
        about = About(name, n_units, n_classes, rounding)
        files = checked_files(files, n_classes)
        read = [table.read(f, n_units, label, time_unit=time_unit) for f, label in files]
        return cls(_made(joined(read), about, origin), about)

    @classmethod
    def from_camera(
        cls,
        files: Sequence[tuple[Path | str, int]],
        *,
        n_classes: int,
        sensor: Sequence[int] | None = None,
        name: str = "events",
        rounding: Rounding = "floor",
        origin: Origin = "recording",
    ) -> Self:
        """A dataset of files of event cameras, one a sample: .aedat4, .raw, .dat or .es.

        Needs the extra `camera`: pip install 'sparsespike[camera]'.

        Args:
            files: (path, label) of each, at least one; see `formats.camera`.
            n_classes, name, rounding: see `About`.
            sensor: (2, height, width) of all; None for what the first file says.
            origin: see `Origin`; of a camera both are the first event, since its clock runs from when
                it was switched on, or from 1970.

        Raises:
            ValueError: naming the file, what was expected and what was found, or what is to be installed.
            OSError: if a file cannot be read.
        """
        given = checked_files(files, n_classes)
        sizes = camera.sensor_of(given[0][0]) if sensor is None else checked_sensor(sensor)
        about = About(name, math.prod(sizes), n_classes, rounding, sensor=sizes)
        return cls(_made(camera.read(given, sizes), about, origin), about)


def checked_files(
    files: Sequence[tuple[Path | str, int]], n_classes: int
) -> list[tuple[Path, int]]:
    """(path, label) of each file.

    Raises:
        ValueError: if `files` is no list of such pairs, or empty, or a label is not in [0, n_classes).
    """
    n_classes = integer("n_classes", n_classes, 1)
    expected = "a list of (path, label)"
    given = items("files", files, expected)
    for pair in given:
        if not (
            isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], Path | str)
        ):
            raise ValueError(f"files: expected {expected}, found {described(pair)} in it")
    if not given:
        raise ValueError("files: expected at least one (path, label), found none")
    return [
        (path_of("files", path), integer("label", label, 0, n_classes)) for path, label in given
    ]


def _checked_meta(meta: Mapping[str, ArrayLike] | None) -> dict[str, Any]:
    """`meta` as a dict; its arrays are checked with the others."""
    given = {} if meta is None else meta
    # "label" is what `select` calls the label.
    if not isinstance(given, Mapping) or not all(
        isinstance(name, str) and name != "label" for name in given
    ):
        raise ValueError(
            f"meta: expected integers by name, other than 'label', found {described(meta)}"
        )
    return dict(given)


def _made(given: Recordings, about: About, origin: Origin) -> Recordings:
    """A user's recordings, checked, in the types of a store, their times counted from `origin`."""
    if origin not in get_args(Origin):
        raise ValueError(f"origin: expected 'recording' or 'first-event', found {origin!r}")
    checked = store.narrowed(given, about)
    return checked if origin == "recording" else store.narrowed(checked.from_first_event(), about)
