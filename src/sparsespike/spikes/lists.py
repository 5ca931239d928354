"""`Lists`, how the CPU stores spikes: ragged lists over rows, row = sample * T + step.

    unit[offset[row] : offset[row + 1]]    the units that spike in a row, ascending

and the same for the active entries (eq. 7). Those of graded spikes hold a unit as often as its number
says, ties in any order. An *entry* is the flat index row * N + unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Shape = tuple[int, int, int]


class Lists(NamedTuple):
    """Spikes and active entries as ragged lists; `value` of a `Spikes` is in the order of `active_unit`.

    Attributes:
        unit: (n_spikes,) int32, units that spike, ascending within a row.
        offset: (B*T + 1,) int64, bounds of each row in `unit`.
        active_unit: (n_active,) int32, active units, ascending within a row; empty for plain input.
        active_offset: (B*T + 1,) int64, bounds of each row in `active_unit`; empty for plain input.
    """

    unit: Tensor
    offset: Tensor
    active_unit: Tensor = torch.empty(0, dtype=torch.int32)
    active_offset: Tensor = torch.empty(0, dtype=torch.int64)

    @staticmethod
    def of(entry: Tensor, active: Tensor | None, shape: Shape) -> tuple[Lists, Tensor | None]:
        """Lists of entries, and the order in which the active ones come.

        Args:
            entry: (n_spikes,) int64, distinct unless graded.
            active: (n_active,) int64, distinct unless graded; or None for plain input.
            shape: (B, T, N).
        """
        n_row, n_unit = shape[0] * shape[1], shape[2]
        if not bool((entry.diff() >= 0).all()):
            entry = torch.sort(entry).values
        lists = Lists(*_rows(entry, n_row, n_unit))
        if active is None:
            return lists, None
        active, order = torch.sort(active)
        unit, offset = _rows(active, n_row, n_unit)
        return lists._replace(active_unit=unit, active_offset=offset), order

    @property
    def device(self) -> torch.device:
        """Where the lists are."""
        return self.unit.device

    def to(self, device: torch.device) -> Lists:
        """The lists on another device."""
        return Lists(*(part.to(device) for part in self))

    @property
    def has_active(self) -> bool:
        """Whether there is an active set, be it empty."""
        return len(self.active_offset) > 0

    def n_spikes(self) -> int:
        """Number of spikes."""
        return self.unit.shape[0]

    def n_active(self) -> int:
        """Number of active entries."""
        return self.active_unit.shape[0]

    def row(self) -> Tensor:
        """(n_spikes,) int64: the row of each spike."""
        return torch.repeat_interleave(self.offset.diff(), output_size=self.n_spikes())

    def active_row(self) -> Tensor:
        """(n_active,) int64: the row of each active entry."""
        return torch.repeat_interleave(self.active_offset.diff(), output_size=self.n_active())

    def entry(self, shape: Shape) -> Tensor:
        """(n_spikes,) int64: the entries that hold a spike."""
        return self.row() * shape[2] + self.unit

    def active_entry(self, shape: Shape) -> Tensor:
        """(n_active,) int64: the active entries, in the order of `value`."""
        return self.active_row() * shape[2] + self.active_unit

    def samples(self, start: int, stop: int, shape: Shape) -> tuple[Lists, slice]:
        """The lists of samples start:stop, and which active entries these are."""
        first, last = start * shape[1], stop * shape[1]
        part = Lists(*_slice(self.unit, self.offset, first, last))
        if not self.has_active:
            return part, slice(0, 0)
        unit, offset = _slice(self.active_unit, self.active_offset, first, last)
        kept = slice(int(self.active_offset[first]), int(self.active_offset[last]))
        return part._replace(active_unit=unit, active_offset=offset), kept

    def check(self, shape: Shape, n_value: int) -> None:
        """Compares lengths, dtypes and layouts with (B, T, N) and the number of values.

        Raises:
            ValueError: naming the list that does not fit.
        """
        n_bound = shape[0] * shape[1] + 1
        _check("unit", self.unit, self.offset, n_bound)
        n_active = self.active_unit.numel()
        if n_active or self.active_offset.numel():
            _check("active_unit", self.active_unit, self.active_offset, n_bound)
        elif self.active_offset.dtype is not torch.int64:
            raise ValueError(f"active_offset: expected int64, found {self.active_offset.dtype}")
        if n_value != n_active:
            raise ValueError(f"value: expected {n_active}, one per active entry, found {n_value}")

    def taken(self, sample: Tensor, shape: Shape) -> tuple[Lists, Tensor]:
        """The lists of some samples, (b,) int64 on their device; and which active entries these are."""
        return self._spans(sample * shape[1], shape[1])

    def steps(self, start: int, stop: int, shape: Shape) -> tuple[Lists, Tensor]:
        """The lists of the steps start:stop of each sample, and which active entries these are."""
        first = torch.arange(shape[0], device=self.device) * shape[1] + start
        return self._spans(first, stop - start)

    def _spans(self, first: Tensor, n_row: int) -> tuple[Lists, Tensor]:
        unit, offset, _ = _spans(self.unit, self.offset, first, n_row)
        part = Lists(unit, offset)
        if not self.has_active:
            return part, offset.new_empty(0)
        unit, offset, kept = _spans(self.active_unit, self.active_offset, first, n_row)
        return part._replace(active_unit=unit, active_offset=offset), kept

    @staticmethod
    def stacked(
        parts: Sequence[Lists], shapes: Sequence[Shape], with_value: Sequence[bool]
    ) -> tuple[Lists, None]:
        """The lists of several batches, one after the other, and so their values; see `Words.stacked`."""
        stacked = Lists(*_stacked([(part.unit, part.offset) for part in parts]))
        if not any(part.has_active for part in parts):
            return stacked, None
        pairs = [
            (part.active_unit, part.active_offset)
            if part.has_active
            else (part.active_unit, torch.zeros_like(part.offset))
            for part in parts
        ]
        unit, offset = _stacked(pairs)
        return stacked._replace(active_unit=unit, active_offset=offset), None

    def plain(self) -> Lists:
        """The same spikes without active set."""
        return Lists(self.unit, self.offset)


def offset_of(row: Tensor, n_row: int) -> Tensor:
    """(n_row + 1,) bounds of each row in a list sorted by row."""
    offset = torch.zeros(n_row + 1, dtype=torch.int64, device=row.device)
    torch.cumsum(torch.bincount(row, minlength=n_row), 0, out=offset[1:])
    return offset


def check_ends(n: int, last: int) -> None:
    """Raises a ValueError unless the last bound of a list's rows is its length."""
    if n != last:
        raise ValueError(
            f"offset: expected the last bound to be {n}, the units' number, found {last}"
        )


def _check(name: str, unit: Tensor, offset: Tensor, n_bound: int) -> None:
    if (
        offset.numel() != n_bound
        or offset.dtype is not torch.int64
        or not offset.is_contiguous()
        or offset.dim() != 1
    ):
        raise ValueError(
            f"{name.replace('unit', 'offset')}: expected {n_bound} int64 side by side (B*T + 1), "
            f"found {tuple(offset.shape)} of {offset.dtype}"
        )
    if unit.dtype is not torch.int32 or not unit.is_contiguous() or unit.dim() != 1:
        raise ValueError(
            f"{name}: expected int32 side by side, found {tuple(unit.shape)} of {unit.dtype}"
        )


def _rows(entry: Tensor, n_row: int, n_unit: int) -> tuple[Tensor, Tensor]:
    """(unit, offset) of ascending entries."""
    row = torch.div(entry, n_unit, rounding_mode="floor")
    return (entry % n_unit).to(torch.int32), offset_of(row, n_row)


def _spans(
    unit: Tensor, offset: Tensor, first: Tensor, n_row: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(unit, offset) of `n_row` rows from each of `first` (b,) on, and where in `unit` they were."""
    row = first[:, None] + torch.arange(n_row + 1, device=first.device)
    bounds = offset[row]  # (b, n_row + 1)
    length = bounds[:, -1] - bounds[:, 0]
    start = length.cumsum(0) - length
    n = int(length.sum())
    moved = torch.repeat_interleave(bounds[:, 0] - start, length, output_size=n)
    kept = torch.arange(n, device=unit.device) + moved
    ends = (bounds[:, 1:] - bounds[:, :1] + start[:, None]).flatten()
    return unit[kept], torch.cat([ends.new_zeros(1), ends]), kept


def _stacked(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """(unit, offset) of several such, one after the other."""
    start, offsets = 0, [pairs[0][1][:1]]
    for unit, offset in pairs:
        offsets.append(offset[1:] + start)
        start += len(unit)
    return torch.cat([unit for unit, _ in pairs]), torch.cat(offsets)


def _slice(unit: Tensor, offset: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """The lists of the rows start:stop, their bounds from 0."""
    bounds = offset[start : stop + 1]
    return unit[int(bounds[0]) : int(bounds[-1])], bounds - bounds[0]
