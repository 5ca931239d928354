"""Converted networks parts of which stay theirs: computed densely, as theirs does, training included."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import sparsespike as ss

for peer in ("snntorch", "spikingjelly", "norse"):
    pytest.importorskip(peer, reason="installed by `make peers`", exc_type=ImportError)

# ruff: noqa: E402
from interop_nets import (
    functional,
    layer,
    neuron,
    norse,
    run_spikingjelly,
    sj,
    snn,
    spikes,
    wide,
)

F64 = torch.float64


def jelly_conv(mode: str) -> nn.Module:
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1),
        layer.BatchNorm2d(4),
        layer.MaxPool2d(2),
        neuron.LIFNode(2.0, False, surrogate_function=sj.ATan()),
        layer.Conv2d(4, 4, 3, bias=False),
        layer.BatchNorm2d(4),
        neuron.LIFNode(2.0, False, surrogate_function=sj.ATan()),
        layer.Flatten(),
        layer.Linear(4, 10),
        neuron.IFNode(surrogate_function=sj.ATan()),
        layer.VotingLayer(2),
    )
    functional.set_step_mode(net, mode)
    return wide(net)


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("values", [True, False])
def test_batch_norm_in_training_and_pooled_currents_are_computed_densely(mode, values):
    net = jelly_conv(mode)
    twin = copy.deepcopy(net)
    x = torch.rand(8, 3, 2, 6, 6, dtype=F64) if values else spikes(8, 3, 2, 6, 6)
    theirs = run_spikingjelly(net, x)
    ours = ss.interop.from_spikingjelly(twin, dense=True, input="values" if values else "spikes")
    assert ours.dense == (["0"] if values else []) + ["1", "2", "5", "10"]
    with ss.use_backend("dense"):
        mine = ours(x)
    assert theirs.any()
    assert torch.equal(mine, theirs)
    wish = torch.randn_like(theirs)
    grads = [
        torch.autograd.grad((out * wish).sum(), list(of.parameters()))
        for out, of in ((theirs, net), (mine, twin))
    ]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    buffers = zip(net.buffers(), twin.buffers(), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in buffers)


def test_the_middle_of_a_network_is_swapped():
    """What stays theirs: a first layer of values, and what follows."""
    net: Any = jelly_conv("m").eval()[:-1]  # pyright: ignore[reportIndexIssue]
    x = torch.rand(8, 3, 2, 6, 6, dtype=F64)
    theirs = run_spikingjelly(net, x)
    block = ss.interop.sparse(net[3:])
    assert block.takes == "dense"
    with ss.use_backend("dense"):
        mine = block(net[:3](x))
    assert theirs.any()
    assert torch.equal(mine, theirs)
    block = ss.interop.sparse(norse.SequentialState(nn.Linear(6, 4), norse.LIFCell()))
    assert block.takes == "spikes"


def test_dropout_keeps_the_expected_input():
    net = nn.Sequential(
        nn.Dropout(0.25),
        nn.Linear(200, 1, bias=False),
        snn.Leaky(1.0, init_hidden=True, output=True, reset_mechanism="none"),
    )  # pyright: ignore
    nn.init.ones_(net[1].weight)  # pyright: ignore[reportArgumentType]
    ours, x = ss.interop.from_snntorch(net), torch.ones(20, 4, 200)
    with ss.use_backend("dense"):
        torch.manual_seed(0)
        potential = ours(x)[1]
        steps = torch.cat([potential[:1], potential.diff(dim=0)])
        kept = steps * 0.75
        torch.testing.assert_close(kept, kept.round())  # whole numbers of spikes, each worth 4/3
        assert abs(steps.mean().item() - 200) < 5
        assert steps.std() > 1
        ours.eval()
        torch.testing.assert_close(ours(x)[1][-1], torch.full((4, 1), 4000.0))
