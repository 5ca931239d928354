"""Lists numbers at the active entries of a forward pass, V above all; how many there are is known at its end.

Of a recording in one segment they lie in dense arrays until then, V over the currents. Of one in several
they cannot: each segment's entries go to a pool, and once all are counted from there to their places. The
pool has one place per word, room for an activity of 1/32; the rare layer that has more is computed again
with all the room it needs.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsespike.backends.finite import check_finite
from sparsespike.backends.gpu.bits import any_left, lowest, places
from sparsespike.spikes.words import UNITS, Words, n_blocks


class Listing:
    """The lists of one forward pass.

    Args:
        word: (B, W, N) int32, spikes, written by the pass.
        active: (B, W, N) int32, active entries, written by the pass.
        like: in the dtype of the numbers.
        pooled: whether the pass has several segments.
        rows: how many numbers are listed of an entry; the first is V.

    Attributes:
        count: (2, B, W, blocks) int32, spikes and active entries per block, to be written by the pass.
        pool: (rows, capacity), the entries of the segments that were taken, where it is pooled.
        pool_start: (B, W, blocks) int32, where each block begins there.
    """

    def __init__(
        self, word: Tensor, active: Tensor, like: Tensor, pooled: bool, rows: int = 1
    ) -> None:
        self.word, self.active, self.like, self.rows = word, active, like, rows
        batch, n_word, n_unit = word.shape
        self.count = word.new_empty((2, batch, n_word, n_blocks(n_unit)))
        self.pooled = pooled
        self.capacity = word.numel() if pooled else 0
        self.begin()

    def begin(self) -> None:
        """Before the first segment, of the first pass and of a second one."""
        if self.pooled:
            self.pool = self.like.new_empty((self.rows, self.capacity))
            self.pool_start = torch.empty_like(self.count[1])
            self.listed = self.count.new_zeros(())

    def take(self, current: Tensor, first: int, words: int, beside: Tensor | None = None) -> None:
        """A segment has been walked through.

        Args:
            current: (B, words * 32, N), V, where active.
            first: its first word.
            words: its words.
            beside: (rows - 1, B, words * 32, N), the other numbers, where active.
        """
        sources = [current] if beside is None else [current, beside]
        if not self.pooled:
            self.sources = sources
            return
        counts = self.count[1, :, first : first + words]
        ends = counts.flatten().cumsum(0, dtype=torch.int32) + self.listed
        self.pool_start[:, first : first + words] = ends.view(counts.shape) - counts
        self.listed = self.listed + counts.sum(dtype=torch.int32)
        for source, into in zip(sources, (self.pool[:1], self.pool[1:]), strict=False):
            self._list(source, self.pool_start, into, None, first, words)

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
        """Storage, value (n_active,), and what was listed, (rows, n_active)."""
        counts = self.count[1]
        ends = counts.flatten().cumsum(0, dtype=torch.int32).view(counts.shape)
        storage = Words(self.word, torch.tensor([n_spikes, n_active]), self.active, ends - counts)
        value, found = self.like.new_empty(n_active), self.like.new_empty((self.rows, n_active))
        n_word = self.word.shape[1]
        if self.pooled:
            self._list(self.pool, storage.start, found, value, 0, n_word)
            return storage, value, found
        first, *beside = self.sources
        self._list(first, storage.start, found[:1], value, 0, n_word)
        for source in beside:
            self._list(source, storage.start, found[1:], None, 0, n_word)
        return storage, value, found

    def _list(
        self,
        source: Tensor,
        start: Tensor,
        into: Tensor,
        value: Tensor | None,
        first: int,
        words: int,
    ) -> None:
        """Lists rows of a source: dense ones, or at the end of a pooled pass the pool."""
        batch, n_word, n_unit = self.word.shape
        rows, capacity = into.shape
        list_active[(batch, words, n_blocks(n_unit))](
            source,
            self.pool_start if self.pooled else start,
            start,
            self.word,
            self.active,
            into,
            into if value is None else value,
            first,
            n_word,
            words,
            n_unit,
            rows,
            source.numel() // rows,
            capacity,
            LISTED=self.pooled and value is not None,
            VALUES=value is not None,
            UNITS=UNITS,
            num_warps=UNITS // 32,
        )


@triton.jit(do_not_specialize=["first", "n_word", "words", "rows", "stride", "capacity"])
def list_active(
    source_p,
    from_p,
    to_p,
    word_p,
    active_p,
    listed_p,
    value_p,
    first,
    n_word,
    words,
    N,
    rows,
    stride,
    capacity,
    LISTED: tl.constexpr,
    VALUES: tl.constexpr,
    UNITS: tl.constexpr,
):
    """Lists some numbers, and the spikes, at the active entries of one block and word.

    Args:
        source_p: (rows, B, words * 32, N), or with LISTED (rows, stride): a list of them in another order.
        from_p: (B, n_word, blocks) where each block begins in that list; read with LISTED only.
        to_p: (B, n_word, blocks) where each block begins in the lists that are written.
        word_p, active_p: (B, n_word, N).
        listed_p: (rows, capacity), written.
        value_p: (capacity,) the spikes, written with VALUES.
        first: first word of the source.
        n_word: words of the whole recording.
        words: words of the source.
        N: units.
        rows: how many numbers of an entry.
        stride: from one row of the source to the next.
        capacity: entries that the lists have room for; what is beyond is left out.
    """
    b = tl.program_id(0).to(tl.int64)
    w = tl.program_id(1)
    block = tl.program_id(2)
    n = block * UNITS + tl.arange(0, UNITS)
    inside = n < N
    row = b * n_word + first + w
    left = tl.load(active_p + row * N + n, mask=inside, other=0)
    spikes = tl.load(word_p + row * N + n, mask=inside, other=0)
    at_block = row * tl.num_programs(2) + block
    to = places(left, tl.load(to_p + at_block))
    if LISTED:
        source = source_p + places(left, tl.load(from_p + at_block)).to(tl.int64)
    else:
        source = source_p + (b * words + w) * 32 * N + n
    while any_left(left):
        bit = lowest(left)
        wanted = (left != 0) & (to < capacity)
        for q in range(0, rows):
            row_q = tl.cast(q, tl.int64)
            at = source + row_q * stride
            if not LISTED:
                at += bit.to(tl.int64) * N
            number = tl.load(at, mask=wanted, other=0.0)
            tl.store(listed_p + row_q * capacity + to, number, mask=wanted)
        if LISTED:
            source += 1
        if VALUES:
            spike = ((spikes >> bit) & 1).to(value_p.dtype.element_ty)
            tl.store(value_p + to, spike, mask=wanted)
        to += 1
        left = left & (left - 1)
