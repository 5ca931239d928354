"""Max pooling of words: one operation on a word is one of 32 steps.

At every step the *peak* of a window is its first tap, row by row, that spikes; where none does, the
first inside the image (`spikes/windows.py`). Going through the taps in that order, the steps at
which none has spiked yet are a word, and so are the steps at which a tap is the peak.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsespike.backends.gpu.bits import any_left, places, popcount
from sparsespike.spikes.windows import Windows
from sparsespike.spikes.words import UNITS, Words, n_blocks


def max_pool(words: Words, windows: Windows) -> tuple[Words, Tensor]:
    """Pooled words, and (n_active_out,) int64 which active input entry each active one is the peak of.

    Where values are kept, the host waits for the device once, to learn how many there are. Words
    without values stay without, and are not counted.

    Raises:
        ValueError: if there are 2^31 active entries or more, too many for int32.
    """
    n_batch, n_word, n_in = words.word.shape
    n_out, listed = windows.n_out, len(words.start) > 0
    grid, layout = (n_batch, n_word, n_blocks(n_out)), _layout(windows)
    word = words.word.new_empty((n_batch, n_word, n_out))
    active = torch.empty_like(word) if words.has_active else words.active
    count = word.new_empty((2, *grid)) if listed else words.start
    pool_words[grid](
        words.word,
        words.active,
        word,
        active,
        count,
        n_word,
        n_batch * n_word * n_blocks(n_out),
        n_in,
        n_out,
        *layout,
        ACTIVE=words.has_active,
        COUNTED=listed,
        UNITS=UNITS,
        num_warps=UNITS // 32,
    )
    source = torch.empty(0, dtype=torch.int64, device=word.device)
    if not listed:
        return Words(word, torch.empty(0, dtype=torch.int64), active, words.start), source
    n_spikes, n_active = counted(count)
    if n_active >= 2**31:
        raise ValueError(f"spikes: expected fewer than 2^31 active entries, found {n_active}")
    ends = count[1].flatten().cumsum(0, dtype=torch.int32).view(grid)
    pooled = Words(word, torch.tensor([n_spikes, n_active]), active, ends - count[1])
    begin = torch.empty_like(words.word)
    place_words[(n_batch, n_word, n_blocks(n_in))](
        words.active, words.start, begin, n_word, n_in, UNITS=UNITS, num_warps=UNITS // 32
    )
    source = source.new_empty(n_active)
    list_peaks[grid](
        words.word,
        words.active,
        begin,
        word,
        active,
        pooled.start,
        source,
        n_word,
        n_in,
        n_out,
        *layout,
        UNITS=UNITS,
        num_warps=UNITS // 32,
    )
    return pooled, source


def counted(count: Tensor) -> tuple[int, int]:
    """Spikes and active entries, of (2, B, n_word, blocks) counts; the host waits for the device."""
    n_spikes, n_active = count.flatten(1).sum(1).tolist()
    return n_spikes, n_active


def _layout(windows: Windows) -> tuple[int, ...]:
    """The windows' numbers as `tapped` takes them, after the number of taps."""
    rows, columns = windows.rows, windows.columns
    return (
        rows.kernel * columns.kernel,
        *(rows.size, columns.size, rows.n_out, columns.n_out, columns.kernel),
        *(rows.stride, columns.stride, rows.padding, columns.padding),
        *(rows.dilation, columns.dilation),
    )


@triton.jit
def tapped(
    n, tap, H, W, OUT_H, OUT_W, KERNEL_W, stride_y, stride_x, above, left, dilation_y, dilation_x
):
    """The input units under a tap of the windows `n`, and whether they are inside the image.

    Args:
        n: window, in the order of units (C, OUT_H, OUT_W).
        tap: number of the tap, row by row.
        H, W: of the image.
        KERNEL_W: taps in a row.
        above, left: padding.
    """
    y = n // OUT_W % OUT_H * stride_y - above + tap // KERNEL_W * dilation_y
    x = n % OUT_W * stride_x - left + tap % KERNEL_W * dilation_x
    inside = (y >= 0) & (y < H) & (x >= 0) & (x < W)
    return (n // (OUT_H * OUT_W) * H + y) * W + x, inside


@triton.jit(do_not_specialize=["n_word", "n_count", "n_tap"])
def pool_words(
    word_p,
    active_p,
    to_p,
    to_active_p,
    count_p,
    n_word,
    n_count,
    K,
    N,
    n_tap,
    H,
    W,
    OUT_H,
    OUT_W,
    KERNEL_W,
    stride_y,
    stride_x,
    above,
    left,
    dilation_y,
    dilation_x,
    ACTIVE: tl.constexpr,
    COUNTED: tl.constexpr,
    UNITS: tl.constexpr,
):
    """Spikes, and the steps at which the peak is active, of one block of windows in one word.

    Args:
        word_p: (B, n_word, K) input spikes, K = C * H * W.
        active_p: (B, n_word, K) active inputs, read if ACTIVE.
        to_p, to_active_p: (B, n_word, N) written, the second if ACTIVE; N = C * OUT_H * OUT_W.
        count_p: (2, B, n_word, blocks), written if COUNTED: spikes and active entries of each block.
        n_count: B * n_word * blocks.
        n_tap and what follows: see `tapped`.
    """
    row = tl.program_id(0).to(tl.int64) * n_word + tl.program_id(1)
    block = tl.program_id(2)
    n = block * UNITS + tl.arange(0, UNITS)
    spikes = tl.zeros((UNITS,), tl.int32)
    actives = tl.zeros((UNITS,), tl.int32)
    first = tl.zeros((UNITS,), tl.int32)  # active steps of the first tap inside
    unseen = n < N
    for tap in range(0, n_tap):
        k, inside = tapped(
            n, tap, H, W, OUT_H, OUT_W, KERNEL_W,
            stride_y, stride_x, above, left, dilation_y, dilation_x,
        )  # fmt: skip
        inside = inside & (n < N)
        word = tl.load(word_p + row * K + k, mask=inside, other=0)
        if ACTIVE:
            active = tl.load(active_p + row * K + k, mask=inside, other=0)
            actives |= active & word & ~spikes
            first = tl.where(unseen, active, first)
            unseen = unseen & ~inside
        spikes |= word
    tl.store(to_p + row * N + n, spikes, mask=n < N)
    if ACTIVE:
        actives |= first & ~spikes
        tl.store(to_active_p + row * N + n, actives, mask=n < N)
    if COUNTED:
        at_block = row * tl.num_programs(2) + block
        tl.store(count_p + at_block, tl.sum(popcount(spikes), 0))
        tl.store(count_p + n_count + at_block, tl.sum(popcount(actives), 0))


@triton.jit(do_not_specialize=["n_word"])
def place_words(active_p, start_p, begin_p, n_word, K, UNITS: tl.constexpr):
    """begin[b, w, k] = index in `value` of the first active entry of each word of a block.

    Args:
        active_p: (B, n_word, K) active entries.
        start_p: (B, n_word, blocks) where each block begins.
        begin_p: (B, n_word, K), written.
    """
    row = tl.program_id(0).to(tl.int64) * n_word + tl.program_id(1)
    block = tl.program_id(2)
    k = block * UNITS + tl.arange(0, UNITS)
    active = tl.load(active_p + row * K + k, mask=k < K, other=0)
    start = tl.load(start_p + row * tl.num_programs(2) + block)
    tl.store(begin_p + row * K + k, places(active, start), mask=k < K)


@triton.jit(do_not_specialize=["n_word", "n_tap"])
def list_peaks(
    word_p,
    active_p,
    begin_p,
    to_p,
    to_active_p,
    to_start_p,
    source_p,
    n_word,
    K,
    N,
    n_tap,
    H,
    W,
    OUT_H,
    OUT_W,
    KERNEL_W,
    stride_y,
    stride_x,
    above,
    left,
    dilation_y,
    dilation_x,
    UNITS: tl.constexpr,
):
    """Lists which active input each active entry of one block of windows in one word is the peak of.

    Args:
        word_p, active_p: (B, n_word, K) input.
        begin_p: (B, n_word, K) see `place_words`.
        to_p, to_active_p: (B, n_word, N) output, see `pool_words`.
        to_start_p: (B, n_word, blocks) where each block of the output begins in `source_p`.
        source_p: (n_active_out,), written.
        n_tap and what follows: see `tapped`.
    """
    row = tl.program_id(0).to(tl.int64) * n_word + tl.program_id(1)
    block = tl.program_id(2)
    n = block * UNITS + tl.arange(0, UNITS)
    silent = ~tl.load(to_p + row * N + n, mask=n < N, other=0)
    actives = tl.load(to_active_p + row * N + n, mask=n < N, other=0)
    to = places(actives, tl.load(to_start_p + row * tl.num_programs(2) + block))
    found = tl.zeros((UNITS,), tl.int32)  # steps at which a tap before has spiked
    unseen = n < N
    for tap in range(0, n_tap):
        k, inside = tapped(
            n, tap, H, W, OUT_H, OUT_W, KERNEL_W,
            stride_y, stride_x, above, left, dilation_y, dilation_x,
        )  # fmt: skip
        inside = inside & (n < N)
        word = tl.load(word_p + row * K + k, mask=inside, other=0)
        active = tl.load(active_p + row * K + k, mask=inside, other=0)
        begin = tl.load(begin_p + row * K + k, mask=inside, other=0)
        peak = (word & ~found) | tl.where(unseen, silent, 0)
        remaining = active & peak
        while any_left(remaining):
            below = (remaining & (0 - remaining)) - 1  # the steps before the next
            source = (begin + popcount(active & below)).to(tl.int64)
            tl.store(source_p + to + popcount(actives & below), source, mask=remaining != 0)
            remaining = remaining & (remaining - 1)
        found |= word
        unseen = unseen & ~inside
