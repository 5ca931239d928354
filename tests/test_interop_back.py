"""Networks of ours as those of other libraries: there and back, and from scratch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss

for peer in ("snntorch", "spikingjelly", "norse"):
    pytest.importorskip(peer, reason="installed by `make peers`", exc_type=ImportError)

# ruff: noqa: E402
from interop_nets import (
    norse_case,
    run_norse_steps,
    run_snntorch,
    run_spikingjelly,
    snntorch_case,
    spikingjelly_case,
)

F64 = torch.float64
PEERS: dict[str, tuple[Any, Any, Any, Any]] = {
    "snntorch": (snntorch_case, ss.interop.from_snntorch, ss.interop.to_snntorch, run_snntorch),
    "spikingjelly": (
        spikingjelly_case,
        ss.interop.from_spikingjelly,
        ss.interop.to_spikingjelly,
        run_spikingjelly,
    ),
    "norse": (norse_case, ss.interop.from_norse, ss.interop.to_norse, run_norse_steps),
}


def first(out: Any) -> Tensor:
    """Spikes, or the potential of a readout."""
    return first(out[0]) if isinstance(out, list | tuple) else out


@pytest.mark.parametrize("peer", PEERS)
def test_there_and_back_spikes_and_learns_the_same(peer):
    draw, there, back, run = PEERS[peer]
    same, refused = 0, []
    for seed in range(24):
        case = draw(seed)
        ours = there(case.net, freeze=True)
        try:
            again = back(ours).eval()
        except ValueError as error:
            refused.append(str(error))
            continue
        expected, found = first(case.run(case.net, case.x)), first(run(again, case.x))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        wish = torch.randn_like(expected)
        weights = [p for p in case.net.parameters() if p.dim() > 1 and p.requires_grad]
        grads = [
            torch.autograd.grad((each * wish).sum(), weights, allow_unused=True)
            for each in (expected, found)
        ]
        for a, b in zip(*grads, strict=True):
            assert a is not None
            assert b is not None
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
        same += bool(expected.any())
    assert same >= 2, refused


def net_of(*neurons: ss.Neuron) -> ss.Network:
    torch.manual_seed(0)
    sizes = (6, 8, 5)[: len(neurons) + 1]
    layers = [
        ss.Layer(ss.Linear(a, b, dtype=F64), neuron)
        for a, b, neuron in zip(sizes, sizes[1:], neurons, strict=False)
    ]
    net = ss.Network(*layers)
    for layer in layers:
        nn.init.normal_(layer.connection.weight, 0.1, 0.8)
    return net


def exact(**more: Any) -> dict[str, Any]:
    return {"lag": 0, "b_th": math.inf, "surrogate": ss.FastSigmoid(5.0)} | more


HARD: dict[str, Any] = {"reset": "zero", "detach_reset": False}
FROM_SCRATCH: dict[str, tuple[str, Callable[[], ss.Network]]] = {
    "leaky": (
        "snntorch",
        lambda: net_of(
            ss.LIF(alpha=0.9, **exact()), ss.CuBaLIF(alpha_mem=0.8, alpha_syn=0.5, **exact())
        ),
    ),
    "readout": (
        "snntorch",
        lambda: net_of(ss.LIF(10e-3, 1e-3, **exact()), ss.Readout(20e-3, 1e-3, lag=0)),
    ),
    "jelly": (
        "spikingjelly",
        lambda: net_of(
            ss.LIF(alpha=0.5, **exact(surrogate=ss.ATan(2.0), **HARD)), ss.Readout(alpha=0.7, lag=0)
        ),
    ),
    "box": (
        "norse",
        lambda: net_of(
            ss.LIF(alpha=0.6, gain=0.4, **exact(surrogate=ss.Circle(0.7), **HARD)),
            ss.CuBaReadout(alpha_mem=0.8, alpha_syn=0.5, gain=0.2, lag=0),
        ),
    ),
}


@pytest.mark.parametrize("case", FROM_SCRATCH)
def test_networks_of_ours_run_there(case):
    peer, make = FROM_SCRATCH[case]
    *_, back, run = PEERS[peer]
    net = make()
    x = (torch.rand(20, 4, 6, dtype=F64) < 0.4).double()
    with ss.use_backend("dense"):
        out = net(ss.Spikes.from_dense(x, time_first=True))
    ours = (out.to_dense() if isinstance(out, ss.Spikes) else out).transpose(0, 1)
    out = run(back(net), x)
    theirs = out[-1] if peer == "snntorch" and case == "readout" else first(out)
    if isinstance(out, list):
        theirs = torch.stack(out)
    assert ours.any()
    torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-9)


LIF = ss.LIF
REFUSED: dict[str, tuple[Any, Callable[[], ss.Network], str]] = {
    "lag": (ss.interop.to_snntorch, lambda: net_of(LIF(alpha=0.9)), r"0 \(.*LIF\): lag=1: theirs"),
    "band": (
        ss.interop.to_snntorch,
        lambda: net_of(LIF(alpha=0.9, lag=0)),
        "b_th=0.2 cuts its surrogate.*gradients=False",
    ),
    "surrogate": (
        ss.interop.to_snntorch,
        lambda: net_of(LIF(alpha=0.9, **exact(surrogate=ss.Gaussian(1.0)))),
        "Gaussian.* has no twin there",
    ),
    "reset": (
        ss.interop.to_snntorch,
        lambda: net_of(LIF(alpha=0.9, v_reset=-0.5, **exact())),
        "v_reset: expected 0, as theirs has it",
    ),
    "clear": (
        ss.interop.to_snntorch,
        lambda: net_of(LIF(alpha=0.9, reset="clear", **exact())),
        "reset='clear', detach_reset=True: theirs has no such reset",
    ),
    "kind": (
        ss.interop.to_snntorch,
        lambda: net_of(ss.ALIF(10e-3, 0.1, 0.2, 1e-3, lag=0)),
        "snnTorch has no neuron that does the same",
    ),
    "subtract": (
        ss.interop.to_spikingjelly,
        lambda: net_of(LIF(alpha=0.9, **exact(surrogate=ss.ATan()))),
        "theirs sets V, or takes v_th away before the leak",
    ),
    "gain": (
        ss.interop.to_norse,
        lambda: net_of(LIF(alpha=0.9, **exact(surrogate=ss.FastSigmoid(1.0), **HARD))),
        "gain other than 1 - alpha",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_theirs_cannot_be_is_refused_by_name(case):
    back, make, said = REFUSED[case]
    with pytest.raises(ValueError, match=said):
        back(make())


def test_spikes_alone_may_be_asked_for():
    net = net_of(LIF(alpha=0.9, lag=0))
    x = (torch.rand(20, 4, 6, dtype=F64) < 0.4).double()
    with ss.use_backend("dense"):
        ours = net(ss.Spikes.from_dense(x, time_first=True))
    theirs = run_snntorch(ss.interop.to_snntorch(net, gradients=False), x)[0]
    assert ours.n_spikes  # pyright: ignore[reportAttributeAccessIssue]
    assert torch.equal(theirs, ours.to_dense().transpose(0, 1))  # pyright: ignore[reportAttributeAccessIssue]
