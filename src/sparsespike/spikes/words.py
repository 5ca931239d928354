"""`Words`, how the GPU stores spikes: bits packed along time, 32 steps of one unit to an int32.

    word[b, t // 32, n], bit t % 32        whether unit n of sample b spikes at step t

and the same for the active entries (eq. 7). Packed along time no bit ever crosses from one thread to
another: a thread owns a unit. `value` of a `Spikes` is in the order of the bits: sample, word, unit, step.

Those of graded spikes lie in L >= 1 layers (`layers.py`): word[l * B + b].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sparsespike.spikes.layers import layered
from sparsespike.spikes.lists import Shape

STEPS = 32  # of a word
UNITS = 64  # of a block: the kernels find a block's first active entry in `start`, the others by counting


class Words(NamedTuple):
    """Spikes and active entries as bits; where they are graded, B stands for L * B.

    Attributes:
        word: (B, ceil(T / 32), N) int32, bits of the spikes; none beyond T.
        total: (2,) int64 on the CPU, the number of spikes and of active entries; (0,) where nobody has
            counted, as counting makes the host wait for the device.
        active: (B, ceil(T / 32), N) int32, bits of the active entries; (0,) for plain input.
        start: (B, ceil(T / 32), ceil(N / 64)) int32, index in `value` of the first active entry of
            each block of units; (0,) where `value` is not kept.
    """

    word: Tensor
    total: Tensor
    active: Tensor
    start: Tensor

    @staticmethod
    def of(
        entry: Tensor, active: Tensor | None, shape: Shape, graded: bool = False
    ) -> tuple[Words, Tensor | None]:
        """Words of entries, and the order in which the active ones come; see `Lists.of`.

        Where they are graded, an entry that comes again goes to the next layer; spikes and active entries
        each by themselves, so that there are as few layers as may be.
        """
        if graded:
            entry, active, shape = layered(entry, active, shape)
        word = _pack(entry, shape)[0]
        nothing = word.new_empty(0)
        n_active = 0 if active is None else len(active)
        total = torch.tensor([len(entry), n_active])
        if active is None:
            return Words(word, total, nothing, nothing), None
        bits, place = _pack(active, shape)
        return Words(word, total, bits, starts(bits)), torch.argsort(place)

    @property
    def device(self) -> torch.device:
        """Where the words are."""
        return self.word.device

    def to(self, device: torch.device) -> Words:
        """The words on another device; `total` stays, as it is the host that counts."""
        return Words(
            self.word.to(device), self.total, self.active.to(device), self.start.to(device)
        )

    @property
    def has_active(self) -> bool:
        """Whether there is an active set, be it empty."""
        return self.active.dim() == 3

    def n_spikes(self) -> int:
        """Number of spikes; counts them where nobody has."""
        return int(self.total[0]) if len(self.total) else int(popcount(self.word).sum())

    def n_active(self) -> int:
        """Number of active entries; counts them where nobody has."""
        return int(self.total[1]) if len(self.total) else int(popcount(self.active).sum())

    def n_layers(self, shape: Shape) -> int:
        """How many layers there are, for spikes of (B, T, N): 1 unless they are graded."""
        return max(1, self.word.numel() // max(1, shape[0] * n_words(shape[1]) * shape[2]))

    def layers(self, shape: Shape) -> tuple[list[Words], list[int]]:
        """The words of every layer, and how many active entries it has; the host waits for their number."""
        n_layer, nothing = self.n_layers(shape), self.word.new_empty(0)
        n_spikes = popcount(self.word).view(n_layer, -1).sum(1)
        n_active, active, start = (
            torch.zeros_like(n_spikes),
            [nothing] * n_layer,
            [nothing] * n_layer,
        )
        if self.has_active:
            n_active = popcount(self.active).view(n_layer, -1).sum(1)
            active = self.active.chunk(n_layer)
        if len(self.start):
            before = (n_active.cumsum(0) - n_active).repeat_interleave(shape[0])
            start = (self.start - before[:, None, None].to(torch.int32)).chunk(n_layer)
        totals = torch.stack([n_spikes, n_active], 1).cpu()
        parts = zip(self.word.chunk(n_layer), totals, active, start, strict=True)
        return [Words(*part) for part in parts], totals[:, 1].tolist()

    def entry(self, shape: Shape) -> Tensor:
        """(n_spikes,) int64: the entries (b * T + t) * N + n that hold a spike."""
        return self._entries(self.word, shape)

    def active_entry(self, shape: Shape) -> Tensor:
        """(n_active,) int64: the active entries, in the order of `value`."""
        return (
            self._entries(self.active, shape) if self.has_active else self.word.new_empty(0).long()
        )

    def _entries(self, bits: Tensor, shape: Shape) -> Tensor:
        entry = _entries(bits, shape)
        return entry if self.n_layers(shape) == 1 else entry % math.prod(shape)

    def samples(self, start: int, stop: int, shape: Shape) -> tuple[Words, slice | Tensor]:
        """The words of samples start:stop, and which active entries these are."""
        if self.n_layers(shape) > 1:
            return self.taken(torch.arange(start, stop, device=self.device), shape)
        nothing, uncounted = self.word.new_empty(0), torch.empty(0, dtype=torch.int64)
        part = Words(self.word[start:stop], uncounted, nothing, nothing)
        if not self.has_active:
            return part, slice(0, 0)
        part = part._replace(active=self.active[start:stop])
        if not len(self.start):
            return part, slice(0, 0)
        kept = slice(self._before(start), self._before(stop))
        return part._replace(start=self.start[start:stop] - kept.start), kept

    def _before(self, sample: int) -> int:
        """How many values there are of the samples before this one."""
        return int(self.start[sample, 0, 0]) if sample < len(self.start) else self.n_active()

    def check(self, shape: Shape, n_value: int, graded: bool = False) -> None:
        """Compares shapes, dtypes and layouts with (B, T, N) and the number of values.

        Args:
            shape: (B, T, N).
            n_value: how many values there are.
            graded: whether there may be several layers.

        Raises:
            ValueError: naming the tensor that does not fit.
        """
        n_layer = self.n_layers(shape) if graded else 1
        words = n_layer * shape[0], n_words(shape[1]), shape[2]
        expected = {"word": words}
        if self.has_active:
            expected["active"] = words
        if len(self.start):
            expected["start"] = (*words[:2], n_blocks(shape[2]))
        elif n_value:
            raise ValueError(
                f"start: expected where each block's values begin, found {n_value} values"
            )
        for name, size in expected.items():
            part = getattr(self, name)
            if part.shape != size or part.dtype is not torch.int32 or not part.is_contiguous():
                raise ValueError(
                    f"{name}: expected {size} int32 side by side, "
                    f"found {tuple(part.shape)} of {part.dtype}"
                )
        if n_value and len(self.total) and n_value != int(self.total[1]):
            raise ValueError(
                f"value: expected {int(self.total[1])}, one per active entry, found {n_value}"
            )

    def taken(self, sample: Tensor, shape: Shape) -> tuple[Words, Tensor]:
        """The words of some samples, (b,) int64 on their device; and which active entries these are."""
        layer = torch.arange(self.n_layers(shape), device=self.device)
        return self._rows((layer[:, None] * shape[0] + sample).flatten())

    def _rows(self, sample: Tensor) -> tuple[Words, Tensor]:
        """As `taken`, of words without layers."""
        nothing, uncounted = self.word.new_empty(0), torch.empty(0, dtype=torch.int64)
        part = Words(self.word[sample], uncounted, nothing, nothing)
        if not self.has_active:
            return part, sample.new_empty(0)
        part = part._replace(active=self.active[sample])
        if not len(self.start):
            return part, sample.new_empty(0)
        length = popcount(self.active).sum((1, 2))  # (B,), and the values of a sample lie together
        before = length.cumsum(0) - length
        length = length[sample]
        moved = before[sample] - (length.cumsum(0) - length)
        n = int(length.sum())
        kept = torch.arange(n, device=self.device)
        kept = kept + torch.repeat_interleave(moved, length, output_size=n)
        return part._replace(start=starts(part.active)), kept

    def steps(self, start: int, stop: int, shape: Shape) -> tuple[Words, Tensor]:
        """The words of the steps start:stop of each sample, and which active entries these are."""
        cut = shape[0], stop - start, shape[2]
        graded = self.n_layers(shape) > 1
        entry, _ = _cut(self.entry(shape), start, stop, shape)
        if not self.has_active:
            return Words.of(entry, None, cut, graded)[0], entry.new_empty(0)
        active, kept = _cut(self.active_entry(shape), start, stop, shape)
        words, order = Words.of(entry, active, cut, graded)
        if not len(self.start):
            return words._replace(start=self.start), entry.new_empty(0)
        return words, kept[order]

    @staticmethod
    def stacked(
        parts: Sequence[Words], shapes: Sequence[Shape], with_value: Sequence[bool]
    ) -> tuple[Words, Tensor | None]:
        """The words of several batches, one after the other.

        Args:
            parts: of the same steps and units.
            shapes: of each, (B, T, N).
            with_value: whether the values of each are kept; where they are of some, only the active
                entries of these stay.

        Returns:
            The words, and the order in which the values come, those of one part after those of another;
            None: in this order.
        """
        counts = [part.n_layers(shape) for part, shape in zip(parts, shapes, strict=True)]
        n_layer, rows, first = max(counts), [], 0
        if n_layer > 1:
            # Rows of zeros for the layers that a part lacks; then layer by layer, each of all parts.
            parts = [
                part._padded((n_layer - n) * shape[0])
                for part, shape, n in zip(parts, shapes, counts, strict=True)
            ]
            for part in parts:
                row = torch.arange(first, first + len(part.word), device=part.device)
                rows.append(row.view(n_layer, -1))
                first += len(part.word)
        stacked = Words._stacked(parts, with_value)
        return (stacked, None) if n_layer == 1 else stacked._rows(torch.cat(rows, 1).flatten())

    def _padded(self, rows: int) -> Words:
        """With so many more rows, in which there is nothing."""
        below = 0, 0, 0, 0, 0, rows
        active = functional.pad(self.active, below) if self.has_active else self.active
        return self._replace(word=functional.pad(self.word, below), active=active)

    @staticmethod
    def _stacked(parts: Sequence[Words], with_value: Sequence[bool]) -> Words:
        word = torch.cat([part.word for part in parts])
        nothing, uncounted = word.new_empty(0), torch.empty(0, dtype=torch.int64)
        stacked = Words(word, uncounted, nothing, nothing)
        if not any(part.has_active for part in parts):
            return stacked
        valued = any(with_value)
        bits = [
            part.active
            if part.has_active and (has_value or not valued)
            else torch.zeros_like(part.word)
            for part, has_value in zip(parts, with_value, strict=True)
        ]
        active = torch.cat(bits)
        return stacked._replace(active=active, start=starts(active) if valued else nothing)

    def plain(self) -> Words:
        """The same spikes without active set."""
        nothing = self.word.new_empty(0)
        return Words(self.word, torch.empty(0, dtype=torch.int64), nothing, nothing)


def n_words(steps: int) -> int:
    """How many words hold so many steps."""
    return -(-steps // STEPS)


def n_blocks(units: int) -> int:
    """How many blocks hold so many units."""
    return -(-units // UNITS)


def popcount(word: Tensor) -> Tensor:
    """Bits set in each word: int32 -> int32, any shape."""
    bits = word.to(torch.int64) & 0xFFFFFFFF  # unsigned, so that shifts bring in zeros
    bits = bits - ((bits >> 1) & 0x55555555)
    bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F
    return (((bits * 0x01010101) >> 24) & 0xFF).to(torch.int32)


def starts(active: Tensor) -> Tensor:
    """The `start` of (B, W, N) active words: an exclusive sum over blocks.

    Raises:
        ValueError: if there are 2^31 active entries or more, too many for its int32.
    """
    n_batch, n_word, n_unit = active.shape
    blocks = n_blocks(n_unit)
    padded = functional.pad(popcount(active), (0, blocks * UNITS - n_unit))
    counts = padded.view(n_batch, n_word, blocks, UNITS).sum(3).flatten()
    ends = counts.cumsum(0)
    if len(ends) and int(ends[-1]) >= 2**31:
        raise ValueError(f"spikes: expected fewer than 2^31 active entries, found {int(ends[-1])}")
    return (ends - counts).to(torch.int32).view(n_batch, n_word, blocks)


def _pack(entry: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Words with the bits of distinct entries set, and each entry's place in the order of bits."""
    n_batch, n_step, n_unit = shape
    n_word = n_words(n_step)
    row, unit = torch.div(entry, n_unit, rounding_mode="floor"), entry % n_unit
    sample, step = torch.div(row, n_step, rounding_mode="floor"), row % n_step
    index = (sample * n_word + torch.div(step, STEPS, rounding_mode="floor")) * n_unit + unit
    bit = step % STEPS
    word = torch.zeros(n_batch * n_word * n_unit, dtype=torch.int32, device=entry.device)
    word.scatter_add_(0, index, torch.bitwise_left_shift(1, bit).to(torch.int32))
    return word.view(n_batch, n_word, n_unit), index * STEPS + bit


def _cut(entry: Tensor, start: int, stop: int, shape: Shape) -> tuple[Tensor, Tensor]:
    """The entries in the steps start:stop, of (B, stop - start, N); and where they were."""
    _, n_step, n_unit = shape
    row = torch.div(entry, n_unit, rounding_mode="floor")
    step = row % n_step
    kept = ((step >= start) & (step < stop)).nonzero()[:, 0]
    sample = torch.div(row[kept], n_step, rounding_mode="floor")
    row = sample * (stop - start) + step[kept] - start
    return row * n_unit + entry[kept] % n_unit, kept


def _entries(word: Tensor, shape: Shape) -> Tensor:
    """The entries of all bits set, in the order of bits."""
    _, n_step, n_unit = shape
    flat = word.flatten()
    index = flat.nonzero()[:, 0]
    bits = (flat[index, None] >> torch.arange(STEPS, device=word.device)) & 1
    which, bit = bits.nonzero(as_tuple=True)
    row, unit = torch.div(index[which], n_unit, rounding_mode="floor"), index[which] % n_unit
    n_word = n_words(n_step)
    sample = torch.div(row, n_word, rounding_mode="floor")
    step = (row % n_word) * STEPS + bit
    return (sample * n_step + step) * n_unit + unit
