"""Events and `Spikes`: what layers pass to each other (storage of the sparse quantities in eq. 7-12).

A batch of spike trains is stored as ragged lists (`lists.py`, on the CPU) or as bits packed along time
(`words.py`, on the GPU): which entries, (sample, step, unit), hold a spike, and which are *active* (eq. 7).
`value` holds the spike, 0 or 1, at each active entry, in the storage's order. It is the only tensor that
autograd sees between layers: its gradient is ε (eq. 12) at the active entries, n_active numbers, never
batch x time x unit.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from sparsespike.spikes import building
from sparsespike.spikes.lists import Lists, Shape
from sparsespike.spikes.words import Words


@dataclass(frozen=True, eq=False, repr=False)
class Spikes:
    """A batch of spike trains as events, with the entries through which gradients go.

    The constructor trusts its arguments: it is meant for backends. Build from your own data with
    `from_dense`, `from_events` or `from_lists`, which check everything once.

    Attributes:
        shape: (B, T, N), samples, steps, units.
        storage: which entries hold a spike, and which are active: `Lists` on the CPU, `Words` on a GPU.
        value: (n_active,) float, the spike (0 or 1) at each active entry; carries the gradient. Empty on
            a GPU where none is recorded (`torch.no_grad`).
        potential: like `value`, the membrane potential there (no gradient), or None.
        n_clamped: how many duplicate events of one (sample, step, unit) were clamped to one spike.
    """

    shape: Shape
    storage: Lists | Words
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
        return cls(*building.of_lists(unit, offset, shape)).to(unit.device)

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
        return cls(*building.of_dense(dense, time_first, active))

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
        built, n_clamped = building.of_events(sample, step, unit, shape)
        return cls(*built, n_clamped=n_clamped)

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
        shape = n_batch, n_step, sum(part.shape[2] for part in parts)
        entries, actives = [], []
        first = 0  # unit of the part
        for part in parts:
            for entry, moved in (
                (part.storage.entry(part.shape), entries),
                (part.storage.active_entry(part.shape)[: len(part.value)], actives),
            ):
                row = torch.div(entry, part.shape[2], rounding_mode="floor")
                moved.append(row * shape[2] + first + entry % part.shape[2])
            first += part.shape[2]
        value = torch.cat([part.value for part in parts])
        built = building.of_entries(shape, torch.cat(entries), torch.cat(actives), value)
        return Spikes(*built, n_clamped=sum(part.n_clamped for part in parts))

    # ---- reading -------------------------------------------------------------------------------

    @property
    def n_spikes(self) -> int:
        """Number of spikes in the batch."""
        return self.storage.n_spikes()

    @property
    def n_active(self) -> int:
        """Number of active entries (eq. 7)."""
        return self.storage.n_active()

    @property
    def device(self) -> torch.device:
        """Where the spikes are."""
        return self.storage.device

    @property
    def lists(self) -> Lists:
        """The storage, where it is lists.

        Raises:
            ValueError: if it is words.
        """
        if isinstance(self.storage, Lists):
            return self.storage
        raise ValueError(
            "spikes: expected lists, as the CPU backend takes them, found words of bits; "
            '.to_lists() converts them, .to("cpu") moves them as well'
        )

    @property
    def words(self) -> Words:
        """The storage, where it is words.

        Raises:
            ValueError: if it is lists.
        """
        if isinstance(self.storage, Words):
            return self.storage
        raise ValueError(
            "spikes: expected words of bits, as the GPU backend takes them, found lists; "
            '.to_words() converts them, .to("cuda") moves them as well'
        )

    @property
    def unit(self) -> Tensor:
        """(n_spikes,) int32 of `lists`."""
        return self.lists.unit

    @property
    def offset(self) -> Tensor:
        """(B*T + 1,) int64 of `lists`."""
        return self.lists.offset

    @property
    def active_unit(self) -> Tensor:
        """(n_active,) int32 of `lists`."""
        return self.lists.active_unit

    @property
    def active_offset(self) -> Tensor:
        """(B*T + 1,) int64 of `lists`, or (0,)."""
        return self.lists.active_offset

    def rate(self) -> float:
        """Share of (sample, step, unit) entries that hold a spike, in [0, 1]."""
        return self.n_spikes / max(1, self.shape[0] * self.shape[1] * self.shape[2])

    def activity(self) -> float:
        """Share of (sample, step, unit) entries that are active, in [0, 1] (eq. 13 without the 100)."""
        return self.n_active / max(1, self.shape[0] * self.shape[1] * self.shape[2])

    def row(self) -> Tensor:
        """(n_spikes,) int64: the row, sample * T + step, of each spike, in the storage's order."""
        return torch.div(self.storage.entry(self.shape), self.shape[2], rounding_mode="floor")

    def active_row(self) -> Tensor:
        """(n_active,) int64: the row, sample * T + step, of each active entry, in the order of `value`."""
        return torch.div(
            self.storage.active_entry(self.shape), self.shape[2], rounding_mode="floor"
        )

    def to_dense(self) -> Tensor:
        """(B, T, N) of 0 and 1, in the dtype of `value`; differentiable at the active entries."""
        dense = self.value.new_zeros(self.shape[0] * self.shape[1] * self.shape[2])
        dense[self.storage.entry(self.shape)] = 1
        # None at all where words were made without gradient.
        active = self.storage.active_entry(self.shape)[: len(self.value)]
        return dense.index_copy(0, active, self.value).view(self.shape)

    def count(self) -> Tensor:
        """(B, N): spikes of each unit over time, as float; differentiable at the active entries."""
        n_batch, _, n_unit = self.shape
        entry = self.storage.entry(self.shape)
        count = torch.bincount(self._unit_of(entry), minlength=n_batch * n_unit).to(
            self.value.dtype
        )
        if self.value.requires_grad:
            active = self._unit_of(self.storage.active_entry(self.shape))
            # The spikes are counted already: this adds zero, and hands each value its gradient.
            count = count.index_add(0, active, self.value - self.value.detach())
        return count.view(n_batch, n_unit)

    def check(self) -> None:
        """Compares the lengths of all that a kernel reads with the shape; about two microseconds.

        Raises:
            ValueError: naming the part that does not fit.
        """
        self.storage.check(self.shape, len(self.value))

    def to(self, target: torch.device | str | torch.dtype) -> Spikes:
        """The same spikes on another device, as its backend stores them; or `value` in another dtype."""
        if isinstance(target, torch.dtype):
            potential = None if self.potential is None else self.potential.to(target)
            return replace(self, value=self.value.to(target), potential=potential)
        device = torch.device(target)
        moved = self
        if device.type != self.device.type or device.index not in (None, self.device.index):
            # Words count on the host; `total` stays there.
            tensors = {
                name: part if name == "total" else part.to(device)
                for name, part in self.storage._asdict().items()
            }
            moved = replace(
                self,
                storage=type(self.storage)(**tensors),
                value=self.value.to(device),
                potential=None if self.potential is None else self.potential.to(device),
            )
        return moved.to_words() if device.type == "cuda" else moved.to_lists()

    def to_lists(self) -> Spikes:
        """The same spikes as `Lists`, on the same device; differentiable."""
        return self._as(Lists)

    def to_words(self) -> Spikes:
        """The same spikes as `Words`, on the same device; differentiable."""
        return self._as(Words)

    def _unit_of(self, entry: Tensor) -> Tensor:
        """sample * N + unit of each entry (sample * T + step) * N + unit."""
        _, n_step, n_unit = self.shape
        return torch.div(entry, n_step * n_unit, rounding_mode="floor") * n_unit + entry % n_unit

    def _as(self, kind: type[Lists] | type[Words]) -> Spikes:
        if isinstance(self.storage, kind):
            return self
        entry, active = self.storage.entry(self.shape), None
        value, potential = self.value, self.potential
        if self.storage.has_active:
            active = self.storage.active_entry(self.shape)
            if len(value) < len(active):  # words made without gradient keep the bits alone
                value, potential = torch.isin(active, entry).to(value.dtype), None
        storage, order = kind.of(entry, active, self.shape)
        if order is None:
            return replace(self, storage=storage)
        potential = None if potential is None else potential[order]
        return replace(self, storage=storage, value=value[order], potential=potential)

    def detach(self) -> Spikes:
        """The same spikes, without history and without active set."""
        nothing = self.value.new_empty(0)
        return Spikes(self.shape, self.storage.plain(), nothing, n_clamped=self.n_clamped)

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
        storage, kept = self.storage.samples(start, stop, self.shape)
        return Spikes(
            (stop - start, n_step, n_unit),
            storage,
            self.value[kept],
            None if self.potential is None else self.potential[kept],
        )

    def __getstate__(self) -> dict[str, Any]:
        # Workers and caches want the events; a gradient history cannot leave its process.
        potential = None if self.potential is None else _alone(self.potential)
        return dict(self.__dict__) | {
            "storage": type(self.storage)(*(_alone(part) for part in self.storage)),
            "value": _alone(self.value.detach()),
            "potential": potential,
        }

    def __repr__(self) -> str:
        n_batch, n_step, n_unit = self.shape
        clamped = f", {self.n_clamped:,} clamped" if self.n_clamped else ""
        return (
            f"Spikes(B={n_batch}, T={n_step}, N={n_unit}: {self.n_spikes:,} spikes, "
            f"rate {self.rate():.3%}, {self.n_active:,} active ({self.activity():.3%}){clamped})"
        )


def _alone(part: Tensor) -> Tensor:
    """A slice by itself, not with the batch it looks into."""
    return part.clone() if part.untyped_storage().nbytes() > part.nbytes else part
