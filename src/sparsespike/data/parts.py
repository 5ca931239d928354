"""`Parts`: some samples of an `EventDataset`, or all of them seen otherwise, sharing its arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from sparsespike.data.binning import Grid, checked_grid
from sparsespike.data.recordings import Index, Recordings, checked_index, stratified
from sparsespike.data.transform import Transform
from sparsespike.spikes.arguments import described, integer, items, nearest, number


class Parts:
    """The methods of `EventDataset` that make another one out of it."""

    label: NDArray[np.int64] | property
    meta: dict[str, NDArray[np.int64]] | property
    grid: Grid
    _recordings: Recordings
    n_classes: int | property
    _sample: NDArray[np.int64] | None
    _transforms: tuple[Transform, ...]

    def __len__(self) -> int:
        raise NotImplementedError

    def _positions(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where some of this dataset's samples are among the recordings."""
        return index if self._sample is None else self._sample[index]

    def _part(
        self,
        sample: NDArray[np.int64] | None,
        transforms: tuple[Transform, ...],
        grid: Grid,
    ) -> Self:
        raise NotImplementedError

    def with_grid(self, steps: int, dt: float = 1e-3) -> Self:
        """This dataset with a grid of its own, on which `dataset[i]` bins and which loaders take.

        Args:
            steps: T, >= 1.
            dt: time step, seconds, a whole number of microseconds.

        Raises:
            ValueError: naming the argument that breaks one of these rules.
        """
        return self._part(self._sample, self._transforms, checked_grid(steps, dt))

    def subset(self, index: Index) -> Self:
        """The samples `index` names, in that order, sharing this dataset's arrays.

        Args:
            index: integers in [0, n), which may repeat; a list, a range, an array or a tensor.

        Raises:
            ValueError: if it is anything else.
        """
        sample = self._positions(checked_index(index, len(self)))
        return self._part(sample, self._transforms, self.grid)

    def select(self, what: str, values: Sequence[int] | NDArray[np.integer] | int) -> Self:
        """The samples of some labels, speakers or whatever else `meta` knows of them, in order.

        Args:
            what: "label", or a name in `meta`.
            values: those wanted, or the one wanted.

        Raises:
            ValueError: if `what` is unknown, or a value no integer, or no label in [0, C).
        """
        known = {"label": self.label, **self.meta}  # pyright: ignore[reportGeneralTypeIssues]
        if not isinstance(what, str) or what not in known:
            raise ValueError(
                f"what: expected one of {', '.join(known)}, found {what!r}{nearest(what, list(known))}"
            )
        many = hasattr(values, "__iter__") and bool(getattr(values, "ndim", 1))
        wanted = items("values", values, "integers") if many else [values]
        least, below = (0, self.n_classes) if what == "label" else (-(2**63), 2**63)
        wanted = [integer("values", value, least, below) for value in wanted]
        return self.subset(np.flatnonzero(np.isin(known[what], wanted)))

    def transformed(self, *transforms: Transform) -> Self:
        """This dataset seen through selections: applied to all it gives, each time it gives it.

        Args:
            transforms: of `data.transform`, not random, applied in order.

        Raises:
            ValueError: if one is none or random, or cannot be applied to the sensor.
        """
        for transform in transforms:
            if not isinstance(transform, Transform):
                raise ValueError(
                    f"transforms: expected one or more Transform, found {described(transform)}"
                )
            if transform.random:
                raise ValueError(
                    f"transforms: expected selections, found {transform}; give what is random to "
                    "EventLoader(augment=...)"
                )
        return self._part(self._sample, (*self._transforms, *transforms), self.grid)

    def split(self, share: SupportsFloat, seed: SupportsIndex) -> tuple[Self, Self]:
        """(training, validation): disjoint, each class in proportion, in this dataset's order.

        Args:
            share: of each class's samples to validate on, in (0, 1), rounded to whole samples.
            seed: >= 0; the same one gives the same split.

        Raises:
            ValueError: if an argument is out of range or leaves a part without samples.
        """
        if not 0 < number("share", share, "a number in (0, 1)") < 1:
            raise ValueError(f"share: expected a number in (0, 1), found {share!r}")
        held_out = stratified(np.asarray(self.label), float(share), integer("seed", seed, 0))
        if held_out.all() or not held_out.any():
            raise ValueError(
                f"share: expected samples on both sides, found {share!r} of {len(self)} samples"
            )
        return self.subset(np.flatnonzero(~held_out)), self.subset(np.flatnonzero(held_out))

    def joined_with(self, others: Sequence[Self]) -> Self | None:
        """The samples of this and then of others, if they share its arrays; see `data.joined`."""
        parts = [self, *others]
        for part in others:
            if part._recordings is not self._recordings or part._transforms != self._transforms:
                return None
        sample = [part._positions(np.arange(len(part))) for part in parts]
        return self._part(np.concatenate(sample), self._transforms, self.grid)
