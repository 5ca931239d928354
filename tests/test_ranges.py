"""A profile shows layers by name, each with its forward and its backward pass."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.profiler import emit_nvtx
from torch.func import functional_call, grad
from torch.profiler import ProfilerActivity, profile

import sparsespike as ss
from cases import NETWORKS
from compare import stored_for
from sparsespike.backends import BACKENDS
from sparsespike.ops import ranges


def seen(run: Any) -> Counter[str]:
    """Names of the ranges of our own that a profiler saw, and how often."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        run()
    names = (event.name for event in found.events() or ())
    return Counter(name for name in names if name.endswith((", forward", ", backward")))


def both(name: str) -> dict[str, int]:
    return {f"{name}, forward": 1, f"{name}, backward": 1}


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_layer_of_a_network_is_seen_forward_and_backward(backend):
    case = NETWORKS[0]
    *hidden, last = case.layers(backend)
    readout = ss.Layer(last.connection, ss.Readout(4.0, 1.0), backend=backend)
    net = ss.Network(*hidden, ss.Network(readout))

    def step() -> None:
        spikes = stored_for(case.spikes()[0], backend)
        potential, signals = net(spikes, True)
        (potential.sum() + ss.losses.activity(signals[0], upper=0.0)).backward()

    step()
    sizes = [f"{each.connection.n_in}-{each.connection.n_out}" for each in (*hidden, readout)]
    expected = dict[str, int]()
    for i, size in enumerate(sizes[:-1]):
        expected |= both(f"layer {i + 1}: Linear {size}, LIF")
    expected |= both(f"layer {len(sizes)}.1: Linear {sizes[-1]}, Readout")
    expected |= both(f"count of {hidden[0].connection.n_out} units")
    assert seen(step) == expected


def test_connections_neurons_and_pools_are_named_by_what_they_are():
    lif = ss.LIF(10e-3, 1e-3)
    net = ss.Network(
        ss.Layer(ss.Conv2d(1, 2, 3), lif, backend="dense"),
        ss.MaxPool2d(2),
        ss.AvgPool2d(2),
        ss.Layer(
            [ss.Linear(2, 5, delay=ss.Delay(3))],
            ss.ALIF(10e-3, 0.1, 0.5, 1e-3),
            recurrent=ss.Linear(5, 5),
        ),
        ss.Layer(ss.SparseLinear.random(5, 3, fan_in=2), ss.CuBaReadout(10e-3, 5e-3, 1e-3)),
    )
    images = ss.Spikes.from_dense(torch.rand(2, 6, 1, 7, 7).round())
    with ss.use_backend("dense"):
        found = seen(lambda: net(images).sum().backward())
    expected = {"layer 2: MaxPool2d 2x5x5-2x2x2, forward": 1}
    expected |= {"layer 3: AvgPool2d 2x2x2-2x1x1, forward": 1}
    expected |= both("layer 1: Conv2d 1x7x7-2x5x5, LIF")
    expected |= both("layer 4: Linear 2-5 delayed, ALIF, recurrent Linear 5-5")
    expected |= both("layer 5: SparseLinear 5-3, CuBaReadout")
    assert found == expected


class Skip(nn.Module):
    """A module of one's own: called by itself, its layers have no number."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = ss.Linear(4, 3), ss.Linear(4, 3)
        self.neuron = ss.LIF(10e-3, 1e-3, b_th=10.0)

    def forward(self, spikes: ss.Spikes) -> ss.Spikes:
        return self.neuron(self.one(spikes) + self.other(spikes))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_outside_of_a_network_under_transforms_and_compiled_the_names_are_as_good():
    torch.compiler.reset()
    skip, spikes = Skip(), ss.Spikes.from_dense(torch.rand(2, 6, 4).round())
    name = "Linear 4-3, LIF"

    def loss(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional_call(skip, parameters, (spikes,)).value.sum()

    parameters = {name: each.detach() for name, each in skip.named_parameters()}
    expected = grad(loss)(parameters)
    assert seen(lambda: grad(loss)(parameters)) == both(name)
    assert all(torch.equal(grad(loss)(parameters)[key], expected[key]) for key in expected)
    inside, compiled = ss.Network(skip), torch.compile(skip, backend="eager")
    assert seen(lambda: inside(spikes).value.sum().backward()) == both(f"layer 1: {name}")
    compiled(spikes)
    assert seen(lambda: compiled(spikes).value.sum().backward()) == both(name)
    torch.compiler.reset()

    # A profiler that comes between the passes knows no place.
    out = inside(spikes).value.sum()
    assert seen(out.backward) == {f"{name}, backward": 1}


def test_without_a_profiler_nothing_is_named():
    def name() -> str:
        raise AssertionError("nobody asks")

    assert ranges.ranged(name, "forward") is ranges.ranged(name, "backward")
    assert ranges.layer_of_network(0) is ranges.layer_of_network(1)
    assert ranges.here() == ""
    if torch.cuda.is_available():  # NVIDIA's profiler sees the same
        with emit_nvtx(), pytest.raises(AssertionError, match="nobody asks"):
            ranges.ranged(name, "forward")
