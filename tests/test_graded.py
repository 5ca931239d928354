"""Graded spikes, as sums over windows are: whatever takes them is right, or refuses them in words."""

from __future__ import annotations

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
