"""`LIF` on the GPU: currents -> spikes, and ε -> δ; one thread owns one unit and walks through time.

Potentials in registers are relative to v_rest. V is stored over the currents it came from, and only where
it is active; `listing.py` then collects it. Constants come in a tensor: as arguments Triton would
make float32 of them.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl

from sparsespike.backends.gpu.bits import places, popcount
from sparsespike.descriptions import LIF

SUBTRACT, ZERO, NONE = 0, 1, 2
RESET = {"subtract": SUBTRACT, "zero": ZERO, "none": NONE}
RESET_SUBTRACT, RESET_ZERO = tl.constexpr(SUBTRACT), tl.constexpr(ZERO)


@lru_cache(maxsize=256)
def constants(neuron: LIF, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """alpha, v_th, b_th, v_reset, jump, v_rest; potentials but the last relative to v_rest."""
    numbers = (
        neuron.alpha,
        neuron.v_th - neuron.v_rest,
        neuron.b_th,
        neuron.v_reset - neuron.v_rest,
        neuron.v_th - neuron.v_reset,
        neuron.v_rest,
    )
    return torch.tensor(numbers, dtype=torch.float64).to(dtype).to(device)


@triton.jit
def step(v, x, may_fire, alpha, v_th, b_th, v_reset, jump, RESET: tl.constexpr):
    """V one step later, whether it fires and whether it is active now (eq. 2, 4, 7)."""
    distance = v - v_th
    fired = (distance > 0) & may_fire
    near = (tl.abs(distance) < b_th) & may_fire
    if RESET == RESET_ZERO:
        v = tl.where(fired, v_reset, v)
    v = alpha * v + x
    if RESET == RESET_SUBTRACT:
        v = tl.where(fired, v - jump, v)
    return v, fired, near


@triton.jit(do_not_specialize=["first", "n_word", "words", "steps", "n_count"])
def fire(
    current_p,
    state_p,
    constant_p,
    word_p,
    active_p,
    count_p,
    first,
    n_word,
    words,
    steps,
    N,
    n_count,
    RESET: tl.constexpr,
    RECORDED: tl.constexpr,
    UNITS: tl.constexpr,
):
    """Walks one block of units of one sample through the words first : first + words (eq. 2, 4, 7).

    Args:
        current_p: (B, words * 32, N) currents; V is written over them where active, if RECORDED.
        state_p: (B, N) V at the first step; overwritten by V after the last.
        constant_p: (6,) see `constants`.
        word_p, active_p: (B, n_word, N), written.
        count_p: (2, B, n_word, blocks), written: spikes and active entries of each block; if RECORDED.
        first: first word.
        n_word: words of the whole recording.
        words: words of this segment.
        steps: T.
        N: units.
        n_count: B * n_word * blocks.
    """
    b = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    n = block * UNITS + tl.arange(0, UNITS)
    inside = n < N
    alpha, v_th, b_th = tl.load(constant_p), tl.load(constant_p + 1), tl.load(constant_p + 2)
    v_reset, jump = tl.load(constant_p + 3), tl.load(constant_p + 4)
    v_rest = tl.load(constant_p + 5)
    shadow = tl.minimum(n, N - 1)  # idle lanes compute what the last unit does: no masks on loads
    v = tl.load(state_p + b * N + shadow)
    x_p = current_p + b * words * 32 * N + shadow
    for w in range(0, words):
        spikes = tl.zeros((UNITS,), tl.int32)
        actives = tl.zeros((UNITS,), tl.int32)
        started = first + w > 0  # at step 0 nothing fires, wherever v_rest lies
        left = steps - (first + w) * 32
        for part in range(0, tl.minimum(left, 32), 8):
            # Eight currents on their way at a time, before the steps that need them.
            ahead = (
                tl.load(x_p),
                tl.load(x_p + N),
                tl.load(x_p + 2 * N),
                tl.load(x_p + 3 * N),
                tl.load(x_p + 4 * N),
                tl.load(x_p + 5 * N),
                tl.load(x_p + 6 * N),
                tl.load(x_p + 7 * N),
            )
            for i in tl.static_range(8):
                x = ahead[i]
                now = v
                may_fire = started | (part + i > 0)
                v, fired, near = step(v, x, may_fire, alpha, v_th, b_th, v_reset, jump, RESET)
                if RECORDED:
                    tl.store(x_p + i * N, now + v_rest, mask=near & inside)
                spikes |= fired.to(tl.int32) << (part + i)
                actives |= near.to(tl.int32) << (part + i)
            x_p += 8 * N
        real = tl.where(left < 32, (1 << tl.minimum(left, 31)) - 1, -1)  # steps that exist
        at = (b * n_word + first + w) * N + n
        spikes = tl.where(inside, spikes & real, 0)
        actives = tl.where(inside, actives & real, 0)
        tl.store(word_p + at, spikes, mask=inside)
        tl.store(active_p + at, actives, mask=inside)
        if RECORDED:
            at_block = (b * n_word + first + w) * tl.num_programs(1) + block
            tl.store(count_p + at_block, tl.sum(popcount(spikes), 0))
            tl.store(count_p + n_count + at_block, tl.sum(popcount(actives), 0))
    tl.store(state_p + b * N + n, v, mask=inside)


@triton.jit(do_not_specialize=["first", "n_word", "words", "steps"])
def send_back(
    coefficient_p,
    slope_p,
    potential_p,
    constant_p,
    word_p,
    active_p,
    start_p,
    state_p,
    delta_p,
    first,
    n_word,
    words,
    steps,
    N,
    RESET: tl.constexpr,
    ATTACHED: tl.constexpr,
    UNITS: tl.constexpr,
):
    """Walks one block of units of one sample back: δ[t-1] = c[t] + α δ[t] (Prop. 1).

    Args:
        coefficient_p: (n_active,) ε g.
        slope_p: (n_active,) g; read if ATTACHED: the reset is differentiated.
        potential_p: (n_active,) V; read if ATTACHED.
        constant_p: (6,) see `constants`.
        word_p: (B, n_word, N) the layer's spikes; read if they cut δ.
        active_p: (B, n_word, N).
        start_p: (B, n_word, blocks) where each block begins in the lists.
        state_p: (B, N) δ at the last step of the segment; overwritten by δ one step before its first.
        delta_p: (B, words * 32, N), written.
        first, n_word, words, steps, N: see `fire`.
    """
    b = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    n = block * UNITS + tl.arange(0, UNITS)
    inside = n < N
    alpha, v_reset = tl.load(constant_p), tl.load(constant_p + 3)
    jump, v_rest = tl.load(constant_p + 4), tl.load(constant_p + 5)
    delta = tl.load(state_p + b * N + n, mask=inside, other=0.0)
    to_p = delta_p + (b * words * 32 + words * 32 - 1) * N + n
    for i in range(0, words):
        w = first + words - 1 - i
        row = b * n_word + w
        exist = tl.minimum(steps - w * 32, 32)
        for _ in range(exist, 32):  # steps that do not: read as zero by what sums over whole words
            tl.store(to_p, tl.zeros((UNITS,), delta_p.dtype.element_ty), mask=inside)
            to_p -= N
        actives = tl.load(active_p + row * N + n, mask=inside, other=0)
        start = tl.load(start_p + row * tl.num_programs(1) + block)
        at = places(actives, start) + popcount(actives) - 1  # the last entry of the word
        if RESET == RESET_ZERO:
            spikes = tl.load(word_p + row * N + n, mask=inside, other=0)
        for r in range(0, exist):
            bit = exist - 1 - r
            near = (actives >> bit) & 1
            c = tl.load(coefficient_p + at, mask=near != 0, other=0.0)
            if ATTACHED:
                g = tl.load(slope_p + at, mask=near != 0, other=0.0)
                if RESET == RESET_ZERO:
                    v = tl.load(potential_p + at, mask=near != 0, other=0.0) - v_rest
                    c += g * alpha * (v_reset - v) * delta
                else:
                    c -= g * jump * delta
            tl.store(to_p, delta.to(delta_p.dtype.element_ty), mask=inside)
            if RESET == RESET_ZERO:
                delta = tl.where(((spikes >> bit) & 1) != 0, 0.0, delta)
            delta = alpha * delta + c
            at -= near
            to_p -= N
    tl.store(state_p + b * N + n, delta, mask=inside)
