"""Graded spikes in what counts, cuts and joins them, and the scale that the next weight takes."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import sparsespike as ss
from cases import EXACT_LIF
from checks import (
    assert_close,
    assert_same_lists,
    assert_something_happened,
    assert_well_formed,
)
from pools import BASE
from sum_pools import most_times

# ---- what reads, cuts and joins them -------------------------------------------------------------


def pooled(*, scale: bool = True, **change: Any) -> tuple[ss.Spikes, Tensor]:
    """(2, 5, 3x4x3) graded spikes with active entries and potentials, and the leaf of their gradient."""
    spikes, leaf, _ = replace(BASE, rate=0.4, **change).spikes()
    spikes = replace(spikes, potential=torch.arange(spikes.n_active).double())
    pool = ss.AvgPool2d if scale else ss.SumPool2d
    out = pool((2, 3), (2, 2), (1, 1))(spikes)
    assert most_times(out) > 1
    assert_something_happened(out)
    return out, leaf


def gradient(out: ss.Spikes, leaf: Tensor) -> Tensor:
    """Of a sum of squares, which reads every number."""
    (grad,) = torch.autograd.grad(out.to_dense().square().sum(), leaf, retain_graph=True)
    return grad


@pytest.mark.parametrize("backend", ["cpu", "dense"])
def test_counts_are_sums_over_time(backend):
    out, leaf = pooled()
    expected = out.to_dense().flatten(2).sum(1)
    upstream = torch.randn(expected.shape, dtype=torch.float64)
    (wanted,) = torch.autograd.grad((expected * upstream).sum(), leaf, retain_graph=True)
    with ss.use_backend(backend):
        for count in (out.count(), ss.ops.count(out)):
            assert_close(count.detach(), expected.detach(), "count")
            (grad,) = torch.autograd.grad((count * upstream).sum(), leaf, retain_graph=True)
            assert_close(grad, wanted, "gradient")
        loss = ss.losses.activity(out, upper=0.25)
    assert loss.item() == pytest.approx(0.06 * (expected.mean(1) - 0.25).clamp(min=0).mean().item())


def test_rates_are_shares_of_entries_and_print_with_the_scale():
    out, _ = pooled()
    dense = out.to_dense()
    assert out.n_spikes == round(float(dense.detach().sum()) * 6) > int((dense > 0).sum())
    assert out.rate() == pytest.approx((dense > 0).double().mean().item())
    assert 0 < out.activity() <= 1 < out.n_active / (out.activity() * dense.numel())
    assert "N=3x4x3, graded x 0.1667:" in repr(out)
    assert "graded" not in repr(BASE.spikes()[0])
    assert (out[:0].rate(), out[:0].activity()) == (0, 0)


def test_samples_and_steps_are_those_of_the_dense_tensor():
    out, leaf = pooled()
    dense = out.to_dense()
    for part, index in (
        (out[1], slice(1, 2)),
        (out[[1, 0, 1]], [1, 0, 1]),
        (out[:, 1:4], (slice(None), slice(1, 4))),
        (out[[1], 2], ([1], slice(2, 3))),
    ):
        assert part.graded
        assert_well_formed(part)
        assert torch.equal(part.to_dense(), dense[index])
        (wanted,) = torch.autograd.grad(dense[index].square().sum(), leaf, retain_graph=True)
        assert torch.equal(gradient(part, leaf), wanted)
    again = ss.Spikes.stack([out[0], out[1]])
    assert_same_lists(again, out)
    assert (again.graded, again.scale) == (True, out.scale)


def test_cat_joins_channels_of_one_scale():
    first, leaf = pooled()
    second, other = pooled(seed=1)
    out = ss.Spikes.cat([first, second])
    assert_well_formed(out)
    assert (out.graded, out.scale, out.unit_shape) == (True, first.scale, (6, 4, 3))
    expected = torch.cat([first.to_dense(), second.to_dense()], 2)
    assert torch.equal(out.to_dense(), expected)
    (wanted,) = torch.autograd.grad(expected.square().sum(), other, retain_graph=True)
    assert torch.equal(gradient(out, other), wanted)
    assert bool(gradient(out, leaf).any())
    plain = ss.Spikes.from_dense((torch.rand(2, 5, 3, 4, 3) < 0.5).double())
    summed, _ = pooled(scale=False)
    mixed = ss.Spikes.cat([plain, summed])
    assert mixed.graded
    assert torch.equal(mixed.to_dense(), torch.cat([plain.to_dense(), summed.to_dense()], 2))
    for join in (ss.Spikes.cat, ss.Spikes.stack):
        with pytest.raises(
            ValueError, match=r"parts: expected one scale of all, found 1 and 0.166667"
        ):
            join([summed, first])


@pytest.mark.parametrize("per", ["sample", "event"])
def test_dropout_leaves_out_whole_numbers(per):
    out, leaf = pooled()
    dense = out.to_dense()
    dropped = ss.Dropout(0.4, per)(out)
    assert_well_formed(dropped)
    assert (dropped.graded, dropped.scale) == (True, out.scale)
    found = dropped.to_dense()
    kept = found == dense
    assert bool((kept | (found == 0)).all())
    assert 0 < int((found > 0).sum()) < int((dense > 0).sum())
    listed = torch.zeros(found.numel()).index_add(
        0, dropped.lists.active_entry(dropped.shape), torch.ones(dropped.n_active)
    )
    before = torch.zeros(found.numel()).index_add(
        0, out.lists.active_entry(out.shape), torch.ones(out.n_active)
    )
    assert bool(((listed == before) | (listed == 0)).all())
    alive = (found > 0) & kept
    assert bool((listed == before)[alive.flatten()].all())
    mask = (listed == before).view(found.shape).double()
    (wanted,) = torch.autograd.grad((dense * mask).sum(), leaf, retain_graph=True)
    (grad,) = torch.autograd.grad(found.sum(), leaf)
    assert_close(grad, wanted, "gradient")


def test_flatten_to_detach_and_pickle_keep_numbers():
    out, _ = pooled()
    dense = out.to_dense().detach()
    assert torch.equal(ss.Flatten()(out).to_dense(), out.to_dense().flatten(2))
    assert torch.equal(out.detach().to_dense(), dense)
    assert torch.equal(pickle.loads(pickle.dumps(out)).to_dense(), dense)
    assert torch.equal(out.to("cpu").to_dense(), dense)
    assert_close(out.to(torch.float32).to_dense().detach(), dense.float(), "float32", 2e-7)
    assert torch.equal(out.to_lists().to_dense(), dense)


def test_what_takes_no_numbers_refuses_them_in_words():
    out, _ = pooled()
    with pytest.raises(
        ValueError, match="for MaxPool2d, found the graded spikes of AvgPool2d or SumPool2d"
    ):
        ss.MaxPool2d(2)(out)
    with pytest.raises(ValueError, match="expected strictly ascending units in each row"):
        ss.Spikes.from_lists(out.unit, out.offset, out.shape)
    with ss.use_backend("gpu"), pytest.raises(ValueError, match=r"spikes: expected .*, found"):
        ss.Layer(ss.Linear(36, 2, dtype=torch.float64), EXACT_LIF)(out)


# ---- the scale -----------------------------------------------------------------------------------


def test_the_scale_goes_into_the_weight_and_not_into_the_bias():
    out, _ = pooled()
    linear = ss.Linear(36, 4, bias=True, dtype=torch.float64)
    current = linear(out)
    expected = torch.nn.functional.linear(out.to_dense().flatten(2), linear.weight, linear.bias)
    assert_close(current.to_dense().detach(), expected.detach(), "current")
    (term,) = current.terms
    assert term.spikes.scale == 1.0
    assert torch.equal(term.parameter[0], linear.weight * out.scale)
    assert term.parameter[1] is linear.bias
    summed, _ = pooled(scale=False)
    assert linear(summed).terms[0].parameter[0] is linear.weight


def test_a_term_made_by_hand_with_a_scale_is_refused():
    out, _ = pooled()
    (term,) = ss.Linear(36, 4, dtype=torch.float64)(out).terms
    with pytest.raises(ValueError, match=r"spikes: expected their scale in the weight, and 1 here"):
        EXACT_LIF(ss.Current((term._replace(spikes=out),)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.bool], ids=str)
def test_other_weights_are_refused_as_ever(dtype):
    out, _ = pooled()
    linear = ss.Linear(36, 4)
    del linear.weight
    linear.weight = torch.ones(4, 36).to(dtype)
    with pytest.raises(ValueError, match=f"weight: expected float32 or float64, found {dtype}"):
        EXACT_LIF(linear(out))
