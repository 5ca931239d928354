"""`Reading`: what can be told of a batch of spikes, without building another one."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsespike.spikes.lists import Lists, Shape
from sparsespike.spikes.words import Words


class Reading:
    """The methods of `Spikes` that read what it stores, as it is or as counts, rows and dense tensors."""

    shape: Shape
    storage: Lists | Words
    value: Tensor
    n_clamped: int
    n_late: int
    unit_shape: tuple[int, ...]
    graded: bool
    scale: float

    @property
    def n_spikes(self) -> int:
        """Number of spikes in the batch; of graded ones, of those that were summed."""
        return self.storage.n_spikes()

    @property
    def n_active(self) -> int:
        """Number of active entries (eq. 7), one per entry of `value`."""
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
        return self._share(self.storage.entry(self.shape) if self.graded else None, self.n_spikes)

    def activity(self) -> float:
        """Share of (sample, step, unit) entries that are active, in [0, 1] (eq. 13 without the 100)."""
        active = self.storage.active_entry(self.shape) if self.graded else None
        return self._share(active, self.n_active)

    def row(self) -> Tensor:
        """(n_spikes,) int64: the row, sample * T + step, of each spike, in the storage's order."""
        return torch.div(self.storage.entry(self.shape), self.shape[2], rounding_mode="floor")

    def active_row(self) -> Tensor:
        """(n_active,) int64: the row, sample * T + step, of each active entry, in the order of `value`."""
        return torch.div(
            self.storage.active_entry(self.shape), self.shape[2], rounding_mode="floor"
        )

    def to_dense(self) -> Tensor:
        """(B, T, *unit_shape) of 0 and 1, in the dtype of `value`; differentiable at the active entries.

        Of graded spikes it holds their numbers.
        """
        dense = self.value.new_zeros(self.shape[0] * self.shape[1] * self.shape[2])
        entry = self.storage.entry(self.shape)
        # None at all where words were made without gradient.
        active = self.storage.active_entry(self.shape)[: len(self.value)]
        if self.graded:
            dense = dense.index_add(0, entry, dense.new_ones(len(entry)))
            # The spikes are summed already: this adds zero, and hands each value its gradient.
            dense = dense.index_add(0, active, self.value - self.value.detach()) * self.scale
        else:
            dense[entry] = 1
            dense = dense.index_copy(0, active, self.value)
        return dense.view(*self.shape[:2], *self.unit_shape)

    def count(self) -> Tensor:
        """(B, N): spikes of each unit over time, as float; differentiable at the active entries.

        Of graded spikes the sum of their numbers.
        """
        n_batch, _, n_unit = self.shape
        entry = self.storage.entry(self.shape)
        count = torch.bincount(self._unit_of(entry), minlength=n_batch * n_unit).to(
            self.value.dtype
        )
        if self.value.requires_grad:
            active = self._unit_of(self.storage.active_entry(self.shape))
            # The spikes are counted already: this adds zero, and hands each value its gradient.
            count = count.index_add(0, active, self.value - self.value.detach())
        return (count if self.scale == 1.0 else count * self.scale).view(n_batch, n_unit)

    def check(self) -> None:
        """Compares the lengths of all that a kernel reads with the shape; in one to three microseconds.

        Raises:
            ValueError: naming the part that does not fit.
        """
        if isinstance(self.storage, Words):
            self.storage.check(self.shape, len(self.value), self.graded)
        else:
            self.storage.check(self.shape, len(self.value))

    def __repr__(self) -> str:
        n_batch, n_step, _ = self.shape
        units = "x".join(map(str, self.unit_shape))
        grade = f", graded x {self.scale:.4g}" if self.graded else ""
        clamped = f", {self.n_clamped:,} clamped" if self.n_clamped else ""
        late = f", {self.n_late:,} late" if self.n_late else ""
        return (
            f"Spikes(B={n_batch}, T={n_step}, N={units}{grade}: {self.n_spikes:,} spikes, "
            f"rate {self.rate():.3%}, {self.n_active:,} active ({self.activity():.3%}){clamped}{late})"
        )

    def _share(self, entry: Tensor | None, n: int) -> float:
        """Of all entries, n; or those in a list, each counted once."""
        if entry is not None:
            n = len(torch.unique(entry))
        return n / max(1, self.shape[0] * self.shape[1] * self.shape[2])

    def _unit_of(self, entry: Tensor) -> Tensor:
        """sample * N + unit of each entry (sample * T + step) * N + unit."""
        _, n_step, n_unit = self.shape
        return torch.div(entry, n_step * n_unit, rounding_mode="floor") * n_unit + entry % n_unit
