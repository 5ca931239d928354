"""One step of neurons of the form, in registers, and the loads of what it takes.

    s[t+1] = A_S s[t] + b_S I[t] - taken S[t],    d[t] = w . s[t] - theta,    S[t] = 1 if d[t] > 0
    e[t+1] = A_S e[t] + dA_S s[t] + db_S I[t] - dtaken S[t]       the eligibility of one learned number

With lag 0 read I[t+1] for I[t]. A tuple of blocks stands for a row of k or k k numbers.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_rows(p, N, COUNT: tl.constexpr):
    """COUNT blocks, N apart."""
    found = (tl.load(p),)
    for i in tl.static_range(1, COUNT):
        found += (tl.load(p + i * N),)
    return found


@triton.jit
def store_rows(p, rows, N, inside, COUNT: tl.constexpr):
    """Stores COUNT blocks, N apart."""
    for i in tl.static_range(COUNT):
        tl.store(p + i * N, rows[i], mask=inside)


@triton.jit
def inner(row, s, BASE: tl.constexpr, STEP: tl.constexpr, K: tl.constexpr):
    """Σ_j row[BASE + STEP j] s[j]."""
    total = row[BASE] * s[0]
    for j in tl.static_range(1, K):
        total += row[BASE + STEP * j] * s[j]
    return total


@triton.jit
def load_unit(p, N, K: tl.constexpr, CHANGES: tl.constexpr, SWALLOWS: tl.constexpr):
    """A, b, w, taken, change, swallowed; what is not there is never read."""
    A = load_rows(p, N, K * K)
    p += K * K * N
    b = load_rows(p, N, K)
    w = load_rows(p + K * N, N, K)
    taken = load_rows(p + 2 * K * N, N, K)
    p += 3 * K * N
    if CHANGES:
        change = load_rows(p, N, K * K)
    else:
        change = A
    if SWALLOWS:
        swallowed = load_rows(p + K * K * N, N, K)
    else:
        swallowed = b
    return A, b, w, taken, change, swallowed


@triton.jit
def levels(p, N, K: tl.constexpr):
    """theta, rest and b_th."""
    p += (2 * K * K + 4 * K) * N
    return tl.load(p), tl.load(p + N), tl.load(p + 2 * N)


@triton.jit
def jumps(
    i: tl.constexpr, s, x, unit, K: tl.constexpr, CHANGES: tl.constexpr, SWALLOWS: tl.constexpr
):
    """What of the jump of state i depends on states and input: (A_1 - A) s + (b_1 - b) I."""
    if CHANGES:
        total = inner(unit[4], s, i * K, 1, K)
        if SWALLOWS:
            total += unit[5][i] * x
    else:
        total = unit[5][i] * x
    return total


@triton.jit
def moved(
    s, x, fired, exists, unit, K: tl.constexpr, CHANGES: tl.constexpr, SWALLOWS: tl.constexpr
):
    """The states one step later, if that step exists."""
    after = ()
    for i in tl.static_range(K):
        row = inner(unit[0], s, i * K, 1, K) + unit[1][i] * x
        jump = -unit[3][i]
        if CHANGES or SWALLOWS:
            jump += jumps(i, s, x, unit, K, CHANGES, SWALLOWS)
        row = tl.where(fired, row + jump, row)
        after += (tl.where(exists, row, s[i]),)
    return after


@triton.jit
def traced(
    e,
    s,
    x,
    fired,
    exists,
    unit,
    slope,
    K: tl.constexpr,
    CHANGES: tl.constexpr,
    SWALLOWS: tl.constexpr,
):
    """The eligibilities one step later, of a number by which the unit has this `slope`."""
    after = ()
    for i in tl.static_range(K):
        row = inner(unit[0], e, i * K, 1, K) + inner(slope[0], s, i * K, 1, K) + slope[1][i] * x
        jump = -slope[3][i]
        if CHANGES:
            jump += inner(unit[4], e, i * K, 1, K)
        if CHANGES or SWALLOWS:
            jump += jumps(i, s, x, slope, K, CHANGES, SWALLOWS)
        row = tl.where(fired, row + jump, row)
        after += (tl.where(exists, row, e[i]),)
    return after


@triton.jit
def next_of(wanted, n, after, UNITS: tl.constexpr):
    """The first neuron beyond `after` of those wanted; UNITS for none."""
    return tl.min(tl.where(wanted & (n > after), n, UNITS), 0)


@triton.jit
def brought(fired, weight_p, like, n, N, UNITS: tl.constexpr):
    """What each neuron gets from those that fired: their rows of weights (N, N), one after the other."""
    total = tl.zeros_like(like)
    k = next_of(fired, n, -1, UNITS)
    while k < UNITS:
        total += tl.load(weight_p + k * N)
        k = next_of(fired, n, k, UNITS)
    return total
