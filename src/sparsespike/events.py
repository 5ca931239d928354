"""Events and `Spikes`: what layers pass to each other (storage of the sparse quantities in eq. 7-12).

A batch of spike trains is stored as ragged lists over rows, one row per (sample, step):

    row = sample * T + step        unit[offset[row] : offset[row + 1]] are the units that spike there

A second pair of lists names the *active* entries (eq. 7), and `value` holds the spike, 0 or 1, at each
of them. `value` is the only tensor that autograd sees between layers: its gradient is ε (eq. 12) at the
active entries, n_active numbers, never batch x time x unit.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor

from sparsespike import ragged


def empty_index() -> Tensor:
    """An empty int32 list, the `active_unit` of spikes that carry no gradient."""
    return torch.empty(0, dtype=torch.int32)


def empty_offset() -> Tensor:
    """An empty int64 list: the `active_offset` of spikes that carry no gradient (saves B*T numbers)."""
    return torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True, eq=False, repr=False)
class Spikes:
    """A batch of spike trains as event lists, with the entries through which gradients go.

    The constructor trusts its arguments: it is meant for backends. Build from your own data with
    `from_dense`, `from_events` or `from_lists`, which check everything once.

    Attributes:
        shape: (B, T, N), samples, steps, units.
        unit: (n_spikes,) int32, units that spike, ascending within a row.
        offset: (B*T + 1,) int64, bounds of each row in `unit`.
        active_unit: (n_active,) int32, active units, ascending within a row; empty for plain input.
        active_offset: (B*T + 1,) int64, bounds of each row in `active_unit`; empty for plain input.
        value: (n_active,) float, the spike (0 or 1) at each active entry; carries the gradient.
        potential: (n_active,) float, membrane potential at each active entry (no gradient), or None.
        n_clamped: how many duplicate events of one (sample, step, unit) were clamped to one spike.
    """

    shape: tuple[int, int, int]
    unit: Tensor
    offset: Tensor
    active_unit: Tensor = field(default_factory=empty_index)
    active_offset: Tensor = field(default_factory=empty_offset)
    value: Tensor = field(default_factory=lambda: torch.empty(0))
    potential: Tensor | None = None
    n_clamped: int = 0

    # ---- building ------------------------------------------------------------------------------

    @classmethod
    def from_lists(cls, unit: Tensor, offset: Tensor, shape: tuple[int, int, int]) -> Spikes:
        """Spikes from ragged lists, checked.

        Args:
            unit: (n_spikes,) integers in [0, N), strictly ascending within each row.
            offset: (B*T + 1,) int64, from 0 to n_spikes, never descending; row = sample * T + step.
            shape: (B, T, N), each >= 1 (B >= 0).

        Raises:
            ValueError: naming the argument that breaks one of these rules.
        """
        n_batch, n_step, n_unit = ragged.check_shape(shape)
        ragged.check_integer("unit", unit)
        ragged.check_integer("offset", offset)
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
        ragged.check_range("unit", unit, n_unit)
        row_starts = torch.zeros(len(unit) + 1, dtype=torch.bool)
        row_starts[offset] = True
        if bool(((unit.diff() <= 0) & ~row_starts[1:-1]).any()):
            raise ValueError(
                "unit: expected strictly ascending units in each row, found unsorted ones"
            )
        return cls((n_batch, n_step, n_unit), unit.to(torch.int32), offset)

    @classmethod
    def from_dense(
        cls, dense: Tensor, *, time_first: bool = False, active: Tensor | None = None
    ) -> Spikes:
        """Spikes from a dense tensor of 0 and 1.

        Args:
            dense: (B, T, N), or (T, B, N) with `time_first`; any dtype. If it requires a gradient,
                every entry counts as active unless `active` says otherwise.
            time_first: whether time is the first dimension.
            active: bool, the shape of `dense`: the entries whose gradient is wanted.

        Raises:
            ValueError: if an entry is neither 0 nor 1 (NaN included) or a shape is wrong.
        """
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
        n_batch, n_step, n_unit = ragged.check_shape(tuple(dense.shape))
        fired = dense.detach() == 1
        if not bool((fired | (dense.detach() == 0)).all()):
            raise ValueError("dense: expected only 0 and 1, found other values (or NaN)")
        unit, offset = ragged.lists_of(fired)
        spikes = cls((n_batch, n_step, n_unit), unit, offset)
        if active is None and dense.requires_grad:
            active = torch.ones_like(fired)
        if active is None:
            return spikes
        active_unit, active_offset = ragged.lists_of(active)
        value = dense[active] if dense.is_floating_point() else dense[active].float()
        return replace(spikes, active_unit=active_unit, active_offset=active_offset, value=value)

    @classmethod
    def from_events(
        cls, sample: Tensor, step: Tensor, unit: Tensor, *, shape: tuple[int, int, int]
    ) -> Spikes:
        """Spikes from (sample, step, unit) triples in any order; duplicates are clamped and counted.

        Args:
            sample: (n,) integers in [0, B).
            step: (n,) integers in [0, T).
            unit: (n,) integers in [0, N).
            shape: (B, T, N).

        Returns:
            Spikes whose `n_clamped` is the number of events that shared their entry with another.

        Raises:
            ValueError: naming the argument that is out of range, of another length or not integer.
        """
        n_batch, n_step, n_unit = ragged.check_shape(shape)
        for name, index, size in (
            ("sample", sample, n_batch),
            ("step", step, n_step),
            ("unit", unit, n_unit),
        ):
            ragged.check_integer(name, index)
            if index.shape != sample.shape:
                raise ValueError(f"{name}: expected {len(sample)} entries, found {len(index)}")
            ragged.check_range(name, index, size)
        row = sample.long() * n_step + step.long()
        key = torch.unique(row * n_unit + unit.long())  # sorted: by row, then by unit
        offset = ragged.offset_of(torch.div(key, n_unit, rounding_mode="floor"), n_batch * n_step)
        return cls(
            (n_batch, n_step, n_unit),
            (key % n_unit).to(torch.int32),
            offset,
            n_clamped=len(row) - len(key),
        )

    @staticmethod
    def cat(parts: Sequence[Spikes]) -> Spikes:
        """Concatenates along units: (B, T, N_1), (B, T, N_2), ... -> (B, T, N_1 + N_2 + ...).

        Raises:
            ValueError: if `parts` is empty or samples or steps differ.
        """
        if not parts:
            raise ValueError("parts: expected at least one Spikes, found none")
        n_batch, n_step, _ = parts[0].shape
        for part in parts:
            if part.shape[:2] != (n_batch, n_step):
                raise ValueError(
                    f"parts: expected {n_batch} samples of {n_step} steps each, found {part.shape[:2]}"
                )
        first_unit = np.cumsum([0] + [part.shape[2] for part in parts])
        n_row = n_batch * n_step
        unit, offset, _ = ragged.merge_rows(
            [p.unit + int(s) for p, s in zip(parts, first_unit, strict=False)],
            [p.row() for p in parts],
            n_row,
        )
        active_unit, active_offset, order = ragged.merge_rows(
            [p.active_unit + int(s) for p, s in zip(parts, first_unit, strict=False)],
            [p.active_row() for p in parts],
            n_row,
        )
        return Spikes(
            (n_batch, n_step, int(first_unit[-1])),
            unit,
            offset,
            active_unit,
            active_offset,
            torch.cat([p.value for p in parts])[order],
            n_clamped=sum(p.n_clamped for p in parts),
        )

    # ---- reading -------------------------------------------------------------------------------

    @property
    def n_spikes(self) -> int:
        """Number of spikes in the batch."""
        return self.unit.shape[0]

    @property
    def n_active(self) -> int:
        """Number of active entries (eq. 7), the length of `value`."""
        return self.value.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the lists are."""
        return self.unit.device

    def rate(self) -> float:
        """Share of (sample, step, unit) entries that hold a spike, in [0, 1]."""
        return self.n_spikes / max(1, self.shape[0] * self.shape[1] * self.shape[2])

    def activity(self) -> float:
        """Share of (sample, step, unit) entries that are active, in [0, 1] (eq. 13 without the 100)."""
        return self.n_active / max(1, self.shape[0] * self.shape[1] * self.shape[2])

    def row(self) -> Tensor:
        """(n_spikes,) int64: the row, sample * T + step, of each spike."""
        return torch.repeat_interleave(self.offset.diff(), output_size=self.n_spikes)

    def active_row(self) -> Tensor:
        """(n_active,) int64: the row, sample * T + step, of each active entry."""
        return torch.repeat_interleave(self.active_offset.diff(), output_size=self.n_active)

    def to_dense(self) -> Tensor:
        """(B, T, N) of 0 and 1, in the dtype of `value`; differentiable at the active entries."""
        n_unit = self.shape[2]
        dense = self.value.new_zeros(self.shape[0] * self.shape[1] * n_unit)
        dense[self.row() * n_unit + self.unit] = 1
        dense = dense.index_copy(0, self.active_row() * n_unit + self.active_unit, self.value)
        return dense.view(self.shape)

    def count(self) -> Tensor:
        """(B, N): spikes of each unit over time, as float; differentiable at the active entries."""
        from sparsespike import ops

        return ops.count(self)

    def to(self, target: torch.device | str | torch.dtype) -> Spikes:
        """The same spikes on another device, or with `value` in another float dtype."""
        if isinstance(target, torch.dtype):
            potential = None if self.potential is None else self.potential.to(target)
            return replace(self, value=self.value.to(target), potential=potential)
        return replace(
            self,
            unit=self.unit.to(target),
            offset=self.offset.to(target),
            active_unit=self.active_unit.to(target),
            active_offset=self.active_offset.to(target),
            value=self.value.to(target),
            potential=None if self.potential is None else self.potential.to(target),
        )

    def detach(self) -> Spikes:
        """The same spikes, without history and without active set."""
        return Spikes(
            self.shape,
            self.unit,
            self.offset,
            value=self.value.new_empty(0),
            n_clamped=self.n_clamped,
        )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: SupportsIndex | slice) -> Spikes:
        """The samples `index` names, an int (giving a batch of one) or a slice of step 1."""
        n_batch, n_step, n_unit = self.shape
        if isinstance(index, SupportsIndex):
            index = operator.index(index)
            if not -n_batch <= index < n_batch:
                raise IndexError(f"sample {index} of a batch of {n_batch}")
            index = slice(index % n_batch, index % n_batch + 1)
        if not isinstance(index, slice) or index.step not in (None, 1):
            raise ValueError(f"index: expected an int or a slice of step 1, found {index!r}")
        start, stop, _ = index.indices(n_batch)
        stop = max(start, stop)
        unit, offset = ragged.slice_rows(self.unit, self.offset, start * n_step, stop * n_step)
        part = Spikes((stop - start, n_step, n_unit), unit, offset, value=self.value.new_empty(0))
        if not len(self.active_offset):
            return part
        rows = slice(
            int(self.active_offset[start * n_step]), int(self.active_offset[stop * n_step])
        )
        active = ragged.slice_rows(
            self.active_unit, self.active_offset, start * n_step, stop * n_step
        )
        return replace(
            part,
            active_unit=active[0],
            active_offset=active[1],
            value=self.value[rows],
            potential=None if self.potential is None else self.potential[rows],
        )

    def __getstate__(self) -> dict[str, Any]:
        # Workers and caches want the events; a gradient history cannot leave its process.
        state = dict(self.__dict__) | {"value": self.value.detach()}
        for name, part in state.items():
            # A slice is stored by itself, not with the batch it looks into.
            if isinstance(part, Tensor) and part.untyped_storage().nbytes() > part.nbytes:
                state[name] = part.clone()
        return state

    def __repr__(self) -> str:
        n_batch, n_step, n_unit = self.shape
        clamped = f", {self.n_clamped:,} clamped" if self.n_clamped else ""
        return (
            f"Spikes(B={n_batch}, T={n_step}, N={n_unit}: {self.n_spikes:,} spikes, "
            f"rate {self.rate():.3%}, {self.n_active:,} active ({self.activity():.3%}){clamped})"
        )
