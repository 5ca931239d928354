"""One step of all neurons, block by block, and what happens after a spike, neuron by neuron.

    s <- A s + b I        e_m <- A e_m + dA_m s + db_m I        d = w . s - theta

s are the k states, e_m = ds/dp_m the eligibility of the learned number p_m (`docs/method.md`). All arrays
are flat, with a row of n places for each number of a neuron (`unit.py`).
"""

from __future__ import annotations

from numba import njit
from numba.extending import overload

from sparsespike.backends.cpu.simd import lanes, load, minus, nothing, plus, store, times
from sparsespike.backends.cpu.verbs import INLINE


def dot(matrix, base, states, vector, origin, n, at):
    """The block at `at` of the sum over the states j of matrix[base + j n] * vector[origin + j n]."""
    raise NotImplementedError


@overload(dot, jit_options=INLINE)
def _dot(matrix, base, states, vector, origin, n, at):
    def one(matrix, base, states, vector, origin, n, at):
        j = states[0] * n + at
        return times(load(matrix, base + j), load(vector, origin + j))

    def several(matrix, base, states, vector, origin, n, at):
        j = states[0] * n + at
        first = times(load(matrix, base + j), load(vector, origin + j))
        return plus(first, dot(matrix, base, states[1:], vector, origin, n, at))

    return one if len(states) == 1 else several


def move(rows, unit, state, inflow, at):
    """state <- A state + b inflow, one block; no row is written before all are computed."""
    raise NotImplementedError


@overload(move, jit_options=INLINE)
def _move(rows, unit, state, inflow, at):
    def one(rows, unit, state, inflow, at):
        i, k, n = rows[0], len(unit.states), unit.n
        row = dot(unit.A, i * k * n, unit.states, state, 0, n, at)
        store(state, i * n + at, plus(row, times(load(unit.b, i * n + at), inflow)))

    def several(rows, unit, state, inflow, at):
        i, k, n = rows[0], len(unit.states), unit.n
        row = dot(unit.A, i * k * n, unit.states, state, 0, n, at)
        row = plus(row, times(load(unit.b, i * n + at), inflow))
        move(rows[1:], unit, state, inflow, at)
        store(state, i * n + at, row)

    return one if len(rows) == 1 else several


def learn(rows, unit, m, trace, state, inflow, at):
    """e_m <- A e_m + dA_m state + db_m inflow, one block."""
    raise NotImplementedError


@njit(**INLINE)
def _traced(i, unit, m, trace, state, inflow, at):
    k, n = len(unit.states), unit.n
    row = dot(unit.A, i * k * n, unit.states, trace, m * k * n, n, at)
    row = plus(row, dot(unit.learned.A, (m * k + i) * k * n, unit.states, state, 0, n, at))
    return plus(row, times(load(unit.learned.b, (m * k + i) * n + at), inflow))


@overload(learn, jit_options=INLINE)
def _learn(rows, unit, m, trace, state, inflow, at):
    def one(rows, unit, m, trace, state, inflow, at):
        row = _traced(rows[0], unit, m, trace, state, inflow, at)
        store(trace, (m * len(unit.states) + rows[0]) * unit.n + at, row)

    def several(rows, unit, m, trace, state, inflow, at):
        row = _traced(rows[0], unit, m, trace, state, inflow, at)
        learn(rows[1:], unit, m, trace, state, inflow, at)
        store(trace, (m * len(unit.states) + rows[0]) * unit.n + at, row)

    return one if len(rows) == 1 else several


@njit(**INLINE)
def advance(unit, state, trace, current):
    """One step of all neurons under `current` (n,), which is zero afterwards."""
    empty = nothing(current)
    for at in range(0, unit.n, lanes(state)):
        inflow = load(current, at)
        store(current, at, empty)
        for m in range(unit.learned.number):
            learn(unit.states, unit, m, trace, state, inflow, at)
        move(unit.states, unit, state, inflow, at)


@njit(**INLINE)
def distances(unit, state, distance):
    """distance (n,) <- w . s - theta."""
    for at in range(0, unit.n, lanes(state)):
        seen = dot(unit.w, 0, unit.states, state, 0, unit.n, at)
        store(distance, at, minus(seen, load(unit.theta, at)))


@njit(**INLINE)
def prepare(unit, state, trace, place, jump, base):
    """Writes jump[base:], (1 + P) k numbers: what a spike here changes one step later, beside the input."""
    k, n = len(unit.states), unit.n
    changes = len(unit.change) > 0
    learned = unit.learned
    for i in range(k):
        amount = -unit.taken[i * n + place]
        if changes:
            for j in range(k):
                amount += unit.change[(i * k + j) * n + place] * state[j * n + place]
        jump[base + i] = amount
    for m in range(learned.number):
        for i in range(k):
            amount = -learned.taken[(m * k + i) * n + place]
            if changes:
                for j in range(k):
                    at = (i * k + j) * n + place
                    amount += unit.change[at] * trace[(m * k + j) * n + place]
                    amount += learned.change[m * k * k * n + at] * state[j * n + place]
            jump[base + (1 + m) * k + i] = amount


@njit(**INLINE)
def swallow(unit, inflow, place, jump, base):
    """Adds to `jump` what becomes otherwise of this input, as it comes in the step after a spike."""
    k, n = len(unit.states), unit.n
    if len(unit.swallowed) > 0:
        for i in range(k):
            jump[base + i] += unit.swallowed[i * n + place] * inflow
        for m in range(unit.learned.number):
            for i in range(k):
                at = (m * k + i) * n + place
                jump[base + (1 + m) * k + i] += unit.learned.swallowed[at] * inflow


@njit(**INLINE)
def leap(unit, state, trace, place, jump, base):
    """Adds the jump to the states and eligibilities at this place."""
    k, n = len(unit.states), unit.n
    for i in range(k):
        state[i * n + place] += jump[base + i]
    for m in range(unit.learned.number):
        for i in range(k):
            trace[(m * k + i) * n + place] += jump[base + (1 + m) * k + i]


@njit(**INLINE)
def sensitivity(unit, m, state, trace, place):
    """∂d/∂p_m at this place: w . e_m + ∂w . s - ∂theta."""
    k, n, learned = len(unit.states), unit.n, unit.learned
    found = -learned.theta[m * n + place]
    for i in range(k):
        found += unit.w[i * n + place] * trace[(m * k + i) * n + place]
        found += learned.w[(m * k + i) * n + place] * state[i * n + place]
    return found
