"""Neurons of the form, forward: currents -> spikes, potentials, eligibilities; one thread owns one neuron.

A thread keeps its neuron's numbers (`unit.py`), the k states and an eligibility in registers (`step.py`).
"""

from __future__ import annotations

import triton
import triton.language as tl

from sparsespike.backends.gpu.bits import places_from, popcount, store_counts
from sparsespike.backends.gpu.dynamics.step import (
    brought,
    inner,
    jumps,
    levels,
    load_rows,
    load_unit,
    moved,
    store_rows,
    traced,
)


@triton.jit(
    do_not_specialize=[
        "first", "n_word", "words", "steps", "looks_from", "n_count", "n_watched", "capacity",
    ]
)  # fmt: skip
def move(
    current_p,
    state_p,
    constant_p,
    word_p,
    active_p,
    count_p,
    kick_p,
    pool_p,
    pool_start_p,
    slot_p,
    record_p,
    weight_p,
    total_p,
    first,
    n_word,
    words,
    steps,
    looks_from,
    N,
    n_count,
    n_watched,
    capacity,
    K: tl.constexpr,
    LAG: tl.constexpr,
    SPIKING: tl.constexpr,
    CHANGES: tl.constexpr,
    SWALLOWS: tl.constexpr,
    RECORDED: tl.constexpr,
    KICKS: tl.constexpr,
    LATE: tl.constexpr,
    WATCHED: tl.constexpr,
    RECURRENT: tl.constexpr,
    TOTALS: tl.constexpr,
    AHEAD: tl.constexpr,
    UNITS: tl.constexpr,
):
    """Walks UNITS neurons of one sample through the words first : first + words.

    With RECURRENT weights these are all neurons of the sample, as they wait for each other at every step.

    Args:
        current_p: (B, words * 32, N) currents; V is written over them where active, if RECORDED.
        state_p: (B, n_kept, N) the state (`Cell.state`) at the first step; overwritten by that of the end.
        constant_p: (n_rows, N) see `unit.py`.
        word_p, active_p: (B, n_word, N), written if SPIKING.
        count_p: (2, B, n_word, blocks), written if RECORDED: spikes and active entries of each block.
        kick_p: (K, B, words * 32, N), written where active, if KICKS: the derivative of the next states by a
            spike, as far as it depends on the state.
        pool_p, pool_start_p: (K, capacity) the same of the segments before, listed, and where each block
            begins (`listing.py`); of the last step before this segment it is written here, if LATE: with lag
            0 an input that a spike swallows comes one step after it.
        slot_p: (N,) a neuron's column in `record_p`, -1 for none; read if WATCHED.
        record_p: (B, steps, n_watched), written if WATCHED: V.
        weight_p: (N, N) from neuron to neuron, read if RECURRENT.
        total_p: (B, words * 32, N), written if TOTALS: the currents with what the neurons themselves bring.
        first: first word.
        n_word: words of the whole recording.
        words: words of this segment.
        steps: T.
        looks_from: first step at which neurons may fire.
        N: neurons.
        n_count: B * n_word * blocks.
        n_watched: columns of `record_p`.
        capacity: of the pool.
    """
    b = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    n = block * UNITS + tl.arange(0, UNITS)
    inside = n < N
    shadow = tl.minimum(n, N - 1)  # idle lanes compute what the last neuron does: no masks on loads
    unit = load_unit(constant_p + shadow, N, K, CHANGES, SWALLOWS)
    theta, rest, b_th = levels(constant_p + shadow, N, K)
    resumes: tl.constexpr = SPIKING and LAG == 0
    kept: tl.constexpr = K + 1 if resumes else K
    s = load_rows(state_p + b * kept * N + shadow, N, K)
    fired = tl.zeros((UNITS,), tl.int1)
    near = tl.zeros((UNITS,), tl.int1)
    if resumes:
        fired = tl.load(state_p + (b * kept + K) * N + shadow) > 0
    if WATCHED:
        slot = tl.load(slot_p + shadow)
        watched = (slot >= 0) & inside
        to_record_p = record_p + (b * steps + first * 32) * n_watched + slot
    x_p = current_p + b * words * 32 * N + shadow
    if KICKS:
        far = tl.num_programs(0).to(tl.int64) * words * 32 * N  # from row to row
        to_kick_p = kick_p + (b * words * 32 - (1 - LAG)) * N + n
    blocks = tl.cdiv(N, 64)
    weight_p += shadow
    to_total_p = total_p + b * words * 32 * N + n
    if LATE:
        row = b * n_word + first - 1
        before = tl.load(active_p + row * N + n, mask=inside, other=0)
        last = places_from(before, pool_start_p + row * blocks, block, N, UNITS)
        last += popcount(before) - 1  # the last entry of the word before
        due = (before < 0) & (last < capacity)
        x = tl.load(x_p)
        if RECURRENT:
            x += brought(fired & inside, weight_p, x, n, N, UNITS)
        for i in tl.static_range(K):
            late = jumps(i, s, x, unit, K, CHANGES, SWALLOWS)
            tl.store(pool_p + tl.cast(capacity, tl.int64) * i + last, late, mask=due)
    for w in range(0, words):
        spikes = tl.zeros((UNITS,), tl.int32)
        actives = tl.zeros((UNITS,), tl.int32)
        left = steps - (first + w) * 32
        for part in range(0, tl.minimum(left, 32), AHEAD):
            ahead = load_rows(x_p, N, AHEAD)  # on their way before the steps that need them
            for i in tl.static_range(AHEAD):
                x = ahead[i]
                exists = part + i < left
                if LAG == 0:
                    if RECURRENT:
                        x += brought(fired & inside & exists, weight_p, x, n, N, UNITS)
                    if KICKS:
                        for j in tl.static_range(K):
                            amount = jumps(j, s, x, unit, K, CHANGES, SWALLOWS)
                            tl.store(to_kick_p + j * far, amount, mask=near & inside & exists)
                        to_kick_p += N
                    s = moved(s, x, fired, exists, unit, K, CHANGES, SWALLOWS)
                seen = inner(unit[2], s, 0, 1, K)
                if SPIKING:
                    distance = seen - theta
                    looks = exists & ((first + w) * 32 + part + i >= looks_from)
                    near = (tl.abs(distance) < b_th) & looks
                    fires = (distance > 0) & looks
                    spikes |= fires.to(tl.int32) << (part + i)
                    actives |= near.to(tl.int32) << (part + i)
                    if RECORDED:
                        tl.store(x_p + i * N, seen + rest, mask=near & inside)
                    fired = fires | (fired & (part + i >= left))
                if WATCHED:
                    tl.store(to_record_p, seen + rest, mask=watched & exists)
                    to_record_p += n_watched
                if LAG == 1:
                    if RECURRENT:
                        x += brought(fired & inside & exists, weight_p, x, n, N, UNITS)
                    if KICKS:
                        for j in tl.static_range(K):
                            amount = jumps(j, s, x, unit, K, CHANGES, SWALLOWS)
                            tl.store(to_kick_p + j * far, amount, mask=near & inside)
                        to_kick_p += N
                    s = moved(s, x, fired, exists, unit, K, CHANGES, SWALLOWS)
                if TOTALS:
                    tl.store(to_total_p, x, mask=inside)
                    to_total_p += N
            x_p += AHEAD * N
        if SPIKING:
            at = (b * n_word + first + w) * N + n
            spikes = tl.where(inside, spikes, 0)
            actives = tl.where(inside, actives, 0)
            tl.store(word_p + at, spikes, mask=inside)
            tl.store(active_p + at, actives, mask=inside)
            if RECORDED:
                to_count_p = count_p + (b * n_word + first + w) * blocks
                store_counts(to_count_p, spikes, block, N, UNITS)
                store_counts(to_count_p + n_count, actives, block, N, UNITS)
    store_rows(state_p + b * kept * N + n, s, N, inside, K)
    if resumes:
        fired_as = fired.to(state_p.dtype.element_ty)
        tl.store(state_p + (b * kept + K) * N + n, fired_as, mask=inside)


@triton.jit(
    do_not_specialize=[
        "first", "n_word", "words", "steps", "looks_from", "n_learned", "n_watched",
    ]
)  # fmt: skip
def trace(
    current_p,
    state_p,
    trace_p,
    constant_p,
    learned_p,
    slope_p,
    slot_p,
    record_p,
    grad_p,
    number_p,
    first,
    words,
    steps,
    looks_from,
    N,
    n_learned,
    n_rows,
    n_watched,
    K: tl.constexpr,
    LAG: tl.constexpr,
    SPIKING: tl.constexpr,
    CHANGES: tl.constexpr,
    SWALLOWS: tl.constexpr,
    WATCHED: tl.constexpr,
    AHEAD: tl.constexpr,
    UNITS: tl.constexpr,
):
    """The same walk with the eligibilities of one learned number, before `move` overwrites what it reads.

    Args:
        current_p, state_p, constant_p, slot_p: see `move`; read.
        trace_p: (B, P, K, N) the eligibilities at the first step; overwritten by those after the last.
        learned_p: (P, n_rows, N) derivatives of `constant_p`.
        slope_p: (P, B, words * 32, N), written where active, if SPIKING: ∂d/∂p.
        record_p: (B, P, steps, n_watched), written if WATCHED: ∂V/∂p of the neurons that are recorded.
        grad_p: (B, steps, N) ∂L/∂V, read unless SPIKING.
        number_p: (B, P, N), added to unless SPIKING: ∂L/∂p.
        first, words, steps, looks_from, N, n_watched: see `move`.
        n_learned: P.
        n_rows: of `constant_p`.
    """
    b = tl.program_id(0).to(tl.int64)
    m = tl.program_id(2).to(tl.int64)
    n = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    inside = n < N
    shadow = tl.minimum(n, N - 1)
    unit = load_unit(constant_p + shadow, N, K, CHANGES, SWALLOWS)
    theta, _, b_th = levels(constant_p + shadow, N, K)
    own_p = learned_p + m * n_rows * N + shadow
    slope = load_unit(own_p, N, K, CHANGES, SWALLOWS)
    d_theta, d_rest, _ = levels(own_p, N, K)
    resumes: tl.constexpr = SPIKING and LAG == 0
    kept: tl.constexpr = K + 1 if resumes else K
    s = load_rows(state_p + b * kept * N + shadow, N, K)
    e = load_rows(trace_p + (b * n_learned + m) * K * N + shadow, N, K)
    fired = tl.zeros((UNITS,), tl.int1)
    if resumes:
        fired = tl.load(state_p + (b * kept + K) * N + shadow) > 0
    if WATCHED:
        slot = tl.load(slot_p + shadow)
        watched = (slot >= 0) & inside
        row = (b * n_learned + m) * steps + first * 32
        to_record_p = record_p + row * n_watched + slot
    if SPIKING:
        to_p = slope_p + (m * tl.num_programs(0) + b) * words * 32 * N + n
    else:
        total = tl.load(number_p + (b * n_learned + m) * N + n, mask=inside, other=0.0)
        above_p = grad_p + (b * steps + first * 32) * N + shadow
    x_p = current_p + b * words * 32 * N + shadow
    for part in range(0, tl.minimum(steps - first * 32, words * 32), AHEAD):
        ahead = load_rows(x_p, N, AHEAD)
        for i in tl.static_range(AHEAD):
            x = ahead[i]
            now = first * 32 + part + i
            exists = now < steps
            if LAG == 0:
                e = traced(e, s, x, fired, exists, unit, slope, K, CHANGES, SWALLOWS)
                s = moved(s, x, fired, exists, unit, K, CHANGES, SWALLOWS)
            acts = inner(unit[2], e, 0, 1, K) + inner(slope[2], s, 0, 1, K)
            if SPIKING:
                distance = inner(unit[2], s, 0, 1, K) - theta
                looks = exists & (now >= looks_from)
                near = (tl.abs(distance) < b_th) & looks
                fired = (distance > 0) & looks
                tl.store(to_p, acts - d_theta, mask=near & inside)
                to_p += N
            else:
                above = tl.load(above_p, mask=exists & inside, other=0.0)
                total += above * (acts + d_rest)
                above_p += N
            if WATCHED:
                tl.store(to_record_p, acts + d_rest, mask=watched & exists)
                to_record_p += n_watched
            if LAG == 1:
                e = traced(e, s, x, fired, exists, unit, slope, K, CHANGES, SWALLOWS)
                s = moved(s, x, fired, exists, unit, K, CHANGES, SWALLOWS)
        x_p += AHEAD * N
    store_rows(trace_p + (b * n_learned + m) * K * N + n, e, N, inside, K)
    if not SPIKING:
        tl.store(number_p + (b * n_learned + m) * N + n, total, mask=inside)
