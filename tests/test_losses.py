"""Losses: literal formulas, in loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sparsespike as ss
from cases import BASE
from checks import assert_close

POTENTIAL = torch.tensor(
    [[[0.0, 0.0], [1.0, -2.0], [0.5, 3.0]], [[0.0, 0.0], [-1.0, -2.0], [-0.5, 2.0]]],
    dtype=torch.float64,
)  # (2 samples, 3 steps, 2 classes)


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        ("max", [[1.0, 3.0], [0.0, 2.0]]),
        ("sum", [[1.5, 1.0], [-1.5, 0.0]]),
        ("mean", [[0.5, 1 / 3], [-0.5, 0.0]]),
        ("last", [[0.5, 3.0], [-0.5, 2.0]]),
    ],
)
def test_logits_pool_over_time(reduce, expected):
    assert_close(
        ss.losses.logits(POTENTIAL, reduce), torch.tensor(expected, dtype=torch.float64), "logits"
    )


@pytest.mark.parametrize("reduce", ["max", "sum", "mean", "last"])
def test_cross_entropy_is_the_mean_negative_log_likelihood(reduce):
    label = torch.tensor([1, 0])
    total = 0.0
    for sample in range(2):
        pooled = ss.losses.logits(POTENTIAL, reduce)[sample].tolist()
        total -= pooled[label[sample]] - math.log(sum(math.exp(y) for y in pooled))
    found = ss.losses.cross_entropy(POTENTIAL, label, reduce)
    assert found.item() == pytest.approx(total / 2, rel=1e-12)


def test_cross_entropy_pools_by_the_maximum_unless_told():
    label = torch.tensor([1, 0])
    assert torch.equal(
        ss.losses.cross_entropy(POTENTIAL, label), ss.losses.cross_entropy(POTENTIAL, label, "max")
    )


def test_cross_entropy_has_the_gradient_of_its_formula():
    label = torch.tensor([1, 0])
    potential = POTENTIAL.clone().requires_grad_()
    ss.losses.cross_entropy(potential, label, "sum").backward()
    share = POTENTIAL.sum(1).softmax(1)
    expected = (share - torch.nn.functional.one_hot(label)) / 2
    assert potential.grad is not None
    assert_close(potential.grad, expected[:, None].expand(2, 3, 2), "gradient")


def test_losses_refuse_by_name():
    label = torch.tensor([1, 0])
    with pytest.raises(ValueError, match='reduce: expected "max", "sum", "mean" or "last"'):
        ss.losses.cross_entropy(POTENTIAL, label, "median")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"potential: expected \(B, T, C\), found \(2, 3\)"):
        ss.losses.cross_entropy(POTENTIAL[..., 0], label)
    with pytest.raises(ValueError, match=r"label: expected 2 labels, one per sample, found \(3,\)"):
        ss.losses.cross_entropy(POTENTIAL, torch.tensor([1, 0, 1]))


def literal_activity(dense: Tensor, upper: float, lower: float) -> Tensor:
    """0.06 max(0, n - upper) + 100 / N sum_i max(0, lower - n_i)^2, mean over samples."""
    total = torch.zeros((), dtype=dense.dtype)
    for sample in dense:
        count = [sample[:, i].sum() for i in range(sample.shape[1])]
        mean = torch.stack(count).sum() / len(count)
        total = total + 0.06 * (mean - upper).clamp(min=0)
        for n_i in count:
            total = total + 100.0 / len(count) * (lower - n_i).clamp(min=0) ** 2
    return total / len(dense)


@pytest.mark.parametrize(
    ("upper", "lower"), [(1.0, 1e-3), (0.5, 1.5), (100.0, 1e-3), (0.0, 0.0), (100.0, 5.0)]
)
def test_activity_is_the_papers_formula_with_its_gradient(upper, lower):
    spikes, leaf = BASE.spikes()
    assert leaf is not None
    found = ss.losses.activity(spikes, upper=upper, lower=lower)
    plain = BASE.dense()[0].requires_grad_()
    expected = literal_activity(plain, upper, lower)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    found.backward()
    expected.backward()
    assert leaf.grad is not None
    assert plain.grad is not None
    assert_close(leaf.grad, plain.grad * BASE.dense()[1], "gradient at the active entries")


def test_activity_of_the_papers_defaults():
    """One sample, two neurons with 4 and 0 spikes: 0.06 (2 - 1) + 100 / 2 (1e-3)^2."""
    dense = torch.zeros(1, 6, 2, dtype=torch.float64)
    dense[0, :4, 0] = 1
    found = ss.losses.activity(ss.Spikes.from_dense(dense).to(torch.float64))
    assert found.item() == pytest.approx(0.06 + 50 * 1e-6, rel=1e-12)


def test_activity_starts_silent_neurons_that_come_into_the_band():
    leaf = torch.zeros(1, 3, 2, requires_grad=True)
    active = torch.zeros(1, 3, 2, dtype=torch.bool)
    active[0, 1, 0] = True
    ss.losses.activity(ss.Spikes.from_dense(leaf, active=active)).backward()
    assert leaf.grad is not None
    assert leaf.grad[0, 1, 0].item() == pytest.approx(-2 * 100 / 2 * 1e-3)  # more spikes: less cost
    assert int((leaf.grad != 0).sum()) == 1


def test_labels_may_be_any_integers():
    potential = torch.randn(3, 2, 4, dtype=torch.float64)
    expected = ss.losses.cross_entropy(potential, torch.tensor([3, 0, 1]))
    assert float(expected) > 0
    for label in (
        torch.tensor([3, 0, 1], dtype=torch.int32),
        torch.tensor([3, 0, 1], dtype=torch.uint8),
        np.array([3, 0, 1], np.int16),
        [3, 0, 1],
    ):
        assert torch.equal(ss.losses.cross_entropy(potential, label), expected)


WRONG_LABELS = {
    "one_too_few": (torch.tensor([0]), r"2 labels, one per sample, found \(1,\)"),
    "one_hot": (torch.eye(2, dtype=torch.int64), r"2 labels, one per sample, found \(2, 2\)"),
    "scalar": (0, r"2 labels, one per sample, found \(\)"),
    "float": (torch.zeros(2), "integers, found torch.float32"),
    "bool": (torch.zeros(2, dtype=torch.bool), "integers, found torch.bool"),
    "float_array": (np.zeros(2), "2 labels, one per sample, found float64 of shape"),
    "none": (None, "2 labels, one per sample, found None"),
    "text": ("ab", "2 labels, one per sample, found 'ab'"),
}


@pytest.mark.parametrize("name", WRONG_LABELS)
def test_other_labels_are_refused_by_name(name):
    label, found = WRONG_LABELS[name]
    with pytest.raises(ValueError, match=f"^label: expected {found}"):
        ss.losses.cross_entropy(POTENTIAL[:2], label)


@pytest.mark.parametrize("label", [[0, 9], [-100, 0]])
def test_labels_out_of_range_are_refused(label):
    n_class = POTENTIAL.shape[2]
    with pytest.raises(ValueError, match=rf"^label: expected labels in \[0, {n_class}\), found"):
        ss.losses.cross_entropy(POTENTIAL[:2], torch.tensor(label))


SPIKES = ss.Spikes.from_dense(torch.ones(2, 3, 4))


@pytest.mark.parametrize("potential", [SPIKES, None, np.zeros((2, 3, 4)), 1.0, [SPIKES]])
def test_what_is_no_potential_is_refused_by_name(potential):
    for use in (ss.losses.logits, lambda x: ss.losses.cross_entropy(x, torch.tensor([0, 1]))):
        with pytest.raises(ValueError, match=r"^potential: expected \(B, T, C\)"):
            use(potential)
    with pytest.raises(
        ValueError, match=r"potential: expected floating numbers, found torch.int64"
    ):
        ss.losses.logits(torch.zeros(2, 3, 4, dtype=torch.int64))


@pytest.mark.parametrize("spikes", [POTENTIAL, None, [SPIKES], np.zeros((2, 3, 4))])
def test_activity_of_what_is_no_spikes_is_refused(spikes):
    with pytest.raises(ValueError, match=r"^spikes: expected Spikes"):
        ss.losses.activity(spikes)


@pytest.mark.parametrize("name", ["upper", "upper_weight", "lower", "lower_weight"])
def test_numbers_of_activity(name):
    plain = ss.losses.activity(SPIKES, **{name: 2.0})
    value: Any
    for value in (np.float32(2), torch.tensor(2), 2):
        assert torch.equal(ss.losses.activity(SPIKES, **{name: value}), plain)
    for value in (-1.0, math.nan, math.inf, "1", None, torch.ones(2), True):
        with pytest.raises(ValueError, match=f"^{name}: expected a finite number >= 0, found"):
            ss.losses.activity(SPIKES, **{name: value})
