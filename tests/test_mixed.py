"""Deep networks of unlike parts: all spikes and every gradient equal the dense oracle's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss
from cases import EXACT_LIF
from checks import assert_close, assert_same_gradient, assert_same_lists, assert_something_happened
from sum_pools import most_times, on_grid

SHAPE = 2, 8, 8


class Mixed(nn.Module):
    """Six layers: a residual block, branches side by side, three sorts of connections into one layer."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.lif = EXACT_LIF
        self.stem = ss.Conv2d(2, 4, 3, padding=1)
        self.first = ss.Conv2d(4, 4, 3, padding=1)
        self.second = ss.Conv2d(4, 4, 3, padding=1)
        self.skip = ss.Conv2d(4, 4, 1)
        self.narrow = ss.Conv2d(4, 2, 1)
        self.wide = ss.Conv2d(4, 2, 3, padding=1)
        self.pooled = ss.Conv2d(4, 2, 1)
        self.conv = ss.Conv2d(6, 3, 3, padding=1)
        self.linear = ss.Linear(6 * 4 * 4, 3 * 4 * 4)
        self.sparse = ss.SparseLinear.random(4 * 4 * 4, 3 * 4 * 4, fan_in=9)
        self.last = ss.Linear(3 * 2 * 2 + 6 * 4 * 4, 5)
        self.halve, self.spread = ss.AvgPool2d(2), ss.SumPool2d(3, 1, 1)
        self.drop = ss.Dropout(0.1, "event")
        self.readout = ss.Readout(2.0, 1.0)
        self.to(dtype)
        draw = torch.Generator().manual_seed(3)
        for connection in self.children():
            if isinstance(connection, ss.Conv2d | ss.Linear | ss.SparseLinear):
                on_grid(connection, draw, 1.5 / connection.fan_in**0.5)

    def forward(self, x: ss.Spikes) -> tuple[Tensor, list[ss.Spikes], list[ss.Spikes]]:
        """Potential, the spikes of every layer, and those that are graded."""
        lif = self.lif
        one = lif(self.stem(x))
        two = lif(self.first(one))
        three = lif(self.second(two) + self.skip(one))
        halved, summed = self.halve(three), self.spread(three)
        branches = [lif(self.narrow(three)), lif(self.wide(self.drop(three)))]
        branches.append(lif(self.pooled(summed)))
        four = ss.Spikes.cat(branches)
        small = ss.MaxPool2d(2)(four)
        kept = self.drop(ss.SumPool2d(2)(four))
        five = lif(self.conv(kept) + self.linear(small) + self.sparse(halved))
        out = self.last(ss.Spikes.cat([ss.MaxPool2d(2)(five), ss.Flatten()(small)]))
        return self.readout(out), [one, two, three, *branches, five], [halved, summed, kept]


def run(backend: str, dtype: torch.dtype) -> tuple[Tensor, list, list, dict[str, Any]]:
    net = Mixed(dtype)
    draw = torch.Generator().manual_seed(0)
    leaf = (torch.rand(3, 10, *SHAPE, generator=draw) < 0.3).to(dtype).requires_grad_()
    torch.manual_seed(5)  # what dropout draws
    with ss.use_backend(backend):
        potential, hidden, graded = net(ss.Spikes.from_dense(leaf))
        loss = ss.losses.cross_entropy(potential, torch.arange(3), reduce="sum")
        for signal in hidden:
            loss = loss + ss.losses.activity(signal, upper=0.25)
        for signal in graded:
            loss = loss + signal.count().square().mean()
        loss.backward()
    grads = {name: parameter.grad for name, parameter in net.named_parameters()}
    return potential.detach(), hidden, graded, grads | {"input": leaf.grad}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_deep_network_of_all_sorts_of_parts_has_the_oracles_gradients(dtype):
    found, ours, mine, grads = run("cpu", dtype)
    expected, theirs, _, wanted = run("dense", dtype)
    for signal, other in zip(ours, theirs, strict=True):
        assert_something_happened(signal)
        assert_same_lists(signal, other)
    for signal in mine:
        assert signal.graded
        assert most_times(signal) > 1
    assert_close(found, expected, "potential")
    assert bool(found.any())
    for name, grad in wanted.items():
        assert grad is not None, name
        assert bool(grad.any()), name
        assert_same_gradient(grads[name], grad, name)


@pytest.mark.usefixtures("two_threads")
def test_it_does_so_on_two_threads():
    found, ours, _, grads = run("cpu", torch.float64)
    torch.set_num_threads(1)
    expected, theirs, _, wanted = run("cpu", torch.float64)
    for signal, other in zip(ours, theirs, strict=True):
        assert_same_lists(signal, other)
    assert torch.equal(found, expected)
    for name, grad in wanted.items():
        assert_same_gradient(grads[name], grad, name)
