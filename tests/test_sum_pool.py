"""`SumPool2d` and `AvgPool2d` against PyTorch on the dense tensor: numbers, active set, gradients."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

import sparsespike as ss
from checks import assert_close, assert_something_happened, assert_well_formed
from pools import BASE, LIVELY
from sparsespike.spikes.words import Words
from sum_pools import Sums, most_times, sums

NAMES = [name for name, case in LIVELY.items() if case.dilation == (1, 1)]
# A scale is one rounding, and a product another.
ROUNDED = {torch.float32: 3e-7, torch.float64: 5e-16}

each = pytest.mark.parametrize("backend", ["cpu", "dense"])
each_storage = pytest.mark.parametrize("backend", ["cpu", "dense", "words"])


def of_backend(spikes: ss.Spikes, backend: str) -> tuple[ss.Spikes, str]:
    """The spikes as a backend takes them, and its name; words are pooled by the oracle."""
    return (spikes.to_words(), "dense") if backend == "words" else (spikes, backend)


def compare(case: Sums, backend: str) -> tuple[ss.Spikes, Tensor]:
    """Output and gradient of its input: equal to PyTorch's, sums bit by bit."""
    spikes, leaf, active = case.image.spikes()
    spikes, name = of_backend(spikes, backend)
    with ss.use_backend(name):
        out = case.module()(spikes)
    expected = case.expected(leaf)
    exact = 0.0 if out.scale == 1.0 else ROUNDED[case.image.dtype]
    assert out.graded
    assert out.unit_shape == expected.shape[2:]
    assert_close(out.to_dense().detach(), expected.detach(), "sums", exact)
    assert isinstance(out.storage, Words) == (backend == "words")
    assert_well_formed(out.to_lists())
    out.check()
    listed = torch.zeros(expected.numel(), dtype=torch.float64)
    listed.index_add_(0, out.storage.active_entry(out.shape), torch.ones_like(out.value).double())
    windows = replace(case, average=False).expected(active.double())
    assert torch.equal(listed.view(windows.shape), windows)
    upstream = torch.randn(expected.shape, dtype=case.image.dtype)
    grad = torch.zeros_like(leaf)
    if out.value.requires_grad:
        (grad,) = torch.autograd.grad((out.to_dense() * upstream).sum(), leaf)
    (reference,) = torch.autograd.grad((expected * upstream).sum(), leaf)
    assert_close(grad, reference * active, "gradient", 8 * ROUNDED[case.image.dtype])
    return out, grad


@each_storage
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("average", [False, True], ids=["sum", "average"])
@pytest.mark.parametrize("name", NAMES)
def test_numbers_active_set_and_gradient_are_those_of_pytorch(name, average, dtype, backend):
    divisor = 5 if LIVELY[name].ceil_mode else None
    case = Sums(replace(LIVELY[name], dtype=dtype), average, divisor=divisor)
    out, grad = compare(case, backend)
    assert_something_happened(out, grad)
    assert most_times(out) > 1 or name in ("identity", "all_active")
    assert 0 < int(out.value.detach().sum()) < out.n_active


def test_generated_pools_are_those_of_pytorch_or_refused():
    seen = Counter()

    @settings(max_examples=500)
    @given(case=sums())
    def agree(case: Sums) -> None:
        spikes, module = case.image.spikes()[0], case.module()
        try:
            divisors = case.divisors()
        except RuntimeError:  # no window has a place
            with pytest.raises(ValueError, match="spikes: expected positions in every window of"):
                module(spikes)
            seen["no_place"] += 1
            return
        if float(divisors.max() - divisors.min()) > 1e-6:
            with pytest.raises(ValueError, match=r"spikes: expected windows of AvgPool2d.* share"):
                module(spikes)
            seen["unlike"] += 1
            return
        for backend in ("cpu", "dense", "words"):
            out, _ = compare(case, backend)
        seen.update(right=1, doubled=most_times(out) > 1)

    agree()
    assert seen["right"] > 200, seen
    assert seen["doubled"] > 60, seen
    assert min(seen["no_place"], seen["unlike"]) > 10, seen


@each
def test_by_hand(backend):
    dense = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 1]])[None, None, None].requires_grad_()
    with ss.use_backend(backend):
        out = ss.SumPool2d(2)(ss.Spikes.from_dense(dense))
    assert out.unit.tolist() == [0, 0, 0, 1]
    assert out.active_unit.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert sorted(out.value[:4].tolist()) == [0, 1, 1, 1]
    (grad,) = torch.autograd.grad((out.to_dense() * torch.tensor([2.0, 3.0])).sum(), dense)
    assert grad[0, 0, 0].tolist() == [[2, 2, 3, 3], [2, 2, 3, 3]]


def test_pools_follow_each_other_and_their_scales_multiply():
    spikes, leaf, _ = replace(BASE, height=12, width=12).spikes()
    out = ss.AvgPool2d(2)(ss.SumPool2d(2)(ss.AvgPool2d(3)(spikes)))
    assert out.scale == pytest.approx(1 / 36)
    expected = 4 * torch.nn.functional.avg_pool2d(leaf.detach().flatten(0, 1), 12)
    assert_close(out.to_dense().detach().flatten(0, 1), expected, "average")


@each_storage
@pytest.mark.parametrize(
    "change", [{"batch": 0}, {"rate": 0.0}, {"rate": 0.0, "active": 0.0}], ids=str
)
def test_nothing_in_is_nothing_out(change, backend):
    out, _ = compare(Sums(replace(BASE, **change)), backend)
    assert out.n_spikes == 0
    assert out.storage.has_active


@each_storage
def test_plain_spikes_stay_plain_and_keep_what_was_lost(backend):
    spikes = replace(BASE.spikes()[0].detach(), n_clamped=3, n_late=4)
    spikes, name = of_backend(spikes, backend)
    with ss.use_backend(name):
        out = ss.AvgPool2d(2)(spikes)
    assert out.n_spikes > 0
    assert not out.storage.has_active
    assert out.value.dtype == torch.float64
    assert (out.n_clamped, out.n_late, out.shape) == (3, 4, (2, 5, 27))


@each_storage
def test_the_potential_of_an_active_output_is_its_sources(backend):
    spikes, name = of_backend(BASE.spikes()[0], backend)
    value = torch.arange(spikes.n_active).double()
    with ss.use_backend(name):
        out = ss.SumPool2d(3, 1)(replace(spikes, value=value, potential=value + 1))
    assert out.potential is not None
    assert torch.equal(out.potential, out.value + 1)
    assert bool(out.potential.any())


@pytest.mark.usefixtures("two_threads")
def test_two_threads_list_what_one_does():
    spikes = replace(BASE, batch=7, kernel=(3, 3), stride=(1, 1)).spikes()[0]
    two = ss.SumPool2d(3, 1)(spikes)
    torch.set_num_threads(1)
    one = ss.SumPool2d(3, 1)(spikes)
    assert one.n_spikes > 0
    for found, expected in zip((*two.lists, two.value), (*one.lists, one.value), strict=True):
        assert torch.equal(found, expected)


# ---- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ss.AvgPool2d, ss.SumPool2d])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0}, "kernel_size: expected an integer >= 1, found 0"),
        ({"kernel_size": (2, 2, 2)}, "kernel_size: expected a number or 2, >= 1, found"),
        ({"stride": (1, 0)}, "stride: expected an integer >= 1, found 0"),
        ({"padding": 2}, r"padding: expected at most half of kernel_size \(3, 3\), found \(2, 2\)"),
        ({"ceil_mode": 1}, "ceil_mode: expected True or False, found 1"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_by_name(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**({"kernel_size": 3} | arguments))


@pytest.mark.parametrize("value", [0, -2, 1.5, "4", True], ids=repr)
def test_other_divisors_are_refused(value):
    with pytest.raises(ValueError, match="divisor_override: expected an integer >= 1, found"):
        ss.AvgPool2d(2, divisor_override=value)
    with pytest.raises(ValueError, match="count_include_pad: expected True or False, found None"):
        ss.AvgPool2d(2, count_include_pad=None)  # pyright: ignore[reportArgumentType]


def test_windows_that_pytorch_divides_by_other_numbers_at_the_border_are_refused():
    spikes = ss.Spikes.from_dense(torch.ones(1, 1, 1, 5, 6))
    for pool in (ss.AvgPool2d(3, 2, 1, count_include_pad=False), ss.AvgPool2d(2, ceil_mode=True)):
        with pytest.raises(ValueError, match=r"found (1 to 2|2 to 3)") as refused:
            pool(spikes)
        assert "divisor_override gives one" in str(refused.value)
    assert ss.AvgPool2d(3, 2, 1, divisor_override=9)(spikes).scale == 1 / 9
    assert ss.AvgPool2d(2, ceil_mode=True)(
        ss.Spikes.from_dense(torch.ones(1, 1, 1, 4, 6))
    ).unit_shape == (1, 2, 3)


@pytest.mark.parametrize("pool", [ss.AvgPool2d(2), ss.SumPool2d(2)], ids=lambda p: type(p).__name__)
def test_other_layouts_and_the_storage_of_another_backend_are_refused_by_name(pool):
    spikes = BASE.spikes()[0]
    with ss.use_backend("cpu"), pytest.raises(ValueError, match=r"expected lists.*to_lists"):
        pool(spikes.to_words())
    with ss.use_backend("gpu"), pytest.raises(ValueError, match=r"expected words.*to_words"):
        pool(spikes)
    with pytest.raises(ValueError, match=r"unit_shape \(C, H, W\), found .*with_unit_shape"):
        pool(ss.Spikes.from_dense(torch.ones(2, 3, 12)))
    with pytest.raises(ValueError, match="spikes: expected Spikes, found Tensor"):
        pool(torch.ones(2, 3, 1, 4, 4))
    with pytest.raises(ValueError, match="spikes: expected positions in every window"):
        pool(ss.Spikes.from_dense(torch.ones(2, 3, 1, 1, 4)))


def test_they_print_what_was_given_and_take_numbers_set_later():
    assert str(ss.SumPool2d(3, 2, 1)) == (
        "SumPool2d(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), ceil_mode=False)"
    )
    pool = ss.AvgPool2d(2, divisor_override=3)
    assert str(pool) == (
        "AvgPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), ceil_mode=False, "
        "count_include_pad=True, divisor_override=3)"
    )
    pool.kernel_size, pool.stride, pool.divisor_override = 3, 3, None
    out = pool(ss.Spikes.from_dense(torch.ones(1, 2, 1, 6, 6)))
    assert (out.unit_shape, out.scale) == ((1, 2, 2), 1 / 9)
    pool.divisor_override = 0
    with pytest.raises(ValueError, match="divisor_override: expected an integer >= 1, found 0"):
        pool(ss.Spikes.from_dense(torch.ones(1, 2, 1, 6, 6)))
