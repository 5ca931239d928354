"""Encoders: data that is no events, as the (unit, time, offset) that `EventDataset.from_arrays` takes.

| data                | code                     | function            | events of a unit              |
| ------------------- | ------------------------ | ------------------- | ----------------------------- |
| images, 8 bits      | first-spike latency      | `latency_events`    | at most one, the brighter the |
|                     |                          |                     | sooner                        |
| intensities         | rate, a Poisson process  | `poisson_events`    | the more, the brighter        |
| sampled signals     | send-on-delta            | `delta_events`      | one per threshold of change   |
| numbers in a range  | population, latencies    | `population_events` | at most one, the closer the   |
|                     |                          |                     | sooner                        |
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsespike.compiling.compiled import compiled
from sparsespike.data.encode import MICROSECONDS, nearest_us
from sparsespike.data.recordings import as_array
from sparsespike.data.store import MOST
from sparsespike.spikes.arguments import at_least, described, integer, number

LATENCY_STEP = 1000  # microseconds: the latency code counts in steps of 1 ms
LATENCY_TAU = 20.0  # its time constant, in steps
LATENCY_STEPS = 100  # its length: later spikes are dropped
LATENCY_SILENT = 51  # the brightest silent pixel, x = 51/255 = 0.2
POPULATION_SILENT = 0.1  # the weakest response that spikes


def latency_table() -> NDArray[np.int32]:
    """Spike time of each pixel value p, in microseconds; -1 where there is no spike.

    The paper's latency code with x = p/255: silent for x < 0.2, else one spike in step

        t = floor(20 ln(x / (x - 0.2)))        of 1 ms, dropped if t >= 100

    In whole numbers x / (x - 0.2) = p / (p - 51), which is what is computed, in float64. At x = 0.2
    the time is infinite, so p = 51 is silent too. No time is nearer than 0.005 to a whole step, so
    the floor does not depend on the precision of the logarithm. The latest spike comes at t = 79.

    Returns:
        (256,) int32, multiples of 1000 in [0, 100000), or -1.
    """
    table = np.full(256, -1, np.int32)
    for p in range(LATENCY_SILENT + 1, 256):
        step = math.floor(LATENCY_TAU * math.log(p / (p - LATENCY_SILENT)))
        if step < LATENCY_STEPS:
            table[p] = step * LATENCY_STEP
    return table


def latency_events(
    images: NDArray[np.uint8],
) -> tuple[NDArray[np.uint16], NDArray[np.int32], NDArray[np.int64]]:
    """Latency-codes images: every pixel brighter than 0.2 spikes once, the brighter the sooner.

    Args:
        images: (n, ...) uint8, at most 65,536 pixels each; a pixel's position is its unit.

    Returns:
        unit: (n_events,) uint16, ascending within a sample.
        time: (n_events,) int32, microseconds.
        offset: (n + 1,) int64, bounds of each sample in the two.

    Raises:
        ValueError: if `images` has another dtype or too many pixels.
    """
    if not isinstance(images, np.ndarray):
        raise ValueError(f"images: expected an array of uint8, found {described(images)}")
    if images.dtype != np.uint8 or images.ndim < 2 or images[:1].size > 2**16:
        raise ValueError(
            "images: expected uint8 of shape (n, ...) with at most 65,536 pixels each, "
            f"found {images.dtype} of shape {images.shape}"
        )
    flat = images.reshape(len(images), math.prod(images.shape[1:]))
    table = latency_table()
    offset = np.zeros(len(flat) + 1, np.int64)
    _count_pixels(flat, table, offset)
    unit, time = np.empty(offset[-1], np.uint16), np.empty(offset[-1], np.int32)
    _spread_pixels(flat, table, unit, time)
    return unit, time, offset


def poisson_events(
    intensity: NDArray[np.floating], *, max_rate: float, duration: float, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Rate code: every unit is a homogeneous Poisson process, as long as the sample.

        n ~ Poisson(x max_rate duration),     n times uniform over [0, duration)

    D. Heeger, Poisson Model of Spike Generation, 2000, https://www.cns.nyu.edu/~david/handouts/poisson.pdf;
    given their number, the times of such a process are independent and uniform. The times are drawn as
    whole microseconds, so that none is rounded up to `duration`.

    Not the code of one Bernoulli draw per step with P = x max_rate dt, whose trains depend on dt and
    spike at most once a step. Here the grid is chosen later; of events that meet in a step, binning
    keeps one and counts the others, so that a step has a spike with P = 1 - exp(-x max_rate dt).

    Args:
        intensity: x, (n, ...), in [0, 1], floating; a number's position in its sample is its unit.
        max_rate: rate at x = 1, Hz, >= 0; fewer than 2^31 events within `duration`.
        duration: of every sample, seconds, at least a microsecond, to the nearest of which it is rounded.
        seed: >= 0; the same one gives the same events, with the same version of NumPy.

    Returns:
        unit: (n_events,) int32, ascending within a sample.
        time: (n_events,) int64, microseconds, in any order.
        offset: (n + 1,) int64, bounds of each sample in the two.

    Raises:
        ValueError: naming the argument that breaks one of these rules.
    """
    flat = _checked("intensity", intensity, 0.0, 1.0)
    max_rate, seed = at_least("max_rate", max_rate, 0), integer("seed", seed, 0)
    duration_us = _duration(duration)
    if max_rate * duration_us / MICROSECONDS >= 2**31:
        raise ValueError(
            f"max_rate: expected fewer than 2^31 events of a unit in {duration!r} s, found {max_rate!r} Hz"
        )
    draw = np.random.default_rng(seed)
    n_of = draw.poisson(flat.astype(np.float64) * (max_rate * duration_us / MICROSECONDS))
    offset = np.concatenate([[0], np.cumsum(n_of.sum(1))])
    unit = np.repeat(np.tile(np.arange(flat.shape[1], dtype=np.int32), len(flat)), n_of.ravel())
    return unit, draw.integers(0, duration_us, len(unit)), offset


def delta_events(
    signal: NDArray[np.floating], *, sample_rate: float, threshold: float
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Send-on-delta: an event whenever a signal has moved by `threshold` since its last event.

    A channel remembers a level, at first its first sample. While the signal is a threshold or more
    above it, the level rises by one threshold and the ON unit has an event; below, it falls and OFF has:

        level = x[0] + k threshold,     k -> k + 1 where x >= level + threshold

    M. Miskowicz, Send-On-Delta Concept: An Event-Based Data Reporting Strategy, Sensors 6(1):49-63, 2006,
    doi:10.3390/s6010049. A jump over several levels gives as many events; between two samples the
    signal is a straight line, and an event has the time at which that crosses its level, as in
    H. Rebecq, D. Gehrig, D. Scaramuzza, ESIM: an Open Event Camera Simulator, CoRL 2018. So the level
    is always within one threshold of the signal, and x[0] + threshold (ON - OFF) is that level.

    Cost: O(numbers in `signal` + n_events).

    Args:
        signal: x, (n, samples, channels), finite, floating, at least one sample.
        sample_rate: Hz, > 0; the first sample is at time 0.
        threshold: in units of the signal, > 0, more than 2^-31 of its largest magnitude.

    Returns:
        unit: (n_events,) int32 in [0, 2 channels): channel c is OFF unit c and ON unit channels + c,
            polarities 0 and 1 of a camera, so that the sensor may be (2, 1, channels).
        time: (n_events,) int64, microseconds, ascending within a unit.
        offset: (n + 1,) int64, bounds of each sample in the two.

    Raises:
        ValueError: naming the argument that breaks one of these rules.
    """
    if not isinstance(signal, np.ndarray):
        raise ValueError(f"signal: expected an array, found {described(signal)}")
    if signal.ndim != 3 or signal.shape[1] < 1:
        raise ValueError(
            f"signal: expected the shape (n, samples >= 1, channels), found {signal.shape}"
        )
    shape = signal.shape
    signal = _checked("signal", signal, -math.inf, math.inf).reshape(shape)
    # Numba has neither float16 nor float128, nor another order of bytes.
    signal = signal.astype(np.float32 if signal.itemsize < 8 else np.float64, copy=False)
    sample_rate = number("sample_rate", sample_rate, "a number > 0")
    threshold = number("threshold", threshold, "a number > 0")
    for name, value in (("sample_rate", sample_rate), ("threshold", threshold)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}: expected a number > 0, found {value!r}")
    # So that levels are distinct numbers, and a jump has not more events than memory holds.
    if np.abs(signal).max(initial=0.0) >= 2.0**31 * threshold:
        raise ValueError(
            f"threshold: expected more than 2^-31 of the largest |signal|, found {threshold!r}"
        )
    level = np.empty(signal.shape[2], np.int64)
    offset = np.zeros(len(signal) + 1, np.int64)
    nothing = np.empty(0, np.int32), np.empty(0, np.float64)
    _cross_levels(signal, threshold, level, offset, *nothing, write=False)
    unit, position = np.empty(offset[-1], np.int32), np.empty(offset[-1], np.float64)
    _cross_levels(signal, threshold, level, offset, unit, position, write=True)
    return unit, nearest_us(position / sample_rate), offset


def population_events(
    value: NDArray[np.floating],
    low: NDArray[np.floating] | float,
    high: NDArray[np.floating] | float,
    *,
    n_fields: int,
    duration: float,
    beta: float = 1.5,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Population code: overlapping Gaussian fields share a number, the closer the sooner they spike.

    Field i = 1..m of a number x in [low, high] has centre and width

        mu_i = low + (2 i - 3)/2 (high - low)/(m - 2),     sigma = 1/beta (high - low)/(m - 2)

    and responds with g = exp(-(x - mu_i)^2 / (2 sigma^2)). It spikes once, at (1 - g) duration.

    S. Bohte, J. Kok, H. La Poutré, Error-Backpropagation in Temporally Encoded Networks of Spiking
    Neurons, Neurocomputing 48:17-37, 2002, doi:10.1016/S0925-2312(01)00658-0. Fields with g < 0.1 are
    silent, so that at beta = 1.5 a number costs two or three spikes, however many fields there are.

    Args:
        value: x, (n, d) or (n,), within [low, high], floating.
        low, high: range of each of the d numbers, (d,) or one for all; finite, low < high.
        n_fields: m, in [3, 2^26).
        duration: seconds, at least a microsecond; all spikes come within 0.9 of it.
        beta: overlap, in [1e-6, 1e6]; the larger, the narrower the fields.

    Returns:
        unit: (n_events,) int32 in [0, d m): field i of number j is unit j m + i - 1; ascending within
            a sample.
        time: (n_events,) int64, microseconds.
        offset: (n + 1,) int64, bounds of each sample in the two.

    Raises:
        ValueError: naming the argument that breaks one of these rules.
    """
    if not isinstance(value, np.ndarray):
        raise ValueError(f"value: expected an array, found {described(value)}")
    n_fields = integer("n_fields", n_fields, 3, MOST)
    beta = number("beta", beta, "a number in [1e-6, 1e6]")
    if not 1e-6 <= beta <= 1e6:
        raise ValueError(f"beta: expected a number in [1e-6, 1e6], found {beta!r}")
    low, high = _bound("low", low, value), _bound("high", high, value)
    width = high - low
    if not (np.isfinite(width).all() and (width > 0).all()):
        raise ValueError(f"low, high: expected finite numbers, low < high, found {low} and {high}")
    flat = _checked("value", value, low, high).astype(np.float64)
    _duration(duration)
    place = (2 * np.arange(1, n_fields + 1) - 3) / 2 / (n_fields - 2)  # of the centres, in widths
    sigma = 1 / (beta * (n_fields - 2))  # in widths
    response = np.exp(-((((flat - low) / width)[..., None] - place) ** 2) / (2 * sigma**2))
    response = response.reshape(len(flat), flat.shape[1] * n_fields)
    spikes = response >= POPULATION_SILENT
    sample, unit = np.nonzero(spikes)
    offset = np.searchsorted(sample, np.arange(len(flat) + 1))
    return unit.astype(np.int32), nearest_us((1 - response[spikes]) * duration), offset


def _bound(name: str, given: Any, value: NDArray[Any]) -> NDArray[np.float64]:
    """An end of the range of the numbers in `value`, one for all or one for each of a sample."""
    expected = "one number, or as many as `value` has a sample"
    bound = as_array(name, given, expected)
    if bound.dtype.kind not in "iuf" or bound.shape not in ((), (math.prod(value.shape[1:]),)):
        raise ValueError(f"{name}: expected {expected}, found {described(given)}")
    return bound.astype(np.float64)


def _duration(duration: float) -> int:
    """A sample's length in microseconds."""
    duration = number("duration", duration, "seconds, at least a microsecond")
    if not 1 / MICROSECONDS <= duration < 2**62 / MICROSECONDS:
        raise ValueError(f"duration: expected seconds, at least a microsecond, found {duration!r}")
    return int(nearest_us(np.array([duration], np.float64))[0])


def _checked(name: str, given: NDArray[Any], low: Any, high: Any) -> NDArray[Any]:
    """The array as (n, numbers of a sample)."""
    if not isinstance(given, np.ndarray):
        raise ValueError(f"{name}: expected an array, found {described(given)}")
    if given.dtype.kind != "f" or given.ndim < 1 or given[:1].size >= 2**30:
        raise ValueError(
            f"{name}: expected floating numbers of shape (n, ...), fewer than 2^30 each, "
            f"found {given.dtype} of shape {given.shape}"
        )
    given = np.ma.filled(given, np.nan)  # what is masked is no number, either
    flat = given.reshape(len(given), math.prod(given.shape[1:]))
    # Written so that NaN, which compares as false, is out of range too.
    wrong = ~((flat >= low) & (flat <= high) & np.isfinite(flat))
    if wrong.any():
        raise ValueError(
            f"{name}: expected finite numbers in [{low}, {high}], found {flat[wrong][0]} and "
            f"{wrong.sum() - 1:,} more such"
        )
    return flat


@compiled
def _count_pixels(flat, table, offset):
    for i in range(flat.shape[0]):
        n = 0
        for j in range(flat.shape[1]):
            n += table[flat[i, j]] >= 0
        offset[i + 1] = offset[i] + n


@compiled
def _spread_pixels(flat, table, unit, time):
    n = 0
    for i in range(flat.shape[0]):
        for j in range(flat.shape[1]):
            t = table[flat[i, j]]
            if t >= 0:
                unit[n] = j
                time[n] = t
                n += 1


@compiled
def _cross_levels(signal, threshold, level, offset, unit, position, write):
    """Counts the crossings of each sample into `offset`, or writes their units and positions.

    Both passes compare the same floats, and a level is computed from its number, never added up.

    Args:
        level: (channels,) scratch: how many thresholds above the first sample.
        position: (n_events,) written: time in samples.
        write: whether to write instead of to count.
    """
    n, samples, channels = signal.shape
    e = 0
    for i in range(n):
        level[:] = 0
        for s in range(1, samples):
            for c in range(channels):
                first = np.float64(signal[i, 0, c])
                before, x = np.float64(signal[i, s - 1, c]), np.float64(signal[i, s, c])
                step = 1 if x > before else -1
                crossed = first + (level[c] + step) * threshold
                # The level before is on the other side of the signal before, or at it.
                while (x >= crossed) if step > 0 else (x <= crossed):
                    level[c] += step
                    if write:
                        unit[e] = c + (channels if step > 0 else 0)
                        position[e] = s - 1 + (crossed - before) / (x - before)
                    e += 1
                    crossed = first + (level[c] + step) * threshold
        if not write:
            offset[i + 1] = e
