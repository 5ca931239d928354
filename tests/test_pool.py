"""`MaxPool2d` against PyTorch on the dense tensor: spikes, active set, every gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

import sparsespike as ss
from checks import assert_something_happened, assert_well_formed
from pools import BASE, LIVELY, Pool, has_a_place, pools


def active_set(spikes: ss.Spikes) -> Tensor:
    """(B, T, *unit_shape), bool."""
    active = torch.zeros(spikes.shape, dtype=torch.bool).view(-1)
    active[spikes.storage.active_entry(spikes.shape)] = True
    return active.view(*spikes.shape[:2], *spikes.unit_shape)


def compare(case: Pool) -> tuple[ss.Spikes, Tensor]:
    """Output, and the gradient of its input; equal to PyTorch's bit by bit."""
    spikes, leaf, active = case.spikes()
    out = case.module()(spikes)
    expected, peak = case.reference(leaf)
    assert out.to_dense().dtype == expected.dtype
    assert torch.equal(out.to_dense(), expected)
    assert type(out.storage) is type(spikes.storage)
    assert_well_formed(out.to_lists())
    wanted = active.flatten(3).gather(3, peak.flatten(3)).view(expected.shape)
    assert torch.equal(active_set(out), wanted)
    out.check()
    upstream = torch.randn(expected.shape, dtype=case.dtype)
    grad = torch.zeros_like(leaf)
    if out.value.requires_grad:
        (grad,) = torch.autograd.grad((out.to_dense() * upstream).sum(), leaf)
    (reference,) = torch.autograd.grad((expected * upstream).sum(), leaf)
    assert torch.equal(grad, reference * active)
    return out, grad


@pytest.mark.parametrize("kind", ["lists", "words"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", LIVELY)
def test_spikes_active_set_and_gradient_are_those_of_pytorch(name, dtype, kind):
    out, grad = compare(replace(LIVELY[name], dtype=dtype, kind=kind))
    assert_something_happened(out, grad)
    assert int(out.value.detach().sum()) > 0
    assert name == "crowded" or int(out.value.detach().sum()) < out.n_active


@settings(max_examples=600)
@given(pools())
def test_generated_pools_are_those_of_pytorch_or_refused(case):
    if has_a_place(case):
        compare(case)
        return
    with pytest.raises(
        ValueError, match=r"spikes: expected positions in every window of MaxPool2d"
    ):
        case.module()(case.spikes()[0])


# ---- by hand -------------------------------------------------------------------------------------


def by_hand(
    rows: list[str], pool: ss.MaxPool2d, kind: str
) -> tuple[list[list[int]], list[list[int]]]:
    """Output of one image, everywhere active; and how many windows send their gradient to each position.

    Rows hold `x` for a spike.
    """
    dense = torch.tensor([[float(mark == "x") for mark in row] for row in rows])
    leaf = dense[None, None, None].requires_grad_()
    spikes = ss.Spikes.from_dense(leaf)
    out = pool(spikes.to_words() if kind == "words" else spikes)
    (grad,) = torch.autograd.grad(out.value.sum(), leaf)
    return out.to_dense()[0, 0, 0].int().tolist(), grad[0, 0, 0].int().tolist()


both = pytest.mark.parametrize("kind", ["lists", "words"])


@both
def test_of_several_spikes_the_first_row_by_row_takes_the_gradient(kind):
    assert by_hand([".x", "xx"], ss.MaxPool2d(2), kind) == ([[1]], [[0, 1], [0, 0]])
    assert by_hand(["..", "xx"], ss.MaxPool2d(2), kind) == ([[1]], [[0, 0], [1, 0]])


@both
def test_without_spike_the_first_position_takes_the_gradient(kind):
    assert by_hand(["..", ".."], ss.MaxPool2d(2), kind) == ([[0]], [[1, 0], [0, 0]])


@both
def test_padding_takes_no_gradient(kind):
    pool = ss.MaxPool2d(2, padding=1)
    assert by_hand(["...", "...", ".x."], pool, kind) == (
        [[0, 0], [0, 1]],
        [[1, 1, 0], [1, 0, 0], [0, 1, 0]],
    )


@both
def test_one_entry_takes_the_gradient_of_all_windows_it_is_first_in(kind):
    pool = ss.MaxPool2d(2, stride=1)
    assert by_hand(["...", ".x.", "..."], pool, kind) == (
        [[1, 1], [1, 1]],
        [[0, 0, 0], [0, 4, 0], [0, 0, 0]],
    )


@both
def test_an_inactive_peak_leaves_its_window_without_gradient(kind):
    """Even where another spike of the window is active: the gradient goes to the first alone."""
    dense = torch.tensor([[1.0, 1.0], [0.0, 0.0]])[None, None, None].requires_grad_()
    active = torch.tensor([[False, True], [True, True]])[None, None, None]
    spikes = ss.Spikes.from_dense(dense, active=active)
    out = ss.MaxPool2d(2)(spikes.to_words() if kind == "words" else spikes)
    assert (out.n_spikes, out.n_active) == (1, 0)
    assert out.storage.has_active
    assert len(out.value) == 0


def test_channels_steps_and_samples_keep_apart():
    dense = torch.zeros(2, 3, 2, 2, 2)
    dense[1, 2, 0, 1, 1] = 1
    out = ss.MaxPool2d(2)(ss.Spikes.from_dense(dense)).to_dense()
    assert out.nonzero().tolist() == [[1, 2, 0, 0, 0]]


# ---- what little there is ------------------------------------------------------------------------


@both
def test_plain_spikes_stay_plain_and_keep_what_was_lost(kind):
    spikes = BASE.spikes()[0].detach()
    spikes = replace(spikes, n_clamped=3, n_late=4)
    out = ss.MaxPool2d(2)(spikes.to_words() if kind == "words" else spikes)
    assert out.n_spikes > 0
    assert not out.storage.has_active
    assert out.value.dtype == torch.float64
    assert (out.n_clamped, out.n_late) == (3, 4)
    assert out.unit_shape == (3, 3, 3)
    assert out.shape == (2, 5, 27)


@both
@pytest.mark.parametrize(
    "change", [{"batch": 0}, {"rate": 0.0}, {"rate": 0.0, "active": 0.0}], ids=str
)
def test_nothing_in_is_nothing_out(change, kind):
    out, _ = compare(replace(BASE, **change, kind=kind))
    assert out.n_spikes == 0
    assert out.storage.has_active


def test_words_without_values_stay_without():
    """What a GPU layer gives where no gradient is recorded: active bits, no values."""
    words = replace(BASE, kind="words").spikes()[0]
    nothing = words.words.word.new_empty(0)
    bare = replace(
        words, storage=words.words._replace(start=nothing), value=words.value.detach()[:0]
    )
    expected = ss.MaxPool2d(2)(words)
    for module in (ss.MaxPool2d(2), ss.Dropout(0.0)):
        out = module(bare)
        assert len(out.value) == 0
        out.check()
    out = ss.MaxPool2d(2)(bare)
    assert out.n_active == expected.n_active > 0
    assert torch.equal(out.to_dense(), expected.to_dense())


def test_the_potential_of_an_active_output_is_its_peaks():
    spikes, leaf, _ = BASE.spikes()
    potential = torch.arange(spikes.n_active).double()
    out = ss.MaxPool2d(2)(replace(spikes, potential=potential))
    assert out.potential is not None
    (grad,) = torch.autograd.grad(out.value.sum(), leaf)
    assert torch.equal(out.potential.sort().values, potential[grad[active_set(spikes)] == 1])


# ---- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0}, "kernel_size: expected an integer >= 1, found 0"),
        ({"kernel_size": (2, 2, 2)}, "kernel_size: expected a number or 2, >= 1, found"),
        ({"kernel_size": "22"}, "kernel_size: expected a number or 2"),
        ({"kernel_size": None}, "kernel_size: expected an integer >= 1, found None"),
        ({"stride": (1, 0)}, "stride: expected an integer >= 1, found 0"),
        ({"stride": 1.5}, "stride: expected an integer >= 1, found 1.5"),
        ({"padding": -1}, "padding: expected an integer >= 0, found -1"),
        ({"padding": 2}, r"padding: expected at most half of kernel_size \(3, 3\), found \(2, 2\)"),
        ({"dilation": 0}, "dilation: expected an integer >= 1, found 0"),
        ({"ceil_mode": 1}, "ceil_mode: expected True or False, found 1"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        ss.MaxPool2d(**({"kernel_size": 3} | arguments))


@pytest.mark.parametrize("shape", [(2, 3, 12), (2, 3, 3, 4)], ids=str)
def test_units_without_rows_and_columns_are_refused(shape):
    spikes = ss.Spikes.from_dense(torch.ones(shape))
    with pytest.raises(ValueError, match=r"unit_shape \(C, H, W\), found .*with_unit_shape"):
        ss.MaxPool2d(2)(spikes)
    assert ss.MaxPool2d(2)(spikes.with_unit_shape((1, 3, 4))).unit_shape == (1, 1, 2)


@pytest.mark.parametrize("module", [ss.MaxPool2d(2), ss.Flatten(), ss.Dropout()], ids=str)
def test_what_is_no_spikes_is_refused(module):
    with pytest.raises(ValueError, match="spikes: expected Spikes, found Tensor"):
        module(torch.ones(2, 3, 1, 4, 4))


def test_it_prints_as_pytorchs_does():
    assert str(ss.MaxPool2d(3, 2, 1)) == (
        "MaxPool2d(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1), ceil_mode=False)"
    )


def test_numbers_set_later_are_taken_or_refused_by_name():
    pool, spikes = ss.MaxPool2d(2), ss.Spikes.from_dense(torch.zeros(1, 2, 1, 6, 6))
    pool.kernel_size = pool.stride = 3
    assert pool(spikes).unit_shape == (1, 2, 2)
    pool.stride = 0
    with pytest.raises(ValueError, match="stride: expected an integer >= 1, found 0"):
        pool(spikes)
