"""Neurons of the form, backward: ε -> δ, and the gradients of learned numbers; one thread owns one neuron.

    δ[t] = b_S . λ[t+1]
    c[t] = g (ε[t] + <R, δ[t]> + kick . λ[t+1])       at active entries; R: recurrent weights
    λ[t] = A_S^T λ[t+1] + w (c[t] + ∂L/∂V[t])

With lag 0 read δ[t+1] for δ[t], but for R.
"""

from __future__ import annotations

import triton
import triton.language as tl

from sparsespike.backends.gpu.bits import any_left, places, places_from, popcount
from sparsespike.backends.gpu.dynamics.step import (
    inner,
    load_rows,
    load_unit,
    next_of,
    store_rows,
)


@triton.jit
def turned(adjoint, fired, unit, K: tl.constexpr, CHANGES: tl.constexpr):
    """A_S^T λ."""
    before = ()
    for j in tl.static_range(K):
        row = inner(unit[0], adjoint, j, K, K)
        if CHANGES:
            row += tl.where(fired, inner(unit[4], adjoint, j, K, K), 0.0)
        before += (row,)
    return before


@triton.jit
def sent(adjoint, fired, unit, K: tl.constexpr, SWALLOWS: tl.constexpr):
    """b_S . λ."""
    delta = inner(unit[1], adjoint, 0, 1, K)
    if SWALLOWS:
        delta += tl.where(fired, inner(unit[5], adjoint, 0, 1, K), 0.0)
    return delta


@triton.jit(do_not_specialize=["first", "n_word", "words", "steps", "n_watched", "n_active"])
def move_back(
    coefficient_p,
    slope_p,
    kick_p,
    constant_p,
    word_p,
    active_p,
    start_p,
    state_p,
    given_p,
    slot_p,
    record_p,
    weight_p,
    delta_p,
    first,
    n_word,
    words,
    steps,
    N,
    n_watched,
    n_active,
    K: tl.constexpr,
    LAG: tl.constexpr,
    SPIKING: tl.constexpr,
    CHANGES: tl.constexpr,
    SWALLOWS: tl.constexpr,
    KICKED: tl.constexpr,
    SQUARED: tl.constexpr,
    ATTACHED: tl.constexpr,
    ENDS: tl.constexpr,
    GIVEN: tl.constexpr,
    WATCHED: tl.constexpr,
    RECURRENT: tl.constexpr,
    UNITS: tl.constexpr,
):
    """Walks UNITS neurons of one sample back through the words first : first + words.

    With RECURRENT weights these are all neurons of the sample.

    Args:
        coefficient_p: (n_active,) ε g; overwritten by c if KICKED.
        slope_p: (n_active,) g; read if KICKED: the derivative of the states by a spike is not zero.
        kick_p: (K, n_active), what of it depends on the state; read if ATTACHED.
        constant_p: (n_rows, N) see `unit.py`.
        word_p: (B, n_word, N) the layer's spikes.
        active_p: (B, n_word, N).
        start_p: (B, n_word, blocks) where each block begins in the lists.
        state_p: (B, n_kept, N) λ one step after the segment; overwritten by λ at its first step. After the
            last step ∂L/∂ of the state, which with lag 0 is that of the last step itself, if ENDS.
        given_p: (B, N), S of the step before the first; read if GIVEN.
        slot_p: (N,) a neuron's column in `record_p`, -1 for none; read if WATCHED.
        record_p: (B, steps, n_watched) ∂L/∂V.
        weight_p: (N, N) from neuron to neuron, read if RECURRENT.
        delta_p: (B, words * 32, N), written.
        first, n_word, words, steps, N, n_watched: see `move`.
        n_active: how many entries are active.
    """
    b = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    n = block * UNITS + tl.arange(0, UNITS)
    inside = n < N
    shadow = tl.minimum(n, N - 1)
    unit = load_unit(constant_p + shadow, N, K, CHANGES, SWALLOWS)
    if KICKED:
        own_p = constant_p + (2 * K * K + 4 * K + 3) * N + shadow
        kick = load_rows(own_p, N, K)
        if SQUARED:
            product = load_rows(own_p + K * N, N, K)
    resumes: tl.constexpr = SPIKING and LAG == 0
    kept: tl.constexpr = K + 1 if resumes else K
    adjoint = load_rows(state_p + b * kept * N + shadow, N, K)
    if ENDS:
        passed = tl.load(state_p + (b * kept + K) * N + shadow)
    if WATCHED:
        slot = tl.load(slot_p + shadow)
        watched = (slot >= 0) & inside
    fired = tl.zeros((UNITS,), tl.int1)
    blocks = tl.cdiv(N, 64)
    weight_p += shadow
    to_p = delta_p + (b * words * 32 + words * 32 - 1) * N + n
    for i in range(0, words):
        w = first + words - 1 - i
        row = b * n_word + w
        exist = tl.minimum(steps - w * 32, 32)
        for _ in range(exist, 32):  # steps that do not: read as zero by what sums over whole words
            tl.store(to_p, tl.zeros((UNITS,), delta_p.dtype.element_ty), mask=inside)
            to_p -= N
        if SPIKING:
            spikes = tl.load(word_p + row * N + n, mask=inside, other=0)
            actives = tl.load(active_p + row * N + n, mask=inside, other=0)
            at = places_from(actives, start_p + row * blocks, block, N, UNITS)
            at += popcount(actives) - 1  # the last entry of the word
            if SWALLOWS and LAG == 0:
                # Of each step whether there was a spike one step before.
                earlier = tl.load(word_p + (row - 1) * N + n, mask=inside & (w > 0), other=0)
                carried = (earlier >> 31) & 1
                if GIVEN:
                    resumed = tl.load(given_p + b * N + shadow) > 0
                    carried = tl.where(w > 0, carried, resumed.to(tl.int32))
                shifted = (spikes << 1) | carried
        for r in range(0, exist):
            bit = exist - 1 - r
            if SPIKING:
                fired = ((spikes >> bit) & 1) != 0
            if LAG == 1:
                delta = sent(adjoint, fired, unit, K, SWALLOWS)
                tl.store(to_p, delta.to(delta_p.dtype.element_ty), mask=inside)
            if SPIKING:
                near = ((actives >> bit) & 1) != 0
                c = tl.load(coefficient_p + at, mask=near, other=0.0)
                if KICKED:
                    through = inner(kick, adjoint, 0, 1, K)
                    if SQUARED:
                        through -= tl.where(fired, inner(product, adjoint, 0, 1, K), 0.0)
                    if ATTACHED:
                        for j in tl.static_range(K):
                            far = tl.cast(n_active, tl.int64) * j
                            depends = tl.load(kick_p + far + at, mask=near, other=0.0)
                            through += depends * adjoint[j]
                    if RECURRENT:
                        sends = sent(adjoint, fired, unit, K, SWALLOWS)
                        # With lag 0 what the last step sends is the next call's.
                        arrives = inside & ((LAG == 1) | (w * 32 + bit < steps - 1))
                        sends = tl.where(arrives, sends, 0.0)
                        k = next_of(near, n, -1, UNITS)
                        while k < UNITS:
                            came = tl.sum(tl.load(weight_p + k * N) * sends, 0)
                            through = tl.where(n == k, through + came, through)
                            k = next_of(near, n, k, UNITS)
                    if ENDS:
                        through = tl.where(w * 32 + bit == steps - 1, passed, through)
                    g = tl.load(slope_p + at, mask=near, other=0.0)
                    c += g * through
                    tl.store(coefficient_p + at, c, mask=near)
                at -= near.to(tl.int32)
            before = turned(adjoint, fired, unit, K, CHANGES)
            if WATCHED:
                above_p = record_p + (b * steps + w * 32 + bit) * n_watched + slot
                above = tl.load(above_p, mask=watched, other=0.0)
                c = c + above if SPIKING else above
            now = ()
            for j in tl.static_range(K):
                row_j = before[j]
                if LAG == 0:  # what comes back of the state after the last step is λ there already
                    row_j = tl.where(w * 32 + bit == steps - 1, adjoint[j], row_j)
                now += (row_j + unit[2][j] * c,)
            adjoint = now
            if LAG == 0:
                if SPIKING and SWALLOWS:
                    fired = ((shifted >> bit) & 1) != 0
                delta = sent(adjoint, fired, unit, K, SWALLOWS)
                tl.store(to_p, delta.to(delta_p.dtype.element_ty), mask=inside)
            to_p -= N
    store_rows(state_p + b * kept * N + n, adjoint, N, inside, K)


@triton.jit(do_not_specialize=["n_word", "n_active", "n_learned"])
def add_up(
    coefficient_p,
    slope_p,
    active_p,
    start_p,
    number_p,
    n_word,
    N,
    n_active,
    n_learned,
    UNITS: tl.constexpr,
):
    """number[b, m, n] = Σ c ∂d/∂p_m over the active entries of neuron n in sample b.

    Args:
        coefficient_p: (n_active,) c.
        slope_p: (P, n_active) ∂d/∂p.
        active_p, start_p: see `move_back`.
        number_p: (B, P, N), written.
        n_word, N, n_active: see `move_back`.
        n_learned: P.
    """
    b = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    m = tl.program_id(2).to(tl.int64)
    n = block * UNITS + tl.arange(0, UNITS)
    inside = n < N
    own_p = slope_p + m * n_active
    total = tl.zeros((UNITS,), number_p.dtype.element_ty)
    for w in range(0, n_word):
        row = b * n_word + w
        left = tl.load(active_p + row * N + n, mask=inside, other=0)
        at = places(left, tl.load(start_p + row * tl.num_programs(1) + block))
        while any_left(left):
            wanted = left != 0
            c = tl.load(coefficient_p + at, mask=wanted, other=0.0)
            total += c * tl.load(own_p + at, mask=wanted, other=0.0)
            at += 1
            left = left & (left - 1)
    tl.store(number_p + (b * n_learned + m) * N + n, total, mask=inside)
