"""`Spikes`: what goes in comes out, what is wrong is refused by name, gradients pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from checks import assert_same_lists, assert_well_formed
from sparsespike import Spikes


@st.composite
def dense_spikes(draw: st.DrawFn) -> Tensor:
    shape = (draw(st.integers(0, 4)), draw(st.integers(1, 6)), draw(st.integers(1, 9)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rate = draw(st.sampled_from([0.0, 0.2, 0.7, 1.0]))
    return (torch.rand(shape, generator=generator) < rate).float()


def small() -> Tensor:
    """Two samples of three steps of four units, three spikes."""
    dense = torch.zeros(2, 3, 4)
    dense[0, 1, 2] = dense[1, 2, 0] = dense[1, 2, 3] = 1
    return dense


# ---- from_dense and to_dense ---------------------------------------------------------------------


@settings(max_examples=60)
@given(dense=dense_spikes())
def test_dense_comes_back_as_it_was(dense):
    spikes = Spikes.from_dense(dense)
    assert_well_formed(spikes)
    assert spikes.shape == tuple(dense.shape)
    assert spikes.n_active == 0
    assert torch.equal(spikes.to_dense(), dense)
    swapped = Spikes.from_dense(dense.transpose(0, 1).contiguous(), time_first=True)
    assert_same_lists(swapped, spikes)


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64]
)
def test_dense_of_any_dtype(dtype):
    spikes = Spikes.from_dense(small().to(dtype))
    assert spikes.n_spikes == 3
    assert torch.equal(spikes.to_dense(), small())


def test_dense_that_is_not_contiguous():
    wide = torch.zeros(4, 6, 8)
    wide[::2, ::2, ::2] = small()
    assert torch.equal(Spikes.from_dense(wide[::2, ::2, ::2]).to_dense(), small())


def test_lists_are_rows_of_sample_and_step():
    spikes = Spikes.from_dense(small())
    assert spikes.unit.tolist() == [2, 0, 3]
    assert spikes.offset.tolist() == [0, 0, 1, 1, 1, 1, 3]
    assert spikes.row().tolist() == [1, 5, 5]


@pytest.mark.parametrize(
    ("dense", "message"),
    [
        (torch.zeros(2, 3), r"dense: expected a tensor of 0 and 1, .*found .* \(2, 3\)"),
        ([[[0.0]]], "dense: expected a tensor of 0 and 1, .*found list"),
        (torch.full((1, 2, 3), 0.5), "dense: expected only 0 and 1"),
        (torch.full((1, 2, 3), float("nan")), "dense: expected only 0 and 1"),
        (torch.full((1, 2, 3), -1.0), "dense: expected only 0 and 1"),
        (torch.full((1, 2, 3), 2), "dense: expected only 0 and 1"),
        (torch.zeros(1, 0, 3), r"shape: expected \(B, T, N\) with T >= 1 and N >= 1"),
        (torch.zeros(1, 2, 0), r"shape: expected \(B, T, N\) with T >= 1 and N >= 1"),
    ],
    ids=["2d", "list", "half", "nan", "negative", "two", "no_steps", "no_units"],
)
def test_from_dense_refuses(dense, message):
    with pytest.raises(ValueError, match=message):
        Spikes.from_dense(dense)


def test_from_dense_refuses_an_active_set_of_another_shape_or_dtype():
    with pytest.raises(ValueError, match="active: expected bool of shape"):
        Spikes.from_dense(small(), active=torch.ones(2, 3, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="active: expected bool of shape"):
        Spikes.from_dense(small(), active=torch.ones(2, 3, 4))


@settings(max_examples=40)
@given(dense=dense_spikes(), seed=st.integers(0, 99))
def test_gradient_reaches_exactly_the_active_entries(dense, seed):
    generator = torch.Generator().manual_seed(seed)
    active = torch.rand(dense.shape, generator=generator) < 0.5
    upstream = torch.randn(dense.shape, generator=generator)
    for time_first in (False, True):
        leaf = (dense.transpose(0, 1) if time_first else dense).clone().requires_grad_()
        mask = active.transpose(0, 1) if time_first else active
        spikes = Spikes.from_dense(leaf, active=mask, time_first=time_first)
        assert_well_formed(spikes)
        assert spikes.n_active == int(active.sum())
        assert torch.equal(spikes.to_dense(), dense)
        if not spikes.n_active:
            continue
        (grad,) = torch.autograd.grad((spikes.to_dense() * upstream).sum(), leaf)
        expected = upstream * active
        assert torch.equal(grad, expected.transpose(0, 1) if time_first else expected)


def test_dense_that_requires_a_gradient_is_active_everywhere():
    assert Spikes.from_dense(small().requires_grad_()).n_active == 24
    assert Spikes.from_dense(small()).n_active == 0


# ---- from_lists ----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(dense=dense_spikes())
def test_lists_come_back_as_they_were(dense):
    spikes = Spikes.from_dense(dense)
    again = Spikes.from_lists(spikes.unit, spikes.offset, spikes.shape)
    assert_well_formed(again)
    assert_same_lists(again, spikes)


UNIT, OFFSET = torch.tensor([2, 0, 3]), torch.tensor([0, 0, 1, 1, 1, 1, 3])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_from_lists_takes_any_integer(dtype):
    spikes = Spikes.from_lists(UNIT.to(dtype), OFFSET.to(dtype), (2, 3, 4))
    assert_well_formed(spikes)
    assert torch.equal(spikes.to_dense(), small())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize(
    ("unit", "offset", "shape", "message"),
    [
        ([2, 3, 0], [0, 0, 1, 1, 1, 1, 3], (2, 3, 4), "unit: expected strictly ascending"),
        ([2, 3, 3], [0, 0, 1, 1, 1, 1, 3], (2, 3, 4), "unit: expected strictly ascending"),
        ([2, 0, 4], [0, 0, 1, 1, 1, 1, 3], (2, 3, 4), r"unit: expected values in \[0, 4\)"),
        ([2, 0, 3], [0, 0, 1, 1, 1, 3], (2, 3, 4), "offset: expected 7 entries"),
        ([2, 0, 3], [0, 0, 1, 1, 1, 1, 2], (2, 3, 4), "offset: expected an ascending list"),
        ([2, 0, 3], [1, 1, 1, 1, 1, 1, 3], (2, 3, 4), "offset: expected an ascending list"),
        ([2, 0, 3], [0, 0, 2, 1, 1, 1, 3], (2, 3, 4), "offset: expected an ascending list"),
        ([2, 0, 3], [0, 0, 1, 1, 1, 1, 3], (2, 3), "shape: expected"),
        ([2, 0, 3], [0], (2, 0, 4), "shape: expected"),
    ],
    ids=["order", "twice", "range", "rows", "end", "start", "descend", "2d", "no_steps"],
)
def test_from_lists_refuses(unit, offset, shape, message, dtype):
    with pytest.raises(ValueError, match=message):
        Spikes.from_lists(torch.tensor(unit, dtype=dtype), torch.tensor(offset, dtype=dtype), shape)


@pytest.mark.parametrize(
    ("unit", "offset", "message"),
    [
        (UNIT.float(), OFFSET, "unit: expected a 1-D tensor of integers, found torch.float32"),
        (UNIT, OFFSET.bool(), "offset: expected a 1-D tensor of integers, found torch.bool"),
        (UNIT[None], OFFSET, "unit: expected a 1-D tensor"),
        ([2, 0, 3], OFFSET, "unit: expected a 1-D tensor of integers, found list"),
        (-1 - UNIT, OFFSET, r"unit: expected values in \[0, 4\), found -4"),
    ],
    ids=["float", "bool", "2d", "list", "negative"],
)
def test_from_lists_refuses_what_is_no_list_of_integers(unit, offset, message):
    with pytest.raises(ValueError, match=message):
        Spikes.from_lists(unit, offset, (2, 3, 4))


# ---- from_events ---------------------------------------------------------------------------------


@settings(max_examples=60)
@given(dense=dense_spikes(), seed=st.integers(0, 99), twice=st.booleans())
def test_events_in_any_order_give_the_same_lists(dense, seed, twice):
    order = torch.randperm(int(dense.sum()), generator=torch.Generator().manual_seed(seed))
    sample, step, unit = (index[order] for index in dense.nonzero(as_tuple=True))
    if twice:
        sample, step, unit = (torch.cat([index, index]) for index in (sample, step, unit))
    spikes = Spikes.from_events(sample, step, unit, shape=tuple(dense.shape))
    assert_well_formed(spikes)
    assert spikes.n_clamped == (len(order) if twice else 0)
    assert_same_lists(spikes, Spikes.from_dense(dense))


def test_no_events_at_all():
    none = torch.empty(0, dtype=torch.int64)
    spikes = Spikes.from_events(none, none, none, shape=(2, 3, 4))
    assert_well_formed(spikes)
    assert spikes.n_spikes == spikes.n_clamped == 0
    assert spikes.rate() == 0


def test_large_batches_keep_their_indices_apart():
    """sample * T * N goes past 2^31."""
    sample = torch.tensor([69_999, 0], dtype=torch.int32)
    step, unit = torch.tensor([9, 0], dtype=torch.int32), torch.tensor([3999, 1], dtype=torch.int32)
    spikes = Spikes.from_events(sample, step, unit, shape=(70_000, 10, 4000))
    assert spikes.unit.tolist() == [1, 3999]
    assert spikes.row().tolist() == [0, 699_999]


@pytest.mark.parametrize(
    ("name", "index", "message"),
    [
        ("sample", [0, 2], r"sample: expected values in \[0, 2\), found 0 to 2"),
        ("step", [0, 3], r"step: expected values in \[0, 3\), found 0 to 3"),
        ("unit", [0, -1], r"unit: expected values in \[0, 4\), found -1 to 0"),
        ("step", [0], "step: expected 2 entries, found 1"),
        ("unit", [0, 1, 1], "unit: expected 2 entries, found 3"),
        ("unit", [0.0, 1.0], "unit: expected a 1-D tensor of integers"),
    ],
)
def test_from_events_refuses(name, index, message):
    events: dict[str, Any] = {key: torch.tensor([0, 1]) for key in ("sample", "step", "unit")}
    events[name] = torch.tensor(index)
    with pytest.raises(ValueError, match=message):
        Spikes.from_events(**events, shape=(2, 3, 4))
