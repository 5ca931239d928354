"""Graded spikes, as sums over windows are: whatever takes them is right, or refuses them in words."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

import sparsespike as ss
from cases import EXACT_LIF
from checks import (
    assert_close,
    assert_same_gradient,
    assert_same_lists,
    assert_something_happened,
    assert_well_formed,
)
from compare import compare
from pools import BASE
from sparsespike.backends.cpu import plan
from sparsespike.backends.cpu.grouped import EVENTS
from sum_pools import Layered, Sums, layered, most_times, on_grid

KINDS: tuple[Any, ...] = ("Linear", "Conv2d", "SparseLinear")
IMAGE = replace(BASE, height=8, width=8, batch=3, steps=8)
SUM = Sums(replace(IMAGE, kernel=(3, 3), stride=(2, 2), padding=(1, 1)), average=False)
AVERAGE = Sums(replace(IMAGE, rate=0.5))


def agree(case: Layered) -> Counter:
    """The CPU's layer against the oracle's; returns what happened."""
    out, pooled, found = case.run("cpu")
    expected_out, _, expected = case.run("dense")
    if case.readout:
        assert_close(out.detach(), expected_out.detach(), "potential")
    else:
        assert_well_formed(out)
        assert_same_lists(out, expected_out)
    seen = compare(found, expected)
    seen.update(doubled=most_times(pooled) > 1)
    if not case.readout:
        seen.update(spiking=out.n_spikes > 0, in_band=out.n_active > 0)
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("readout", [False, True], ids=["LIF", "Readout"])
@pytest.mark.parametrize("sums", [SUM, AVERAGE], ids=["sum", "average"])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_on_pooled_spikes_equal_the_oracle(kind, sums, readout, dtype):
    sums = replace(sums, image=replace(sums.image, dtype=dtype))
    case = Layered(sums, kind, readout=readout, bias=dtype == torch.float64)
    seen = agree(case)
    assert seen["doubled"] == seen["learning"] == 1, seen
    assert readout or seen["spiking"] == seen["in_band"] == 1, seen


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("kind", KINDS)
def test_they_do_so_on_two_threads(kind):
    assert agree(Layered(SUM, kind))["learning"] == 1


def test_generated_layers_on_pooled_spikes_equal_the_oracle():
    seen = Counter()

    @settings(max_examples=250)
    @given(case=layered())
    def check(case: Layered) -> None:
        seen.update(agree(case))

    check()
    assert min(seen["doubled"], seen["spiking"], seen["in_band"], seen["learning"]) > 30, seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("sums", [SUM, AVERAGE], ids=["sum", "average"])
def test_every_form_of_the_gradients_equals_the_oracle(monkeypatch, sums, dtype):
    case = Layered(replace(sums, image=replace(sums.image, dtype=dtype)))
    for gradient in (plan.AT_ONCE, plan.GROUPED, plan.TRACED):
        for spread in (False, True):
            form = plan.Forms(gradient, spread)
            monkeypatch.setattr(plan, "forms", lambda *_, form=form: form)
            seen = agree(case)
            assert seen["doubled"] == seen["learning"] == 1, (form, seen)


def test_a_row_of_more_events_than_are_grouped_at_a_time_equals_the_oracle(monkeypatch):
    """One unit, many spikes: more events to a row than units, and than `EVENTS`."""
    monkeypatch.setattr(plan, "forms", lambda *_: plan.Forms(plan.GROUPED, False))
    side = 200
    image = replace(BASE, batch=1, steps=3, channels=1, height=side, width=side, rate=0.9, active=0)
    grads = []
    for backend in ("cpu", "dense"):
        pooled = ss.SumPool2d(side)(image.spikes()[0].detach())
        assert most_times(pooled) > EVENTS
        layer = ss.Layer(ss.Linear(1, 3, dtype=torch.float64), EXACT_LIF, backend=backend)
        with torch.no_grad():
            layer.connection.weight.copy_(torch.tensor([[1.0], [2.0], [3.0]]) / side**2)
        out = layer(pooled)
        (out.value * torch.linspace(1, 2, out.n_active, dtype=torch.float64)).sum().backward()
        assert_something_happened(out, layer.connection.weight.grad)
        grads.append(layer.connection.weight.grad)
    assert_close(grads[0], grads[1], "gradient")


# ---- networks ------------------------------------------------------------------------------------


def network() -> ss.Network:
    draw = torch.Generator().manual_seed(0)

    def layer(connection: Any, neuron: ss.Neuron = EXACT_LIF) -> ss.Layer:
        on_grid(connection, draw, 1.5 / connection.fan_in**0.5)
        return ss.Layer(connection, neuron)

    return ss.Network(
        layer(ss.Conv2d(2, 4, 3, padding=1)),
        ss.AvgPool2d(2),
        layer(ss.Conv2d(4, 5, 3, padding=1)),
        ss.SumPool2d(3, 1),
        ss.Flatten(),
        layer(ss.Linear(5 * 4 * 4, 12)),
        layer(ss.Linear(12, 3), ss.Readout(2.0, 1.0)),
    ).double()


def image(dtype: torch.dtype = torch.float64) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return (torch.rand(5, 9, 2, 12, 12, generator=draw) < 0.2).to(dtype).requires_grad_()


def learned(net: ss.Network, leaf: Tensor) -> tuple[Tensor, list, dict]:
    """Potential, hidden spikes and every gradient."""
    net.zero_grad()
    leaf.grad = None
    potential, hidden = net(ss.Spikes.from_dense(leaf), return_spikes=True)
    loss = ss.losses.cross_entropy(potential, torch.arange(len(leaf)) % 3, reduce="sum")
    for signal in hidden:
        loss = loss + ss.losses.activity(signal, upper=0.25)
    loss.backward()
    grads = {name: parameter.grad for name, parameter in net.named_parameters()}
    return potential.detach(), hidden, grads | {"input": leaf.grad}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_network_of_convolutions_and_pools_has_the_oracles_gradients(dtype):
    """Conv, pool, conv, pool, linear: on the grid, so that rounding decides nothing."""
    leaf = image(dtype)
    found, ours, grads = learned(network().to(dtype), leaf)
    with ss.use_backend("dense"):  # of the pools too
        expected, theirs, wanted = learned(network().to(dtype), leaf)
    for mine, other in zip(ours, theirs, strict=True):
        assert_something_happened(mine)
        assert_same_lists(mine, other)
        assert not mine.graded
    assert_close(found, expected, "potential")
    for name, grad in wanted.items():
        assert bool((grad != 0).any()), name
        assert_same_gradient(grads[name], grad, name)


def test_network_has_the_gradients_of_plain_pytorch():
    """The same in dense PyTorch: `conv2d`, `avg_pool2d`, `linear`, and the neurons' own loop."""
    leaf = image()
    net = network()
    found, _, grads = learned(net, leaf)
    conv1, conv2, linear, last = (
        layer.connection.weight for layer in net if isinstance(layer, ss.Layer)
    )
    given = leaf.detach().clone().requires_grad_()
    functional = torch.nn.functional

    def step_by_step(neuron: Any, current: Tensor) -> list:
        states = [neuron.initial(current[:, 0])]
        for now in current.unbind(1)[:-1]:
            states.append(neuron.step(states[-1], now))
        return states

    def fire(current: Tensor) -> Tensor:
        return torch.stack([state[1] for state in step_by_step(EXACT_LIF, current)], 1)

    def each_step(images: Tensor, pool: Any, weight: Tensor) -> Tensor:
        flat = pool(images.flatten(0, 1))
        return functional.conv2d(flat, weight, padding=1).unflatten(0, images.shape[:2])

    one = fire(each_step(given, lambda x: x, conv1))
    two = fire(each_step(one, lambda x: functional.avg_pool2d(x, 2), conv2))
    summed = functional.avg_pool2d(two.flatten(0, 1), 3, 1, divisor_override=1)
    three = fire(functional.linear(summed.flatten(1).unflatten(0, two.shape[:2]), linear))
    readout = step_by_step(ss.Readout(2.0, 1.0), functional.linear(three, last))
    potential = torch.stack(readout, 1)
    assert_close(found, potential.detach(), "potential")
    loss = ss.losses.cross_entropy(potential, torch.arange(5) % 3, reduce="sum")
    for signal in (one, two, three):
        count = signal.flatten(2).sum(1)
        loss = loss + 0.06 * (count.mean(1) - 0.25).clamp(min=0).mean()
        loss = loss + 100 * (1e-3 - count).clamp(min=0).square().mean()
    wanted = torch.autograd.grad(loss, [conv1, conv2, linear, last, given])
    for (name, grad), expected in zip(grads.items(), wanted, strict=True):
        assert bool(expected.any()), name
        assert_same_gradient(grad, expected, name)


@pytest.mark.usefixtures("two_threads")
def test_network_on_two_threads_and_in_chunks_equals_the_whole_on_one():
    leaf = image()
    spikes, net = ss.Spikes.from_dense(leaf), network()
    found, ours, grads = learned(net, leaf)
    parts = torch.cat([net(spikes[:2]), net(spikes[[2, 3]]), net(spikes[4])]).detach()
    torch.set_num_threads(1)
    expected, theirs, wanted = learned(net, leaf)
    assert torch.equal(parts, expected)
    assert torch.equal(found, expected)
    for mine, other in zip(ours, theirs, strict=True):
        assert_same_lists(mine, other)
    for name, grad in wanted.items():
        assert_same_gradient(grads[name], grad, name)


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


def test_what_holds_bits_alone_refuses_them_in_words():
    out, _ = pooled()
    for convert in (
        out.to_words,
        lambda: out.to("cuda"),
        lambda: ss.Spikes.stack([BASE.spikes()[0].to_words(), out]),
    ):
        with pytest.raises(
            ValueError, match="found the graded spikes of AvgPool2d or SumPool2d; MaxPool2d"
        ):
            convert()
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
