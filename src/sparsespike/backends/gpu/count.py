"""Spike counts on the GPU, and their gradient."""

from __future__ import annotations

import triton
import triton.language as tl

from sparsespike.backends.gpu.bits import any_left, places, popcount


@triton.jit(do_not_specialize=["n_word"])
def count(word_p, total_p, n_word, N, UNITS: tl.constexpr):
    """total[b, n] = Σ_t S[b, t, n] for one block of units of one sample."""
    b = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    total = tl.zeros((UNITS,), tl.int32)
    for w in range(0, n_word):
        total += popcount(tl.load(word_p + (b * n_word + w) * N + n, mask=n < N, other=0))
    tl.store(total_p + b * N + n, total.to(total_p.dtype.element_ty), mask=n < N)


@triton.jit(do_not_specialize=["n_word"])
def count_back(grad_p, active_p, start_p, to_p, n_word, N, UNITS: tl.constexpr):
    """The gradient of its unit's count at each active entry of one block and word.

    Args:
        grad_p: (B, N).
        active_p: (B, n_word, N).
        start_p: (B, n_word, blocks) where each block begins in `to_p`.
        to_p: (n_active,), written.
    """
    b = tl.program_id(0).to(tl.int64)
    w = tl.program_id(1)
    block = tl.program_id(2)
    n = block * UNITS + tl.arange(0, UNITS)
    row = b * n_word + w
    left = tl.load(active_p + row * N + n, mask=n < N, other=0)
    grad = tl.load(grad_p + b * N + n, mask=n < N, other=0.0)
    to = places(left, tl.load(start_p + row * tl.num_programs(2) + block))
    while any_left(left):
        tl.store(to_p + to, grad, mask=left != 0)
        to += 1
        left = left & (left - 1)
