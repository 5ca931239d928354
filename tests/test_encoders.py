"""Encoders: each agrees with its definition in plain loops; seconds become microseconds exactly."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsespike.data import encode

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
