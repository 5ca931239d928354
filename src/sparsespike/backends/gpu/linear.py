"""`Linear` on the GPU: bits x W -> currents, bits x δ -> ∇W, δ x Wᵀ -> ε at the active inputs.

∇W and ε have two forms each, equal but for rounding: *dense* on tensor cores, over tiles whose 0
and 1 are made of bits on chip, and *sparse*, one row of δ read per spike or one dot product per
active input. `plan.py` chooses. All sums are in a fixed order: the same bits on every run.
"""

from __future__ import annotations

import triton
import triton.language as tl

from sparsespike.backends.gpu.bits import any_left, lowest, places, popcount, spread
from sparsespike.backends.gpu.precision import remainder, rounded


@triton.jit(do_not_specialize=["first", "n_word", "words"])
def currents(
    word_p,
    plane_p,
    bias_p,
    current_p,
    first,
    n_word,
    words,
    K,
    N,
    HAS_BIAS: tl.constexpr,
    PLANES: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """current[b, t, n] = Σ_k S[b, t, k] W[k, n] (+ bias[n]), the sum in eq. 2.

    Args:
        word_p: (B, n_word, K) input spikes.
        plane_p: (PLANES, K, N) weights.
        bias_p: (N,), read if HAS_BIAS.
        current_p: (B, words * 32, N), written.
        first, n_word, words: first word of the segment, words of the recording, words of the segment.
    """
    b = tl.program_id(0).to(tl.int64)
    w = tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W)
    n = tl.program_id(2) * BLOCK_N + tl.arange(0, BLOCK_N)
    rows: tl.constexpr = BLOCK_W * 32
    row = tl.program_id(1) * rows + tl.arange(0, rows)
    operand: tl.constexpr = plane_p.dtype.element_ty
    total = tl.zeros((rows, BLOCK_N), current_p.dtype.element_ty)
    word_p += (b * n_word + first) * K
    for k0 in range(0, K, BLOCK_K):
        k = k0 + tl.arange(0, BLOCK_K)
        in_words = (w[:, None] < words) & (k[None, :] < K)
        word = tl.load(word_p + w[:, None] * K + k[None, :], mask=in_words, other=0)
        spike = spread(word, rows).to(operand)
        in_weights = (k[:, None] < K) & (n[None, :] < N)
        for plane in tl.static_range(PLANES):
            at = (plane * K + k[:, None]) * N + n[None, :]
            weight = tl.load(plane_p + at, mask=in_weights, other=0.0)
            total = tl.dot(spike, weight, total, input_precision=PRECISION, out_dtype=total.dtype)
    if HAS_BIAS:
        bias = tl.load(bias_p + n, mask=n < N, other=0.0)
        total += bias[None, :].to(total.dtype)
    to_p = current_p + (b * words * 32 + row[:, None]) * N + n[None, :]
    tl.store(to_p, total, mask=(row[:, None] < words * 32) & (n[None, :] < N))


@triton.jit(do_not_specialize=["B", "first", "n_word", "words", "parts"])
def accumulate_dense(
    word_p,
    delta_p,
    part_p,
    B,
    first,
    n_word,
    words,
    K,
    N,
    parts,
    FRESH: tl.constexpr,
    PLANES: tl.constexpr,
    OPERAND: tl.constexpr,
    EMULATED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """part[z] (+)= Σ_{b, t in part z} S[b, t, k] δ[b, t, n]: ∇W by input events, on tensor cores.

    Args:
        word_p: (B, n_word, K) input spikes.
        delta_p: (B, words * 32, N).
        part_p: (parts, K, N), written if FRESH, else added to.
        first, n_word, words: see `currents`.
        parts: so many programs share the rows (sample, word).
    """
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    z = tl.program_id(2)
    step = tl.arange(0, 32)
    state: tl.constexpr = part_p.dtype.element_ty
    in_part = (k[:, None] < K) & (n[None, :] < N)
    to_p = part_p + (z.to(tl.int64) * K + k[:, None]) * N + n[None, :]
    if FRESH:
        total = tl.zeros((BLOCK_K, BLOCK_N), state)
    else:
        total = tl.load(to_p, mask=in_part, other=0.0)
    share = tl.cdiv(B * words, parts)
    for u in range(z * share, tl.minimum((z + 1) * share, B * words)):
        b = tl.cast(u // words, tl.int64)
        row = b * n_word + first + u % words
        word = tl.load(word_p + row * K + k, mask=k < K, other=0)
        spike = ((word[:, None] >> step[None, :]) & 1).to(OPERAND)
        at = (tl.cast(u, tl.int64) * 32 + step[:, None]) * N + n[None, :]
        delta = tl.load(delta_p + at, mask=n[None, :] < N, other=0.0)
        high = rounded(delta, OPERAND, EMULATED)
        total = tl.dot(spike, high, total, input_precision=PRECISION, out_dtype=total.dtype)
        if PLANES == 2:
            low = remainder(delta, high, OPERAND, EMULATED)
            total = tl.dot(spike, low, total, input_precision=PRECISION, out_dtype=total.dtype)
    tl.store(to_p, total, mask=in_part)


@triton.jit(do_not_specialize=["B", "first", "n_word", "words", "parts"])
def accumulate_sparse(
    word_p,
    delta_p,
    part_p,
    B,
    first,
    n_word,
    words,
    K,
    N,
    parts,
    FRESH: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """The same sum, one row of δ read per input spike; a program owns an input (`accumulate_dense`)."""
    k = tl.program_id(0)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    z = tl.program_id(2)
    state: tl.constexpr = part_p.dtype.element_ty
    to_p = part_p + (z.to(tl.int64) * K + k) * N + n
    if FRESH:
        total = tl.zeros((BLOCK_N,), state)
    else:
        total = tl.load(to_p, mask=n < N, other=0.0)
    share = tl.cdiv(B * words, parts)
    for u in range(z * share, tl.minimum((z + 1) * share, B * words)):
        b = tl.cast(u // words, tl.int64)
        word = tl.load(word_p + (b * n_word + first + u % words) * K + k)
        while word != 0:
            row = tl.cast(u, tl.int64) * 32 + lowest(word)
            total += tl.load(delta_p + row * N + n, mask=n < N, other=0.0).to(state)
            word = word & (word - 1)
    tl.store(to_p, total, mask=n < N)


@triton.jit(do_not_specialize=["first", "n_word", "words"])
def gather_dense(
    delta_p,
    plane_p,
    active_p,
    start_p,
    grad_p,
    first,
    n_word,
    words,
    K,
    N,
    PLANES: tl.constexpr,
    EMULATED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_N: tl.constexpr,
    UNITS: tl.constexpr,
):
    """ε[b, t, k] = Σ_n δ[b, t, n] W[k, n] at the active inputs (eq. 12), on tensor cores.

    Tiles without an active input are skipped.

    Args:
        delta_p: (B, words * 32, N).
        plane_p: (PLANES, K, N) weights.
        active_p: (B, n_word, K) active inputs.
        start_p: (B, n_word, blocks) where each block begins in `grad_p`.
        grad_p: (n_active_in,), written.
        first, n_word, words: see `currents`.
    """
    b = tl.program_id(0).to(tl.int64)
    w = tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W)
    block = tl.program_id(2)
    k = block * UNITS + tl.arange(0, UNITS)
    rows: tl.constexpr = BLOCK_W * 32
    operand: tl.constexpr = plane_p.dtype.element_ty
    state: tl.constexpr = grad_p.dtype.element_ty
    wanted_at = (b * n_word + first + w[:, None]) * K + k[None, :]
    in_words = (w[:, None] < words) & (k[None, :] < K)
    active = tl.load(active_p + wanted_at, mask=in_words, other=0)
    if tl.sum(tl.sum((active != 0).to(tl.int32), 1), 0) > 0:
        row = tl.program_id(1) * rows + tl.arange(0, rows)
        total = tl.zeros((rows, UNITS), state)
        for n0 in range(0, N, BLOCK_N):
            n = n0 + tl.arange(0, BLOCK_N)
            at = (b * words * 32 + row[:, None]) * N + n[None, :]
            in_delta = (row[:, None] < words * 32) & (n[None, :] < N)
            delta = tl.load(delta_p + at, mask=in_delta, other=0.0)
            in_weights = (k[None, :] < K) & (n[:, None] < N)
            weight_p = plane_p + k[None, :] * N + n[:, None]
            weight = tl.load(weight_p, mask=in_weights, other=0.0)
            high = rounded(delta, operand, EMULATED)
            total = tl.dot(high, weight, total, input_precision=PRECISION, out_dtype=total.dtype)
            if PLANES == 2:
                low = remainder(delta, high, operand, EMULATED)
                total = tl.dot(low, weight, total, input_precision=PRECISION, out_dtype=total.dtype)
                weight = tl.load(weight_p + K * N, mask=in_weights, other=0.0)
                total = tl.dot(
                    high, weight, total, input_precision=PRECISION, out_dtype=total.dtype
                )
        blocks = tl.num_programs(2)
        start_at = (b * n_word + first + w) * blocks + block
        start = tl.load(start_p + start_at, mask=w < words, other=0)
        count = popcount(active)
        begin = start[:, None] + tl.cumsum(count, 1) - count  # (W, UNITS)
        step = tl.arange(0, 32)
        below = (active[:, None, :] & ((1 << step[None, :, None]) - 1)).to(tl.int32)
        to = tl.reshape(begin[:, None, :] + popcount(below), (rows, UNITS))
        tl.store(grad_p + to, total, mask=spread(active, rows) != 0)


@triton.jit(do_not_specialize=["n_word"])
def list_entries(active_p, start_p, row_p, unit_p, n_word, K, UNITS: tl.constexpr):
    """Lists sample * n_word * 32 + step and unit of each active input, in the order of `value`."""
    b = tl.program_id(0).to(tl.int64)
    w = tl.program_id(1)
    block = tl.program_id(2)
    k = block * UNITS + tl.arange(0, UNITS)
    word_at = b * n_word + w
    left = tl.load(active_p + word_at * K + k, mask=k < K, other=0)
    to = places(left, tl.load(start_p + word_at * tl.num_programs(2) + block))
    while any_left(left):
        tl.store(row_p + to, word_at * 32 + lowest(left), mask=left != 0)
        tl.store(unit_p + to, k, mask=left != 0)
        to += 1
        left = left & (left - 1)


@triton.jit(do_not_specialize=["n_active", "first", "n_word", "words"])
def gather_sparse(
    delta_p,
    weight_p,
    row_p,
    unit_p,
    grad_p,
    n_active,
    first,
    n_word,
    words,
    N,
    BLOCK_E: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """The same sum as one dot product per active input, those that lie in the segment. See `gather_dense`.

    Args:
        weight_p: (K, N), in the dtype of `grad_p`.
        row_p, unit_p: (n_active,) see `list_entries`.
    """
    entry = tl.program_id(0).to(tl.int64) * BLOCK_E + tl.arange(0, BLOCK_E)
    known = entry < n_active
    row = tl.load(row_p + entry, mask=known, other=0)
    unit = tl.load(unit_p + entry, mask=known, other=0).to(tl.int64)
    b, step = row // (n_word * 32), row % (n_word * 32) - first * 32
    known = known & (step >= 0) & (step < words * 32)
    if tl.max(known.to(tl.int32), 0) != 0:
        from_p = delta_p + (b * words * 32 + step) * N
        total = tl.zeros((BLOCK_E,), grad_p.dtype.element_ty)
        for n0 in range(0, N, BLOCK_N):
            n = n0 + tl.arange(0, BLOCK_N)
            inside = known[:, None] & (n[None, :] < N)
            delta = tl.load(from_p[:, None] + n[None, :], mask=inside, other=0.0)
            weight = tl.load(weight_p + unit[:, None] * N + n[None, :], mask=inside, other=0.0)
            total += tl.sum(delta.to(total.dtype) * weight, 1)
        tl.store(grad_p + entry, total, mask=known)
