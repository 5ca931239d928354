"""One step of all neurons, tile by tile, and what happens after a spike, neuron by neuron.

    s <- A s + b I        e_m <- A e_m + dA_m s + db_m I        d = w . s - theta

s are the k states, e_m = ds/dp_m the eligibility of the learned number p_m (`docs/method.md`). All arrays
are flat, with a row of n places for each number of a neuron (`unit.py`). A step is a pass over tiles
(`tiles.py`) where no branch depends on what neurons do: each is moved, looked at and written back. Only what
spiked in the step before, and what is near its threshold now, is then visited by itself.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.extending import overload

from sparsespike.backends.cpu.dynamics.tiles import (
    combined,
    dot,
    matrix,
    mixed,
    put,
    tiles,
    with_scaled,
)
from sparsespike.backends.cpu.dynamics.unit import FIRST, SELF
from sparsespike.backends.cpu.simd import (
    FOUR,
    above,
    lanes,
    load,
    load_four,
    load_two,
    minus,
    nothing,
    nothing_four,
    nothing_two,
    plus,
    store,
    times,
)
from sparsespike.backends.cpu.verbs import INLINE

TWO = 2  # blocks


@njit(**INLINE)
def _entered(load, unit, at, values, inflow):
    """values + b * inflow."""
    if unit.enters == SELF:
        return (plus(values[0], inflow), *values[1:])
    if unit.enters == FIRST:
        return (plus(values[0], times(load(unit.b, at), inflow)), *values[1:])
    return with_scaled(values, tiles(load, unit.states, unit.b, unit.n, at), inflow)


def _more(load, learned, n, used, bit, term, value, sources):
    """The value plus what the sources add of which a bit is set; and where the next term's slope is."""
    raise NotImplementedError


@overload(_more, jit_options=INLINE)
def _more_of(load, learned, n, used, bit, term, value, sources):
    def one(load, learned, n, used, bit, term, value, sources):
        if used & (np.uint64(1) << np.uint64(bit)):
            value = plus(value, times(load(learned.slope, term), sources[0]))
            term += n
        return term, value

    def several(load, learned, n, used, bit, term, value, sources):
        if used & (np.uint64(1) << np.uint64(bit)):
            value = plus(value, times(load(learned.slope, term), sources[0]))
            term += n
        return _more(load, learned, n, used, bit + 1, term, value, sources[1:])

    return one if len(sources) == 1 else several


def _learn(load, rows, unit, room, m, at, term, old, sources):
    """e_m <- A e_m + what the sources, the states and the inflow, add; where the next term's slope is."""
    raise NotImplementedError


@njit(**INLINE)
def _learn_row(load, row, i, unit, room, m, at, term, old, sources):
    n, k, learned = unit.n, len(unit.states), unit.learned
    value = dot(row, old)
    term, value = _more(load, learned, n, learned.used[m], i * (k + 1), term, value, sources)
    store(room.trace, (m * k + i) * n + at, value)
    return term


@overload(_learn, jit_options=INLINE)
def _learn_rows(load, rows, unit, room, m, at, term, old, sources):
    def one(load, rows, unit, room, m, at, term, old, sources):
        i = len(unit.states) - len(rows)
        return _learn_row(load, rows[0], i, unit, room, m, at, term, old, sources)

    def several(load, rows, unit, room, m, at, term, old, sources):
        i = len(unit.states) - len(rows)
        term = _learn_row(load, rows[0], i, unit, room, m, at, term, old, sources)
        return _learn(load, rows[1:], unit, room, m, at, term, old, sources)

    return one if len(rows) == 1 else several


@njit(**INLINE)
def _move(load, zeros, follows, unit, room, arrives, at):
    """One step of the neurons of a tile, `follows`: and of their eligibilities; their states."""
    n, k, states = unit.n, len(unit.states), unit.states
    rows = matrix(load, states, states, unit.A, k * n, n, at)
    before = tiles(load, states, room.state, n, at)
    inflow = zeros(room.current)
    if arrives:
        inflow = load(room.current, at)
        store(room.current, at, zeros(room.current))
    if follows:
        sources, term = (*before, inflow), at
        for m in range(unit.learned.number):
            old = tiles(load, states, room.trace, n, m * k * n + at)
            term = _learn(load, rows, unit, room, m, at, term, old, sources)
    after = mixed(rows, before)
    if arrives:
        after = _entered(load, unit, at, after, inflow)
    put(room.state, n, at, after)
    return after


@njit(**INLINE)
def _keep_near(load, unit, room, sites, at, values):
    """Keeps which neurons of a tile are in the band or above: a bit each."""
    d = minus(combined(load, unit, unit.w, unit.sees, at, values), load(unit.theta, at))
    if sites is not None:
        store(room.distance, at, d)
    word, whole = above(d, unit.floor), FOUR * lanes(room.state)
    place, bit = at // whole, at % whole
    if bit > 0:
        word = room.near[place] | (word << np.uint64(bit))
    room.near[place] = word


@njit(**INLINE)
def advance(unit, room, arrives):
    """One step of all neurons; `arrives`: whether there is a current, which is zero afterwards."""
    at, width = 0, lanes(room.state)
    while at + TWO * width <= unit.n:
        _move(load_two, nothing_two, True, unit, room, arrives, at)
        at += TWO * width
    if at < unit.n:
        _move(load, nothing, True, unit, room, arrives, at)


@njit(**INLINE)
def advance_and_look(unit, room, sites, arrives):
    """The same, and which neurons are in the band or above."""
    at, width = 0, lanes(room.state)
    # In narrow tiles, A of several states stays in registers while the eligibilities go by.
    follows = unit.learned.number > 0
    if len(unit.states) > 1 and follows:
        while at + TWO * width <= unit.n:
            values = _move(load_two, nothing_two, True, unit, room, arrives, at)
            _keep_near(load_two, unit, room, sites, at, values)
            at += TWO * width
    else:
        while at + FOUR * width <= unit.n:
            one = len(unit.states) == 1
            values = _move(load_four, nothing_four, one, unit, room, arrives, at)
            _keep_near(load_four, unit, room, sites, at, values)
            at += FOUR * width
    while at < unit.n:
        values = _move(load, nothing, True, unit, room, arrives, at)
        _keep_near(load, unit, room, sites, at, values)
        at += width


@njit(**INLINE)
def look(unit, room, sites):
    """Which neurons are in the band or above, as they are."""
    for at in range(0, unit.n, lanes(room.state)):
        values = tiles(load, unit.states, room.state, unit.n, at)
        _keep_near(load, unit, room, sites, at, values)


@njit(**INLINE)
def prepared(unit):
    """Whether what a spike changes depends on the state it was in, or on what arrives after it."""
    return len(unit.change) > 0 or len(unit.swallowed) > 0


@njit(**INLINE)
def prepare(unit, room, place, base):
    """Writes room.jump[base:], (1 + P) k numbers: what a spike here changes in the step that comes."""
    k, n = len(unit.states), unit.n
    changes, swallows = len(unit.change) > 0, len(unit.swallowed) > 0
    state, trace, jump, learned = room.state, room.trace, room.jump, unit.learned
    for i in range(k):
        amount = -unit.taken[i * n + place]
        if changes:
            for j in range(k):
                amount += unit.change[(i * k + j) * n + place] * state[j * n + place]
        if swallows:
            amount += unit.swallowed[i * n + place] * room.current[place]
        jump[base + i] = amount
    for m in range(learned.number):
        for i in range(k):
            row = m * k + i
            amount = -learned.taken[row * n + place]
            if changes:
                for j in range(k):
                    at = (i * k + j) * n + place
                    amount += unit.change[at] * trace[(m * k + j) * n + place]
                    amount += learned.change[m * k * k * n + at] * state[j * n + place]
            if swallows:
                amount += learned.swallowed[row * n + place] * room.current[place]
            jump[base + k + row] = amount


# Places are unsigned below, and are counted on by n: an index that may be negative is tested at every use.


@njit(**INLINE)
def leap(unit, room, sites, place, base):
    """Adds the jump to the states and eligibilities at this place, and looks at it anew."""
    k, n, n_rows = len(unit.states), np.uint64(unit.n), unit.learned.number * len(unit.states)
    known = not prepared(unit)
    at = place
    for i in range(k):
        amount = -unit.taken[at] if known else room.jump[base + i]
        room.state[at] += amount
        at += n
    at = place
    for i in range(n_rows):
        amount = -unit.learned.taken[at] if known else room.jump[base + k + i]
        room.trace[at] += amount
        at += n
    d = seen(unit, room.state, place) - unit.theta[place]
    if sites is not None:
        room.distance[place] = d
    whole = np.uint64(FOUR * lanes(room.state))
    bit, word = place % whole, place // whole
    others = room.near[word] & ~(np.uint64(1) << bit)
    room.near[word] = others | (np.uint64(d > unit.floor) << bit)


@njit(**INLINE)
def seen(unit, state, place):
    """w . s at this place."""
    found = state[place]
    if unit.sees != SELF:
        at, n = place, np.uint64(unit.n)
        found *= unit.w[at]
        for _ in range(1, len(unit.states)):
            at += n
            found += unit.w[at] * state[at]
    return found


@njit(**INLINE)
def sensitivity(unit, m, room, place):
    """∂(w . s)/∂p_m at this place: w . e_m + ∂w . s."""
    n, learned = np.uint64(unit.n), unit.learned
    row = np.uint64(m * len(unit.states)) * n + place
    found = room.trace[row]
    if unit.sees != SELF:
        at, e = place, row
        found *= unit.w[at]
        for _ in range(1, len(unit.states)):
            at += n
            e += n
            found += unit.w[at] * room.trace[e]
    if len(learned.w) > 0:
        at = place
        for _ in range(len(unit.states)):
            found += learned.w[row] * room.state[at]
            at += n
            row += n
    return found
