"""Bits packed along time: counting and finding them (`spikes/words.py` has the layout)."""

from __future__ import annotations

import triton
import triton.language as tl


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
