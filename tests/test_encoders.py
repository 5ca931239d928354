"""Encoders: each agrees with its definition in plain loops; seconds become microseconds exactly."""

import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsespike.data import EventDataset, encode, encoders

FLOATS = pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])

# ---- seconds to microseconds -------------------------------------------------------------------


@given(seconds=st.lists(st.floats(0, 1e12), max_size=5))
@settings(deadline=None, max_examples=100)
def test_microseconds_are_the_nearest(seconds):
    found = encode.nearest_us(np.array(seconds, np.float64))
    assert found.dtype == np.int64
    # The product is rounded once, by at most half a unit in its last place.
    for exact, us in zip(seconds, found.tolist(), strict=True):
        assert abs(Fraction(exact) * 10**6 - us) <= Fraction(1, 2) + Fraction(exact) * 10**6 / 2**53


def test_a_tie_between_microseconds_goes_to_the_even_one():
    # k / 64 s is exact, and so is its product with 10^6 = 64 * 15625,
    # k / 128 s in .5 for odd k.
    assert encode.nearest_us(np.array([1, 3, 5, 7]) / 128).tolist() == [7812, 23438, 39062, 54688]


@FLOATS
def test_no_floating_type_overflows_in_microseconds(dtype):
    seconds = np.array([[0.0, 0.5], [1.25, 3.0]], dtype)
    assert encode.nearest_us(seconds).tolist() == [[0, 500_000], [1_250_000, 3_000_000]]
    assert encode.nearest_us(seconds[:0]).shape == (0, 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1e-9, 2**62 / 1e6, 1e308])
def test_a_time_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match=r"^seconds: expected .* found " + re.escape(str(bad))):
        encode.nearest_us(np.array([0.0, bad, 1.0]))


def test_whole_numbers_are_no_seconds():
    with pytest.raises(ValueError, match="seconds: expected floating numbers, found int64"):
        encode.nearest_us(np.array([1, 2]))


# ---- first-spike latency --------------------------------------------------------------------------


def test_latency_code_is_the_papers_in_exact_arithmetic():
    table = encoders.latency_table()
    for p in range(256):
        x = Decimal(p) / 255
        if p <= 51:  # x < 0.2, and x = 0.2, whose time is infinite
            assert table[p] == -1
        else:
            assert table[p] == 1000 * math.floor(20 * (x / (x - Decimal("0.2"))).ln())
    assert (table[52], table[255]) == (79_000, 4_000)
    assert (np.diff(table[52:]) <= 0).all()


def test_latency_events_of_images():
    images = np.array([[[255, 51], [52, 0]], [[0, 0], [0, 51]], [[60, 60], [60, 60]]], np.uint8)
    unit, time, offset = encoders.latency_events(images)
    assert unit.tolist() == [0, 2, 0, 1, 2, 3]
    assert time.tolist() == [4000, 79_000, *[37_000] * 4]
    assert offset.tolist() == [0, 2, 2, 6]
    assert encoders.latency_events(images[:0])[2].tolist() == [0]


@pytest.mark.parametrize("images", [np.zeros((2, 3)), np.zeros(3, np.uint8)], ids=["float", "1-D"])
def test_latency_events_of_something_else_are_refused(images):
    with pytest.raises(ValueError, match="images: expected uint8"):
        encoders.latency_events(images)


# ---- rate --------------------------------------------------------------------------------------


def test_poisson_counts_have_the_mean_and_variance_of_their_rate():
    intensity = np.tile(np.array([0.0, 0.25, 1.0]), (4000, 1))
    unit, time, offset = encoders.poisson_events(intensity, max_rate=40.0, duration=0.5, seed=0)
    sample = np.repeat(np.arange(4000), np.diff(offset))
    n_of = np.zeros((4000, 3), int)
    np.add.at(n_of, (sample, unit), 1)
    for x, column in zip((0.25, 1.0), n_of.T[1:], strict=True):
        expected = x * 40.0 * 0.5
        # Five standard errors: of the mean, and of the variance, whose fourth moment is 3 m^2 + m.
        assert abs(column.mean() - expected) < 5 * math.sqrt(expected / 4000)
        error = math.sqrt((2 * expected**2 + expected) / 4000)
        assert abs(column.var() - expected) < 5 * error
    assert n_of[:, 0].sum() == 0
    # Uniform times: the largest gap between the two distribution functions (Kolmogorov, P < 1e-6).
    ranks = np.sort(time) / 500_000 - np.arange(len(time)) / len(time)
    assert np.abs(ranks).max() < 2.7 / math.sqrt(len(time))
    assert (time.min() >= 0, time.max() < 500_000) == (True, True)


def test_poisson_spikes_in_a_step_with_one_minus_exp():
    unit, time, offset = encoders.poisson_events(
        np.ones((200, 10)), max_rate=1000.0, duration=0.1, seed=1
    )
    events = EventDataset.from_arrays(
        unit, time, offset, np.zeros(200, int), n_units=10, n_classes=1
    )
    counts = events.count(100, 1e-3)
    share = counts.n_spikes / (200 * 10 * 100)
    expected = 1 - math.exp(-1)
    assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / 200_000)
    assert counts.n_late == 0
    assert counts.n_clamped > 0


def test_poisson_events_depend_on_the_seed_alone():
    images = np.random.default_rng(0).random((3, 4, 5), np.float32)
    first, again, other = (
        encoders.poisson_events(images, max_rate=100.0, duration=0.2, seed=seed)
        for seed in (7, 7, 8)
    )
    assert len(first[0]) > 100
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert first[1].tolist() != other[1].tolist()
    for i in range(3):  # ascending units in every sample
        assert (np.diff(first[0][first[2][i] : first[2][i + 1]]) >= 0).all()


# ---- send-on-delta -----------------------------------------------------------------------------


def literal_delta(signal, rate: int, threshold: Fraction):
    """(unit, time, offset) by the definition, in exact fractions and plain loops."""
    unit, time, offset = [], [], [0]
    n, samples, channels = signal.shape
    for i in range(n):
        x = [[Fraction(float(v)) for v in row] for row in signal[i]]
        level = list(x[0])
        for s in range(1, samples):
            for c in range(channels):
                before, now = x[s - 1][c], x[s][c]
                while abs(now - level[c]) >= threshold:
                    level[c] += threshold if now > level[c] else -threshold
                    at = s - 1 + (level[c] - before) / (now - before)
                    unit.append(c + channels if now > before else c)
                    time.append(round(at * 10**6 / rate))
        offset.append(len(unit))
    return unit, time, offset


@given(
    signal=st.lists(
        st.lists(st.lists(st.integers(-20, 20), min_size=2, max_size=2), min_size=4, max_size=4),
        max_size=3,
    ),
    threshold=st.integers(1, 12),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
@settings(deadline=None, max_examples=100)
def test_delta_events_are_the_literal_definition(signal, threshold, dtype):
    # Multiples of 1/4, exact in every type; 1 / 64 s between samples, so that no time is a near tie.
    given_signal = (np.array(signal, np.float64).reshape(-1, 4, 2) / 4).astype(dtype)
    unit, time, offset = encoders.delta_events(
        given_signal, sample_rate=64.0, threshold=threshold / 4
    )
    expected = literal_delta(given_signal, 64, Fraction(threshold, 4))
    assert (unit.tolist(), time.tolist(), offset.tolist()) == expected


def test_delta_events_follow_the_signal_to_within_a_threshold():
    rng = np.random.default_rng(0)
    signal = np.cumsum(rng.standard_normal((3, 400, 2)), axis=1)
    unit, time, offset = encoders.delta_events(signal, sample_rate=1000.0, threshold=0.7)
    assert len(unit) > 1000
    for i in range(3):
        part = slice(offset[i], offset[i + 1])
        for c in range(2):
            sign = (unit[part] == c + 2).astype(int) - (unit[part] == c)
            for s in (0, 1, 57, 200, 399):
                level = signal[i, 0, c] + 0.7 * sign[time[part] <= s * 1000].sum()
                assert abs(level - signal[i, s, c]) < 0.7 + 1e-9


def test_a_jump_over_several_levels_has_its_events_along_the_line():
    unit, time, offset = encoders.delta_events(
        np.array([[[0.0], [0.0], [3.0], [1.5]]]), sample_rate=10.0, threshold=1.0
    )
    assert unit.tolist() == [1, 1, 1, 0]
    assert time.tolist() == [133_333, 166_667, 200_000, 266_667]
    assert offset.tolist() == [0, 4]


def test_a_still_signal_has_no_delta_events():
    still = np.full((2, 5, 3), 0.1)
    assert encoders.delta_events(still, sample_rate=1.0, threshold=1e-9)[2].tolist() == [0, 0, 0]
    assert encoders.delta_events(still[:, :1], sample_rate=1.0, threshold=1.0)[0].size == 0


# ---- population --------------------------------------------------------------------------------


@given(
    value=st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), max_size=4),
    n_fields=st.integers(3, 7),
    beta=st.sampled_from([1.0, 1.5, 2.0]),
)
@settings(deadline=None, max_examples=100)
def test_population_events_are_the_literal_definition(value, n_fields, beta):
    low, high = np.array([-1.0, 5.0]), np.array([1.0, 6.0])
    x = low + np.array(value).reshape(-1, 2) * (high - low)
    unit, time, offset = encoders.population_events(
        x, low, high, n_fields=n_fields, duration=0.01, beta=beta
    )
    expected: list[tuple[int, float]] = []
    for i, row in enumerate(x):
        for j, number in enumerate(row):
            width = high[j] - low[j]
            sigma = width / beta / (n_fields - 2)
            for field in range(1, n_fields + 1):
                mu = low[j] + (2 * field - 3) / 2 * width / (n_fields - 2)
                g = math.exp(-((number - mu) ** 2) / (2 * sigma**2))
                if g >= 0.1:
                    expected.append((j * n_fields + field - 1, 10_000 * (1 - g)))
        assert offset[i + 1] == len(expected)
    assert unit.tolist() == [u for u, _ in expected]
    for us, exact in zip(time.tolist(), expected, strict=True):
        assert abs(us - exact[1]) <= 0.5 + 1e-6


def test_the_closest_field_of_a_population_spikes_first_and_tells_the_number():
    x = np.linspace(-1, 1, 50)
    unit, time, offset = encoders.population_events(x, -1.0, 1.0, n_fields=10, duration=0.1)
    centres = -1 + (2 * np.arange(1, 11) - 3) / 8
    for i in range(50):
        part = slice(offset[i], offset[i + 1])
        assert 2 <= offset[i + 1] - offset[i] <= 3
        first = unit[part][time[part].argmin()]
        assert abs(centres[first] - x[i]) <= 1 / 8 + 1e-9


# ---- what they share ---------------------------------------------------------------------------

IMAGE, SIGNAL = np.full((2, 3), 0.5), np.zeros((2, 5, 3))
RATE = {"max_rate": 10.0, "duration": 0.1, "seed": 0}
DELTA = {"sample_rate": 10.0, "threshold": 0.1}
FIELDS = {"low": 0.0, "high": 1.0, "n_fields": 5, "duration": 0.1}


@pytest.mark.parametrize(
    ("encoder", "data", "arguments", "message"),
    [
        ("poisson", IMAGE.astype(np.int64), RATE, "intensity: expected floating numbers"),
        ("poisson", IMAGE + 1, RATE, r"intensity: .* in \[0.0, 1.0\], found 1.5 and 5 more"),
        ("poisson", IMAGE * math.nan, RATE, "intensity: .* found nan"),
        ("poisson", IMAGE, {**RATE, "max_rate": -1.0}, "max_rate: expected .* found -1.0"),
        ("poisson", IMAGE, {**RATE, "duration": 1e-7}, "duration: expected .* found 1e-07"),
        ("poisson", IMAGE, {**RATE, "duration": math.nan}, "duration: expected .* found nan"),
        ("poisson", IMAGE, {**RATE, "seed": -1}, "seed: expected .* found -1"),
        ("delta", IMAGE, DELTA, r"signal: expected the shape .* found \(2, 3\)"),
        ("delta", SIGNAL[:, :0], DELTA, r"signal: expected the shape .* found \(2, 0, 3\)"),
        ("delta", SIGNAL + math.inf, DELTA, "signal: expected finite .* found inf"),
        ("delta", SIGNAL, {**DELTA, "threshold": 0.0}, "threshold: expected .* found 0.0"),
        ("delta", SIGNAL + 1, {**DELTA, "threshold": 1e-10}, "threshold: expected more than"),
        ("delta", SIGNAL, {**DELTA, "sample_rate": 0.0}, "sample_rate: expected .* found 0.0"),
        ("population", IMAGE + 1, FIELDS, r"value: .* in \[0.0, 1.0\], found 1.5"),
        ("population", IMAGE, {**FIELDS, "low": 1.0}, "low, high: expected .* found 1.0 and 1.0"),
        ("population", IMAGE, {**FIELDS, "low": np.zeros(2)}, r"low: expected .* shape \(2,\)"),
        ("population", IMAGE, {**FIELDS, "n_fields": 2}, "n_fields: expected .* found 2"),
        ("population", IMAGE, {**FIELDS, "beta": 0.0}, "beta: expected .* found 0.0"),
        ("population", IMAGE, {**FIELDS, "duration": -1.0}, "duration: expected .* found -1.0"),
    ],
)
def test_what_an_encoder_cannot_take_is_named(encoder, data, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        getattr(encoders, f"{encoder}_events")(data, **arguments)


@pytest.mark.parametrize(
    ("encoder", "data", "arguments", "n_units"),
    [("poisson", IMAGE, RATE, 3), ("delta", SIGNAL, DELTA, 6), ("population", IMAGE, FIELDS, 15)],
)
def test_no_samples_are_encoded_to_no_samples(encoder, data, arguments, n_units):
    unit, time, offset = getattr(encoders, f"{encoder}_events")(data[:0], **arguments)
    events = EventDataset.from_arrays(
        unit, time, offset, np.zeros(0, int), n_units=n_units, n_classes=1
    )
    assert (len(events), events.n_events) == (0, 0)
