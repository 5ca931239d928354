"""Every check can fail: a comparison that never raises would hide any error."""

from __future__ import annotations

import platform
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import checks
from sparsespike import Spikes


def some_spikes() -> Spikes:
    dense = torch.zeros(2, 3, 4)
    dense[0, 1, 2] = dense[1, 2, 0] = dense[1, 2, 3] = 1
    active = dense.bool().clone()
    active[0, 0, 1] = True
    spikes = Spikes.from_dense(dense, active=active)
    return replace(spikes, potential=torch.tensor([0.9, 1.1, 1.2, 1.3]))


def altered(spikes: Spikes, **change: Tensor) -> Spikes:
    """With another `value`, or another part of its lists."""
    if "value" in change:
        return replace(spikes, **change)
    return replace(spikes, storage=spikes.lists._replace(**change))


def test_something_happened_accepts_events_with_gradient():
    checks.assert_something_happened(some_spikes(), torch.tensor([0.0, 1.0]))


def test_something_happened_refuses_silence():
    with pytest.raises(AssertionError, match="no spike"):
        checks.assert_something_happened(Spikes.from_dense(torch.zeros(1, 2, 3)))


def test_something_happened_refuses_no_active_entry():
    with pytest.raises(AssertionError, match="no active"):
        checks.assert_something_happened(some_spikes().detach())


def test_something_happened_names_the_zero_gradient():
    with pytest.raises(AssertionError, match="gradient 1 is zero"):
        checks.assert_something_happened(some_spikes(), torch.ones(2), torch.zeros(2))


def test_relative_error_is_relative_to_the_largest():
    assert checks.relative_error(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 4.0])) == 0.25
    assert checks.relative_error(torch.tensor([3.0]), torch.tensor([0.0])) == 3.0
    assert checks.relative_error(torch.empty(0), torch.empty(0)) == 0.0


def test_close_accepts_rounding():
    expected = torch.tensor([1.0, -2.0], dtype=torch.float64)
    checks.assert_close(expected * (1 + 1e-15), expected, "x")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (torch.tensor([1.0]), "shape"),
        (torch.tensor([1.0, 2.0]), "dtype"),
        (torch.tensor([1.0, float("nan")], dtype=torch.float64), "1 not finite"),
        (torch.tensor([1.0, 2.0 + 1e-11], dtype=torch.float64), r"relative error.*at \(1,\)"),
    ],
    ids=["shape", "dtype", "nan", "error"],
)
def test_close_refuses(found, message):
    expected = torch.tensor([1.0, 2.0], dtype=torch.float64)
    with pytest.raises(AssertionError, match=f"x: {message}|x: found {message}"):
        checks.assert_close(found, expected, "x")


def test_close_refuses_a_reference_that_is_not_finite():
    broken = torch.tensor([float("inf")])
    with pytest.raises(AssertionError, match="reference"):
        checks.assert_close(broken, broken, "x")


def test_float32_tolerance_is_wider_than_float64_by_its_rounding():
    expected = torch.tensor([1.0, 2.0])
    checks.assert_close(expected + 1e-5, expected, "x")
    with pytest.raises(AssertionError, match="relative error"):
        checks.assert_close(expected + 1e-4, expected, "x")


def test_same_gradient_refuses_a_row_that_is_lost():
    expected = torch.tensor([[1.0, 1.0], [1e-6, 1e-6]])
    found = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    checks.assert_close(found, expected, "element bound alone")
    with pytest.raises(AssertionError, match=r"rows \[1\] zero in found only"):
        checks.assert_same_gradient(found, expected, "gradient")
    with pytest.raises(AssertionError, match=r"rows \[1\] zero in expected only"):
        checks.assert_same_gradient(expected, found, "gradient")


def test_same_gradient_refuses_one_that_is_missing():
    checks.assert_same_gradient(None, torch.zeros(2), "gradient")
    checks.assert_same_gradient(None, None, "gradient")
    with pytest.raises(AssertionError, match="one side only"):
        checks.assert_same_gradient(None, torch.ones(2), "gradient")
    with pytest.raises(AssertionError, match="one side only"):
        checks.assert_same_gradient(torch.ones(2), None, "gradient")


@pytest.mark.parametrize("name", ["unit", "offset", "active_unit", "active_offset", "value"])
def test_same_lists_names_what_differs(name):
    spikes = some_spikes()
    checks.assert_same_lists(spikes, some_spikes())
    changed = getattr(spikes, name).clone()
    changed[1] += 1
    with pytest.raises(AssertionError, match=f"spikes.{name}: differs first at 1"):
        checks.assert_same_lists(altered(spikes, **{name: changed}), spikes)


def test_same_lists_refuses_another_length_potential_or_shape():
    spikes = some_spikes()
    assert spikes.potential is not None
    with pytest.raises(AssertionError, match="2 entries, expected 3"):
        checks.assert_same_lists(altered(spikes, unit=spikes.unit[:2]), spikes)
    with pytest.raises(AssertionError, match="potential"):
        checks.assert_same_lists(replace(spikes, potential=spikes.potential + 1), spikes)
    with pytest.raises(AssertionError, match="potential"):
        checks.assert_same_lists(replace(spikes, potential=None), spikes)
    with pytest.raises(AssertionError, match="shape"):
        checks.assert_same_lists(replace(spikes, shape=(2, 3, 5)), spikes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": torch.tensor([2, 3, 0], dtype=torch.int32)}, "ascend"),
        ({"unit": torch.tensor([2, 0, 4], dtype=torch.int32)}, "outside"),
        ({"unit": torch.tensor([2, 0, 3])}, "int32"),
        ({"offset": torch.tensor([0, 0, 1, 1, 1, 1, 2])}, "end at 2"),
        ({"offset": torch.tensor([0, 2, 1, 1, 1, 1, 3])}, "descend"),
        ({"value": torch.tensor([1.0, 1.0, 1.0, 1.0])}, "not the spikes"),
        ({"value": torch.tensor([1.0])}, "another length"),
    ],
    ids=["order", "range", "dtype", "end", "bounds", "value", "length"],
)
def test_well_formed_refuses(change, message):
    checks.assert_well_formed(some_spikes())
    with pytest.raises(AssertionError, match=message):
        checks.assert_well_formed(altered(some_spikes(), **change))


def test_uninitialised_torch_memory_is_nan():
    assert bool(torch.empty(1000).isnan().all())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc fills the heap")
def test_uninitialised_heap_is_nan():
    assert np.isnan(np.empty(100_000)).all()
