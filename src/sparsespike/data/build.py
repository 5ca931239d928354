"""`Building`: the ways to an `EventDataset` from what people have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.data import store, tonic
from sparsespike.data.encode import Rounding, microseconds
from sparsespike.data.recordings import Recordings, checked_sensor
from sparsespike.data.store import About
from sparsespike.data.tonic import TonicDataset


class Building:
    """The class methods of `EventDataset` that make one; what each takes is checked by name."""

    def __init__(self, recordings: Recordings, about: About) -> None:
        raise NotImplementedError

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
        sensor: Sequence[int] = (),
        classes: Sequence[str] = (),
        meta: dict[str, NDArray[Any]] | None = None,
    ) -> Self:
        """A dataset of flat arrays; not copied where the types are those of the store.

        Args:
            unit: (n_events,) integers in [0, n_units).
            time: (n_events,) integers >= 0, microseconds, in any order within a sample.
            offset: (n + 1,) integers from 0 to n_events, never descending.
            label: (n,) integers in [0, n_classes).
            n_units, n_classes, name, rounding, licence, citation, sensor, classes: see `About`.
            meta: (n,) integers by name, what else is known of each sample: its speaker, say.

        Raises:
            ValueError: naming the argument that breaks one of these rules.
        """
        about = About(
            name, n_units, n_classes, rounding, licence, citation, tuple(sensor), tuple(classes)
        )
        given = Recordings(unit, time, offset, label, meta or {})
        return cls(store.narrowed(given, about), about)

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
    ) -> Self:
        """A dataset of structured arrays, one a sample.

        Args:
            events: each with integer fields x, y, p and t, t in microseconds >= 0; y and p may be
                missing where the sensor has one row or one polarity, p is then not looked at.
            label: of each, in [0, n_classes).
            sensor: (polarities, height, width) or (units,); x < width, y < height, p < polarities.
            n_classes, name, rounding: see `About`.

        Raises:
            ValueError: naming the sample, what was expected and what was found.
        """
        sizes = checked_sensor(sensor)
        about = About(name, math.prod(sizes), n_classes, rounding, sensor=sizes)
        return cls(store.narrowed(tonic.flattened(events, label, sizes), about), about)

    @classmethod
    def from_dense(
        cls,
        spikes: Tensor,
        label: Sequence[int] | NDArray[Any],
        *,
        n_classes: int,
        dt: float = 1e-3,
        name: str = "events",
    ) -> Self:
        """A dataset of binned spikes: an event at the start of each step that holds one.

        Args:
            spikes: (n, T, N) of 0 and 1.
            label: of each sample, in [0, n_classes).
            n_classes, name: see `About`.
            dt: time step, seconds, a whole number of microseconds.

        Raises:
            ValueError: naming the argument that breaks one of these rules.
        """
        if spikes.dim() != 3 or not bool(((spikes == 0) | (spikes == 1)).all()):
            found = f"{spikes.dtype} of shape {tuple(spikes.shape)}"
            raise ValueError(f"spikes: expected 0 and 1 of shape (n, T, N), found {found}")
        sample, step, unit = torch.nonzero(spikes, as_tuple=True)
        offset = torch.searchsorted(sample, torch.arange(len(spikes) + 1))
        return cls.from_arrays(
            unit.numpy(),
            step.numpy() * microseconds(dt),
            offset.numpy(),
            np.asarray(label),
            n_units=spikes.shape[2],
            n_classes=n_classes,
            name=name,
        )

    @classmethod
    def from_tonic(
        cls,
        dataset: TonicDataset,
        *,
        name: str | None = None,
        n_classes: int | None = None,
        rounding: Rounding = "floor",
    ) -> Self:
        """A dataset of Tonic, read whole into memory; `save` keeps it.

        Args:
            dataset: of Tonic, or like one: `sensor_size` (W, H, P), `len`, and (events, label) of each
                index, after the transforms it has. A label is an integer >= 0.
            name: of this dataset; None for the class name, in lower case.
            n_classes: C; None for as many as `dataset.classes` has, or else one more than the largest.
            rounding: see `About`.

        Raises:
            ValueError: naming the sample, what was expected and what was found.
        """
        samples, label = tonic.read(dataset, range(len(dataset)))
        if n_classes is None:
            named = getattr(dataset, "classes", None)
            n_classes = len(named) if named is not None else max(label, default=0) + 1
        return cls.from_events(
            samples,
            label,
            sensor=tonic.sensor_of(dataset),
            n_classes=n_classes,
            name=name or type(dataset).__name__.lower(),
            rounding=rounding,
        )
