"""What stands in the brackets of `spikes[samples]` and `spikes[samples, steps]`, checked."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.spikes.arguments import described
from sparsespike.spikes.lists import Shape

One = SupportsIndex | slice | Sequence[int] | Sequence[bool] | NDArray[Any] | Tensor
Index = One | tuple[One, SupportsIndex | slice]

EXPECTED = (
    "index: expected samples (an int, a slice, a list or array of ints, a mask of bools), "
    "and after a comma steps (an int or a slice of step 1)"
)


class Chosen(NamedTuple):
    """The samples, a range or (b,) int64 in [0, B) on the CPU; and the steps, from `start` to `stop`."""

    samples: slice | Tensor
    start: int
    stop: int


def chosen(index: Any, shape: Shape) -> Chosen:
    """Which samples and steps an index names.

    Args:
        index: as in `Spikes.__getitem__`.
        shape: (B, T, N).

    Raises:
        IndexError: if a sample or step is out of range.
        ValueError: if it is of another kind, a mask of another length, or leaves no step.
    """
    n_batch, n_step, _ = shape
    parts = index if isinstance(index, tuple) else (index,)
    if not 1 <= len(parts) <= 2:
        raise ValueError(f"{EXPECTED}; found {len(parts)} parts")
    samples = _samples(parts[0], n_batch)
    if len(parts) == 1:
        return Chosen(samples, 0, n_step)
    if not isinstance(parts[1], slice):
        start = _position(parts[1], n_step, "step", "steps")
        return Chosen(samples, start, start + 1)
    start, stop, step = _bounds(parts[1], n_step)
    if step != 1 or stop <= start:
        raise ValueError(f"{EXPECTED}, at least one; found {parts[1]} of {n_step} steps")
    return Chosen(samples, start, stop)


def _samples(index: Any, n_batch: int) -> slice | Tensor:
    if isinstance(index, slice):
        start, stop, step = _bounds(index, n_batch)
        if step == 1:
            return slice(start, max(start, stop))
        return torch.arange(start, stop, step) if (stop - start) * step > 0 else torch.arange(0)
    if not isinstance(index, list | range) and not getattr(index, "ndim", 0):
        start = _position(index, n_batch, "sample", "a batch")
        return slice(start, start + 1)
    try:
        array = np.asarray(index.cpu() if isinstance(index, Tensor) else index)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{EXPECTED}; found {described(index)}") from None
    if array.size == 0 and array.ndim == 1 and array.dtype.kind != "b":
        array = array.astype(np.int64)  # an empty list has no type of its own
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise ValueError(f"{EXPECTED}; found {described(index)}")
    if array.dtype.kind == "b":
        if len(array) != n_batch:
            raise ValueError(f"index: expected a mask of {n_batch} samples, found {len(array)}")
        return torch.from_numpy(np.flatnonzero(array))
    if len(array) and not (int(array.min()) >= -n_batch and int(array.max()) < n_batch):
        raise IndexError(f"samples {array.min()} to {array.max()} of a batch of {n_batch}")
    array = array.astype(np.int64)
    return torch.from_numpy(np.where(array < 0, array + n_batch, array))


def _bounds(index: slice, size: int) -> tuple[int, int, int]:
    try:
        return index.indices(size)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{EXPECTED}; found {index} ({error})") from None


def _position(index: Any, size: int, what: str, whole: str) -> int:
    if isinstance(index, bool) or str(getattr(index, "dtype", "")).endswith("bool"):
        raise ValueError(f"{EXPECTED}; found {index!r}")
    try:
        position = operator.index(index)
    except (TypeError, RuntimeError):
        raise ValueError(f"{EXPECTED}; found {described(index)}") from None
    if not -size <= position < size:
        raise IndexError(f"{what} {position} of {whole} of {size}")
    return position % size
