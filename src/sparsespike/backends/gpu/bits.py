"""Bits packed along time: counting and finding them (`spikes/words.py` has the layout)."""

from __future__ import annotations

import triton
import triton.language as tl

from sparsespike.spikes import words

BLOCK = tl.constexpr(words.UNITS)


@triton.jit
def popcount(word):
    """Bits set in each int32 word; LLVM makes one POPC of it."""
    bits = word.to(tl.uint32, bitcast=True)
    bits = bits - ((bits >> 1) & 0x55555555)
    bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F
    return ((bits * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def lowest(word):
    """Position of the lowest bit set, in [0, 32); 32 for none."""
    return popcount((word & (0 - word)) - 1)


@triton.jit
def any_left(word):
    """Whether a bit is set in any word of a block."""
    return tl.max((word != 0).to(tl.int32), 0) != 0


@triton.jit
def spread(word, ROWS: tl.constexpr):
    """(W, N) words -> (W * 32, N) of 0 and 1, row after row of time."""
    step = tl.arange(0, 32)
    bit = (word[:, None, :] >> step[None, :, None]) & 1
    return tl.reshape(bit, (ROWS, word.shape[1]))


@triton.jit
def places(word, start):
    """Index in `value` of the first entry of each word of a block whose run begins at `start`."""
    count = popcount(word)
    return start + tl.cumsum(count, 0) - count


@triton.jit
def places_from(word, start_p, block, N, UNITS: tl.constexpr):
    """As `places`, of UNITS units from the block on, a multiple of 64; start_p: of this row's blocks."""
    if UNITS == BLOCK:
        return places(word, tl.load(start_p + block))
    else:
        each = tl.arange(0, UNITS // BLOCK)
        start = tl.load(start_p + block + each, mask=each * BLOCK < N, other=0)
        count = tl.reshape(popcount(word), (UNITS // BLOCK, BLOCK))
        return tl.reshape(start[:, None] + tl.cumsum(count, 1) - count, (UNITS,))


@triton.jit
def store_counts(count_p, word, block, N, UNITS: tl.constexpr):
    """Stores how many bits are set in each block of 64 of UNITS units; count_p: of this row's blocks."""
    if UNITS == BLOCK:
        tl.store(count_p + block, tl.sum(popcount(word), 0))
    else:
        each = tl.arange(0, UNITS // BLOCK)
        count = tl.sum(tl.reshape(popcount(word), (UNITS // BLOCK, BLOCK)), 1)
        tl.store(count_p + block + each, count, mask=each * BLOCK < N)
