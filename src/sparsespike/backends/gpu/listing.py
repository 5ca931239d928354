"""Lists V at the active entries of a forward pass, whose number is known only at its end.

Of a recording in one segment V lies over the currents until then. Of one in several it cannot: each
segment's entries go to a pool, and once all are counted from there to their places. The pool has
one number per word, room for an activity of 1/32; the rare layer that has more is computed again
with all the room it needs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsespike.backends.finite import check_finite
from sparsespike.backends.gpu import lif
from sparsespike.spikes.words import UNITS, Words, n_blocks


class Listing:
    """The lists of one forward pass.

    Args:
        word: (B, W, N) int32, spikes, written by the pass.
        active: (B, W, N) int32, active entries, written by the pass.
        constants: see `lif.constants`.
        pooled: whether the pass has several segments.

    Attributes:
        count: (2, B, W, blocks) int32, spikes and active entries per block, to be written by the pass.
    """

    def __init__(self, word: Tensor, active: Tensor, constants: Tensor, pooled: bool) -> None:
        self.word, self.active, self.constants = word, active, constants
        batch, n_word, n_unit = word.shape
        self.count = word.new_empty((2, batch, n_word, n_blocks(n_unit)))
        self.pooled = pooled
        self.capacity = word.numel() if pooled else 0
        self.begin()

    def begin(self) -> None:
        """Before the first segment, of the first pass and of a second one."""
        if self.pooled:
            self.source = self.constants.new_empty(self.capacity)
            self.pool_start = torch.empty_like(self.count[1])
            self.listed = self.count.new_zeros(())

    def take(self, current: Tensor, first: int, words: int) -> None:
        """A segment has been walked through: V lies over its currents."""
        if not self.pooled:
            self.source = current
            return
        counts = self.count[1, :, first : first + words]
        ends = counts.flatten().cumsum(0, dtype=torch.int32) + self.listed
        self.pool_start[:, first : first + words] = ends.view(counts.shape) - counts
        self.listed = self.listed + counts.sum(dtype=torch.int32)
        self._list(current, self.pool_start, self.source, None, first, words, self.capacity)

    def counted(self, parameters: list[tuple[Tensor, ...]]) -> tuple[int, int]:
        """Spikes and active entries; here, once, the host waits for the device.

        Raises:
            ValueError: if a parameter is not finite, or there are 2^31 active entries or more.
        """
        totals = [*self.count.sum((1, 2, 3), dtype=torch.int64)]
        if self.count.is_cuda:  # elsewhere they were checked before
            totals += [tensor.sum().isfinite() for own in parameters for tensor in own]
        n_spikes, n_active, *finite = torch.stack(totals).tolist()
        if not all(finite):
            for own in parameters:
                check_finite(own)
        if n_active >= 2**31:
            raise ValueError(
                f"spikes: expected fewer than 2^31 active entries of a layer, found {n_active}"
            )
        return n_spikes, n_active

    def lists(self, n_spikes: int, n_active: int) -> tuple[Words, Tensor, Tensor]:
        """Storage, value and potential."""
        counts = self.count[1]
        ends = counts.flatten().cumsum(0, dtype=torch.int32).view(counts.shape)
        storage = Words(self.word, torch.tensor([n_spikes, n_active]), self.active, ends - counts)
        value, potential = (self.constants.new_empty(n_active) for _ in range(2))
        self._list(self.source, storage.start, potential, value, 0, self.word.shape[1], n_active)
        return storage, value, potential

    def _list(
        self,
        source: Tensor,
        start: Tensor,
        potential: Tensor,
        value: Tensor | None,
        first: int,
        words: int,
        capacity: int,
    ) -> None:
        batch, n_word, n_unit = self.word.shape
        lif.list_active[(batch, words, n_blocks(n_unit))](
            source,
            self.pool_start if self.pooled else start,
            start,
            self.constants,
            self.word,
            self.active,
            potential,
            potential if value is None else value,
            first,
            n_word,
            words,
            n_unit,
            capacity,
            LISTED=self.pooled and value is not None,
            VALUES=value is not None,
            UNITS=UNITS,
            num_warps=UNITS // 32,
        )
