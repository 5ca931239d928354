"""Ragged lists over rows, row = sample * T + step: building, slicing, merging and checking them."""

from __future__ import annotations

import torch
from torch import Tensor


def lists_of(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Ragged lists (unit, offset) of the true entries of a (B, T, N) bool tensor."""
    flat = mask.reshape(mask.shape[0] * mask.shape[1], mask.shape[2])
    row, unit = flat.nonzero(as_tuple=True)
    return unit.to(torch.int32), offset_of(row, flat.shape[0])


def offset_of(row: Tensor, n_row: int) -> Tensor:
    """(n_row + 1,) bounds of each row in a list sorted by row."""
    offset = torch.zeros(n_row + 1, dtype=torch.int64, device=row.device)
    torch.cumsum(torch.bincount(row, minlength=n_row), 0, out=offset[1:])
    return offset


def slice_rows(unit: Tensor, offset: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """The lists of the rows start:stop, their bounds from 0."""
    bounds = offset[start : stop + 1]
    return unit[int(bounds[0]) : int(bounds[-1])], bounds - bounds[0]


def merge_rows(
    units: list[Tensor], rows: list[Tensor], n_row: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Lists of several parts as one, row by row, and the order in which their entries come."""
    row, order = torch.sort(torch.cat(rows), stable=True)
    return torch.cat(units)[order], offset_of(row, n_row), order


def check_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(B, T, N), or a ValueError."""
    if len(shape) != 3 or shape[0] < 0 or shape[1] < 1 or shape[2] < 1:
        raise ValueError(f"shape: expected (B, T, N) with T >= 1 and N >= 1, found {tuple(shape)}")
    return int(shape[0]), int(shape[1]), int(shape[2])


def check_integer(name: str, index: Tensor) -> None:
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


def check_range(name: str, index: Tensor, size: int) -> None:
    """Raises a ValueError unless all values lie in [0, size)."""
    if len(index) and (int(index.min()) < 0 or int(index.max()) >= size):
        raise ValueError(
            f"{name}: expected values in [0, {size}), found {int(index.min())} to {int(index.max())}"
        )
