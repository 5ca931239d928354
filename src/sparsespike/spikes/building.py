"""From the user's own data to the fields of `Spikes`: checked once, here, and nowhere after.

The docstrings of `Spikes.from_lists`, `from_dense` and `from_events` say what the arguments are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparsespike.spikes.lists import Lists, Shape
from sparsespike.spikes.words import Words


class Built(NamedTuple):
    """The first fields of a `Spikes`."""

    shape: Shape
    storage: Lists | Words
    value: Tensor


def of_lists(unit: Tensor, offset: Tensor, shape: tuple[int, int, int]) -> Built:
    """Plain input from ragged lists, as lists on their device."""
    n_batch, n_step, n_unit = _checked_shape(shape)
    _check_integer("unit", unit)
    _check_integer("offset", offset)
    unit, offset = unit.to(torch.int64), offset.to(torch.int64)
    if offset.shape != (n_batch * n_step + 1,):
        raise ValueError(
            f"offset: expected {n_batch * n_step + 1} entries (B*T + 1), found {tuple(offset.shape)}"
        )
    if offset[0] != 0 or offset[-1] != len(unit) or bool((offset.diff() < 0).any()):
        raise ValueError(
            f"offset: expected an ascending list from 0 to n_spikes = {len(unit)}, "
            f"found {int(offset[0])} to {int(offset[-1])}"
        )
    _check_range("unit", unit, n_unit)
    row_starts = torch.zeros(len(unit) + 1, dtype=torch.bool, device=unit.device)
    row_starts[offset] = True
    if bool(((unit.diff() <= 0) & ~row_starts[1:-1]).any()):
        raise ValueError("unit: expected strictly ascending units in each row, found unsorted ones")
    return Built((n_batch, n_step, n_unit), Lists(unit.to(torch.int32), offset), torch.empty(0))


def of_dense(dense: Tensor, time_first: bool, active: Tensor | None) -> Built:
    """Spikes, and their active entries if any, from a dense tensor of 0 and 1."""
    if not isinstance(dense, Tensor) or dense.dim() != 3:
        found = tuple(dense.shape) if isinstance(dense, Tensor) else type(dense).__name__
        raise ValueError(f"dense: expected a 3-D tensor of 0 and 1, found {found}")
    if active is not None and (active.shape != dense.shape or active.dtype != torch.bool):
        raise ValueError(
            f"active: expected bool of shape {tuple(dense.shape)}, "
            f"found {active.dtype} of shape {tuple(active.shape)}"
        )
    if time_first:
        dense = dense.transpose(0, 1)
        active = None if active is None else active.transpose(0, 1)
    shape = _checked_shape(tuple(dense.shape))
    fired = dense.detach() == 1
    if not bool((fired | (dense.detach() == 0)).all()):
        raise ValueError("dense: expected only 0 and 1, found other values (or NaN)")
    entry = fired.flatten().nonzero()[:, 0]
    if active is None and dense.requires_grad:
        active = torch.ones_like(fired)
    if active is None:
        return of_entries(shape, entry)
    value = dense[active] if dense.is_floating_point() else dense[active].float()
    return of_entries(shape, entry, active.flatten().nonzero()[:, 0], value)


def of_events(
    sample: Tensor, step: Tensor, unit: Tensor, shape: tuple[int, int, int]
) -> tuple[Built, int]:
    """Plain input from (sample, step, unit) triples, and how many of them were duplicates."""
    shape = _checked_shape(shape)
    named = (("sample", sample), ("step", step), ("unit", unit))
    for (name, index), size in zip(named, shape, strict=True):
        _check_integer(name, index)
        if index.shape != sample.shape:
            raise ValueError(f"{name}: expected {len(sample)} entries, found {len(index)}")
        _check_range(name, index, size)
    entry = (sample.long() * shape[1] + step.long()) * shape[2] + unit.long()
    once = torch.unique(entry)
    return of_entries(shape, once), len(entry) - len(once)


def of_entries(
    shape: Shape, entry: Tensor, active: Tensor | None = None, value: Tensor | None = None
) -> Built:
    """Spikes of distinct entries, stored as the backend of their device takes them; not checked."""
    kind = Words if entry.device.type == "cuda" else Lists
    storage, order = kind.of(entry, active, shape)
    if value is None or order is None:
        return Built(shape, storage, torch.empty(0, device=entry.device))
    return Built(shape, storage, value[order])


def _checked_shape(shape: tuple[int, ...]) -> Shape:
    """(B, T, N) as integers, or a ValueError."""
    if len(shape) != 3 or shape[0] < 0 or shape[1] < 1 or shape[2] < 1:
        raise ValueError(f"shape: expected (B, T, N) with T >= 1 and N >= 1, found {tuple(shape)}")
    return int(shape[0]), int(shape[1]), int(shape[2])


def _check_integer(name: str, index: Tensor) -> None:
    """Raises a ValueError unless `index` is a 1-D tensor of integers."""
    if (
        not isinstance(index, Tensor)
        or index.dim() != 1
        or index.dtype == torch.bool
        or (index.is_floating_point() or index.is_complex())
    ):
        found = (
            f"{index.dtype} of shape {tuple(index.shape)}"
            if isinstance(index, Tensor)
            else type(index).__name__
        )
        raise ValueError(f"{name}: expected a 1-D tensor of integers, found {found}")


def _check_range(name: str, index: Tensor, size: int) -> None:
    """Raises a ValueError unless all values lie in [0, size)."""
    if len(index) and (int(index.min()) < 0 or int(index.max()) >= size):
        raise ValueError(
            f"{name}: expected values in [0, {size}), found {int(index.min())} to {int(index.max())}"
        )
