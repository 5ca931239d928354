"""Rounding of time: seconds to microseconds, microseconds to steps. The only place that does it.

Stores keep whole microseconds, so that a step is exact integer arithmetic: no event can change its
step because a float of seconds fell on the wrong side.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sparsespike.compiling.compiled import compiled
from sparsespike.spikes.arguments import number
from sparsespike.spikes.bits import lowest_bit

Rounding = Literal["floor", "nearest"]

MICROSECONDS = 1_000_000  # of a second
# Bits are read word by word: with fewer events than this, sorting them is less work.
WORDS_PER_EVENT = 16
MOST_BITS_WORDS = 2**23  # 64 MiB
ONE, LAST = np.uint64(1), np.uint64(2**63)


def microseconds(dt: float, name: str = "dt") -> int:
    """A time step in whole microseconds.

    Args:
        dt: seconds, a whole number of microseconds, > 0; one of 32 bits that is nearest to it, too.
        name: of the argument, for messages.

    Raises:
        ValueError: if it is anything else.
    """
    exact = number(name, dt, "a number of seconds") * MICROSECONDS
    if not (math.isfinite(exact) and 1 <= round(exact) < 2**62):
        raise ValueError(f"{name}: expected seconds, at least one microsecond, found {dt!r}")
    # Binary floats: 0.0007 s is 700.0000000000001 us, and half a last bit more or less in 32 bits.
    single = str(getattr(dt, "dtype", "")).endswith("float32")
    if abs(exact - round(exact)) > (2**-24 if single else 1e-9) * exact:
        raise ValueError(f"{name}: expected a whole number of microseconds, found {dt!r} s")
    return round(exact)


def nearest_us(seconds: NDArray[np.floating]) -> NDArray[np.int64]:
    """Times in whole microseconds: the nearest, ties to even.

        round(10^6 seconds)

    Widened to float64 before the product: float16 ends at 65,504, which 0.07 s would pass.

    Args:
        seconds: any shape, seconds, >= 0 and below 2^62 microseconds, floating.

    Returns:
        The same shape.

    Raises:
        ValueError: if a time is NaN, infinite, negative or too late, or no floating number.
    """
    if seconds.dtype.kind != "f":
        raise ValueError(f"seconds: expected floating numbers, found {seconds.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):  # what these would warn of is refused below
        exact = seconds.astype(np.float64) * MICROSECONDS
    # Written so that NaN, which compares as false, is out of range too.
    wrong = ~((seconds >= 0) & (exact < 2.0**62))
    if wrong.any():
        found = seconds[wrong][0]
        raise ValueError(
            f"seconds: expected times in [0, 2^62 us), found {found} and {wrong.sum() - 1:,} more such"
        )
    return np.rint(exact).astype(np.int64)


@compiled
def move_times(unit, time, offset, factor, shift, jitter):
    """Events at other times, rounded half to even, without those before 0 or past 2^62 us.

        time[e] factor[i] + shift[i] + jitter[e]        of event e of recording i

    Args:
        unit, time, offset: of the recordings, as in `Recordings`.
        factor, shift: (n,) of each recording.
        jitter: (n_events,), or empty for none.

    Returns:
        unit, time (int64) and offset.
    """
    out_unit, out_time = np.empty_like(unit), np.empty(len(time), np.int64)
    out_offset = np.zeros_like(offset)
    n = 0
    for i in range(len(offset) - 1):
        for e in range(offset[i], offset[i + 1]):
            moved = time[e] * factor[i] + shift[i]
            if len(jitter):
                moved += jitter[e]
            out_unit[n] = unit[e]
            out_time[n] = np.int64(np.rint(moved))
            n += moved >= 0 and moved < 2.0**62
        out_offset[i + 1] = n
    return out_unit[:n], out_time[:n], out_offset


@compiled
def step_of(time, dt, nearest):
    """The step of an event: floor(time / dt), or the nearest with ties to even, as `round` does.

    Args:
        time: microseconds, >= 0.
        dt: microseconds, >= 1.
        nearest: which of the two roundings.
    """
    step = time // dt
    rest = time - step * dt
    if nearest and (rest > dt - rest or (rest == dt - rest and step % 2 == 1)):
        step += 1
    return step


@compiled
def bin_events(
    unit, time, offset, sample, n_units, steps, dt, nearest, out_unit, out_offset, n_clamped, n_late
):
    """Bins the events of some samples into rows, row = i * steps + step, units ascending.

    Per sample, by whichever is less work: a table of bits, one for each (step, unit), or two stable
    counting sorts. Both take events in any order; neither leaves its arrays if a store is damaged.

    Args:
        unit, time, offset: the store, as in `EventDataset`.
        sample: (b,) int64, positions in the store, in range.
        n_units, steps: N and T.
        dt: microseconds.
        nearest: rounding, see `step_of`.
        out_unit: (all events of those samples + 1,) integers, written: the units of the spikes.
        out_offset: (b * steps + 1,) integers, written: bounds of each row in `out_unit`.
        n_clamped: (b,) written: events that shared their (step, unit) with another.
        n_late: (b,) written: events of step >= `steps`, dropped.

    Returns:
        (number of spikes, -1), or (0, i) if the events of `sample[i]` break the rules of a store.
    """
    longest = 0
    for i in range(len(sample)):
        start, stop = offset[sample[i]], offset[sample[i] + 1]
        if start < 0 or stop < start or stop > len(unit):
            return 0, i
        longest = max(longest, stop - start)
    n_words = (n_units + 63) // 64
    # Without bits where the steps' bounds would pass 2^63, or the table its share of memory.
    with_bits = steps < MOST_BITS_WORDS // n_words and dt < 2**62 // (steps + 1)
    bits = np.zeros((steps if with_bits else 0, n_words), np.uint64)
    scratch = np.empty((3, longest), np.int64)
    unit_end = np.empty(n_units + 1, np.int64)
    step_end = np.empty(steps + 1, np.int64)
    n_out = 0
    out_offset[0] = 0
    for i in range(len(sample)):
        start, stop = offset[sample[i]], offset[sample[i] + 1]
        its_unit, its_time = unit[start:stop], time[start:stop]
        its_offset = out_offset[i * steps + 1 : (i + 1) * steps + 1]
        before = n_out
        if with_bits and bits.size < WORDS_PER_EVENT * (stop - start + 1):
            n_kept = _set_bits(its_unit, its_time, dt, nearest, n_units, bits)
            if n_kept >= 0:
                n_out = _list_bits(bits, out_unit, n_out, its_offset)
        else:
            n_kept = _sort_events(its_unit, its_time, dt, nearest, unit_end, step_end, scratch)
            if n_kept >= 0:
                n_out = _list_sorted(scratch[0], step_end, out_unit, n_out, its_offset)
        if n_kept < 0:
            return 0, i
        n_clamped[i] = n_kept - (n_out - before)
        n_late[i] = stop - start - n_kept
    return n_out, -1


@compiled
def first_time(step, dt, nearest):
    """The earliest time whose step, by `step_of`, is `step`, or later; microseconds."""
    if not nearest or step == 0:
        return step * dt
    twice = (2 * step - 1) * dt
    half = twice // 2
    # A tie belongs to the even of the two steps it lies between.
    return half if twice % 2 == 0 and step % 2 == 0 else half + 1


@compiled
def _set_bits(unit, time, dt, nearest, n_units, bits):
    """Sets the bit of each event's (step, unit) in a table of zeros, (T, N / 64) uint64.

    Returns:
        The number of events of its steps; -1, with the table zero again, if a unit or time is out of range.
    """
    steps = bits.shape[0]
    step, first, after = 0, first_time(0, dt, nearest), first_time(1, dt, nearest)
    n_kept = 0
    for e in range(len(unit)):
        u, t = np.int64(unit[e]), np.int64(time[e])
        if u < 0 or u >= n_units or t < 0:
            bits[:] = 0
            return -1
        # Most events are of the step before them, and a division would take longer than the rest.
        if t < first or t >= after:
            step = step_of(t, dt, nearest)
            if step < steps:
                first, after = first_time(step, dt, nearest), first_time(step + 1, dt, nearest)
            else:
                first = after = 0
        if step < steps:
            bits[step, u >> 6] |= np.uint64(1) << np.uint64(u & 63)
            n_kept += 1
    return n_kept


@compiled
def _list_bits(bits, out_unit, n_out, out_offset):
    """Lists the units of each step, ascending, from `n_out` on, and leaves the table zero."""
    for step in range(bits.shape[0]):
        row = bits[step]
        for w in range(len(row)):
            word = row[w]
            if word:
                row[w] = 0
                out_unit[n_out] = 64 * w + lowest_bit(word)  # pyright: ignore[reportCallIssue]
                n_out += 1
                word &= word - ONE
                # Few words hold more than two: the second is written in any case and counted if it is
                # one, as a branch would be guessed wrong too often.
                out_unit[n_out] = 64 * w + lowest_bit(word | LAST)  # pyright: ignore[reportCallIssue]
                n_out += word != 0
                word &= word - ONE
                while word:
                    out_unit[n_out] = 64 * w + lowest_bit(word)  # pyright: ignore[reportCallIssue]
                    n_out += 1
                    word &= word - ONE
        out_offset[step] = n_out
    return n_out


@compiled
def _list_sorted(by_step, step_end, out_unit, n_out, out_offset):
    """Lists the units of each step, each once, from `n_out` on."""
    k = 0
    for step in range(len(out_offset)):
        last = -1
        while k < step_end[step]:
            if by_step[k] != last:
                last = by_step[k]
                out_unit[n_out] = last
                n_out += 1
            k += 1
        out_offset[step] = n_out
    return n_out


@compiled
def _sort_events(unit, time, dt, nearest, unit_end, step_end, scratch):
    """Sorts the units of one sample's events by step, then unit, into `scratch[0]`.

    Args:
        unit_end, step_end: (N + 1,) and (T + 1,) scratch; `step_end` then holds each step's end.
        scratch: (3, at least n_events).

    Returns:
        The number of events sorted, the late ones left out; -1 if a unit or time is out of range.
    """
    n_units, steps = len(unit_end) - 1, len(step_end) - 1
    by_step, by_unit, event_step = scratch[0], scratch[1], scratch[2]
    unit_end[:] = 0
    step_end[:] = 0
    n_kept = 0
    for e in range(len(unit)):
        u, t = np.int64(unit[e]), np.int64(time[e])
        if u < 0 or u >= n_units or t < 0:
            return -1
        step = step_of(t, dt, nearest)
        event_step[e] = step
        if step < steps:
            unit_end[u + 1] += 1
            step_end[step + 1] += 1
            n_kept += 1
    for u in range(n_units):
        unit_end[u + 1] += unit_end[u]
    for step in range(steps):
        step_end[step + 1] += step_end[step]
    # First by unit; the second, stable sort by step keeps that order within each step.
    for e in range(len(unit)):
        if event_step[e] < steps:
            u = np.int64(unit[e])
            by_unit[unit_end[u]] = e
            unit_end[u] += 1
    for k in range(n_kept):
        e = by_unit[k]
        step = event_step[e]
        by_step[step_end[step]] = unit[e]
        step_end[step] += 1
    return n_kept
