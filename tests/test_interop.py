"""Networks of other libraries, converted: the same spikes, the same gradients, or a refusal that says why."""

from __future__ import annotations

import copy
import os
from typing import Any

import pytest
import torch
from torch import nn

import sparsespike as ss

for peer in ("snntorch", "spikingjelly", "norse"):
    pytest.importorskip(peer, reason="installed by `make peers`", exc_type=ImportError)

# ruff: noqa: E402
from interop_checks import compared, tensors
from interop_nets import (
    Case,
    double,
    neuron,
    norse,
    norse_case,
    run_norse_steps,
    run_snntorch,
    run_spikingjelly,
    sg,
    sj,
    snn,
    snntorch_case,
    spikes,
    spikingjelly_case,
    wide,
)

WIDE = "SPARSESPIKE_SWEEP" in os.environ
PEERS = {
    "snntorch": (snntorch_case, ss.interop.from_snntorch),
    "spikingjelly": (spikingjelly_case, ss.interop.from_spikingjelly),
    "norse": (norse_case, ss.interop.from_norse),
}
SEEDS = range(100 if WIDE else 12)
ON_CPU = range(0, 100, 4) if WIDE else ()  # compiled anew for every kind of neuron and connection
F64 = torch.float64
RUN: dict[str, Any] = {"snntorch": lambda net, x: run_snntorch(net, x, plain=True)}


@pytest.mark.parametrize("peer", PEERS)
def test_generated_networks_spike_and_learn_as_theirs(peer):
    draw, make = PEERS[peer]
    seen = [compared(draw(seed), make, "dense") for seed in SEEDS]
    assert sum(each["spikes"] > 0 for each in seen) >= len(seen) // 4, seen
    assert sum(each["learning"] > 0 for each in seen) >= 0.9 * len(seen), seen


@pytest.mark.parametrize("peer", PEERS)
def test_single_precision_differs_at_ties_alone(peer):
    draw, make = PEERS[peer]
    differ = total = 0
    for seed in SEEDS[:12]:
        case = draw(seed)
        net, x = case.net.float(), case.x.float()
        with torch.no_grad(), ss.use_backend("dense"):
            theirs, mine = (
                tensors((RUN.get(peer) or case.run)(net, x)),
                tensors(make(net, freeze=True)(x)),
            )
        for a, b in zip(mine, theirs, strict=True):
            differ += int(((a - b).abs() > 1e-3 * b.abs().clamp(min=1.0)).sum())
            total += a.numel()
    assert total > 1000
    assert differ <= 0.002 * total


@pytest.mark.parametrize("peer", PEERS)
def test_generated_networks_on_the_kernels(peer):
    draw, make = PEERS[peer]
    for seed in ON_CPU:
        assert compared(draw(seed), make, "auto")["learning"]


def on_kernels(peer: str) -> Case:
    """Neurons of one kind for all peers: every other is compiled anew."""
    if peer == "snntorch":
        node = snn.Leaky(0.8, spike_grad=sg.fast_sigmoid(5), init_hidden=True)
        return Case(nn.Sequential(nn.Linear(6, 8), node), spikes(15, 3, 6), run_snntorch)
    if peer == "spikingjelly":
        node = neuron.LIFNode(2.0, True, surrogate_function=sj.ATan())
        return Case(nn.Sequential(nn.Linear(6, 8), node), spikes(15, 3, 6), run_spikingjelly)
    p = norse.LIFBoxParameters(torch.tensor(200.0), v_th=torch.tensor(0.3))
    net = norse.SequentialState(nn.Linear(6, 8), norse.LIFBoxCell(p))
    return Case(net, spikes(15, 3, 6), run_norse_steps)


@pytest.mark.parametrize("dtype", [F64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.timeout(600)  # of kernels that no other test has compiled yet
def test_a_network_on_the_kernels(peer, dtype):
    case = on_kernels(peer)
    torch.manual_seed(0)
    nn.init.normal_(case.net[0].weight, 0, 1)  # pyright: ignore
    net, run = case.net.to(dtype), case.run
    if dtype == torch.float32:
        run = RUN.get(peer) or run
    seen = compared(Case(net, case.x.to(dtype), run), PEERS[peer][1], "cpu")
    assert min(seen.values()) > 0


# ---- what forward may do -------------------------------------------------------------------------


class Loop(nn.Module):
    """snnTorch's fifth tutorial: a loop over time in forward, states handed on."""

    def __init__(self, static: bool) -> None:
        super().__init__()
        self.static = static
        self.fc1, self.lif1 = nn.Linear(6, 8), snn.Leaky(beta=0.95)
        self.fc2, self.lif2 = nn.Linear(8, 5), snn.RLeaky(beta=0.9, linear_features=5)

    def forward(self, x):
        mem1 = self.lif1.init_leaky()
        spk2, mem2 = self.lif2.init_rleaky()
        spk2_rec, mem2_rec = [], []
        for step in range(12):
            spk1, mem1 = self.lif1(self.fc1(x if self.static else x[step]), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), spk2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec), mem2, spk2_rec


@pytest.mark.parametrize("static", [True, False])
def test_a_loop_over_time_in_forward_is_one_recording(static):
    net: Any = wide(Loop(static))
    x = torch.rand(4, 6, dtype=F64) if static else spikes(12, 4, 6)
    with double():
        theirs = net(x)
    ours = ss.interop.from_snntorch(net, input="values" if static else "spikes")
    assert (ours.steps, ours.static) == (12, static)
    assert ours.dense == (["fc1"] if static else [])
    calls: list[int] = []
    hook = net.fc1.register_forward_hook(lambda *_: calls.append(1))
    with ss.use_backend("dense"):
        mine = ours(x)
    hook.remove()
    assert len(calls) == int(static)  # what every step sees alike is computed once
    assert theirs[0].any()
    assert torch.equal(mine[0], theirs[0])
    torch.testing.assert_close(mine[1:3], theirs[1:3])
    assert all(map(torch.equal, mine[3], theirs[3]))
    grads = [torch.autograd.grad(out[1].sin().sum(), net.parameters()) for out in (mine, theirs)]
    for a, b in zip(*grads, strict=True):
        assert b.any()
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    if not static:
        with pytest.raises(ValueError, match="x: expected 12 steps, found 5"):
            ours(x[:5])


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.skip = nn.Linear(12, 8), nn.Linear(8, 5), nn.Linear(12, 5)
        kinds = {"init_hidden": True, "spike_grad": sg.atan()}
        self.one, self.two = snn.Leaky(0.9, **kinds), snn.Synaptic(0.5, 0.9, **kinds)

    def forward(self, x):
        x = x.view(x.size(0), -1)
        return {"out": self.two(self.b(self.one(self.a(x))) + self.skip(x))}


def test_currents_add_and_outputs_keep_their_structure():
    net, x = wide(Residual()), spikes(10, 3, 3, 2, 2)
    with double():
        theirs = torch.stack([net(step)["out"] for step in x])
    with ss.use_backend("dense"):
        mine = ss.interop.from_snntorch(net)(list(x))
    assert theirs.any()
    assert torch.equal(mine["out"], theirs)


def leaky_net() -> nn.Sequential:
    kinds: dict[str, Any] = {"init_hidden": True, "spike_grad": sg.fast_sigmoid(10)}
    net = nn.Sequential(
        nn.Linear(6, 8), snn.Leaky(0.9, **kinds), nn.Linear(8, 5), snn.Leaky(0.8, **kinds)
    )
    return wide(net)  # pyright: ignore[reportReturnType]


def test_spikes_give_spikes_and_weights_are_shared_or_copied():
    net, x = leaky_net(), spikes(10, 3, 6)
    shared, copied = (ss.interop.from_snntorch(net, share=share) for share in (True, False))
    assert {id(p) for p in shared.parameters()} == {id(p) for p in net.parameters()}
    assert not {id(p) for p in copied.parameters()} & {id(p) for p in net.parameters()}
    with ss.use_backend("dense"):
        before = shared(x)
        out = copied(ss.Spikes.from_dense(x, time_first=True))
        assert isinstance(out, ss.Spikes)
        assert torch.equal(out.to_dense().transpose(0, 1), before)
        with torch.no_grad():
            net[0].weight.zero_()  # pyright: ignore[reportCallIssue]
            net[0].bias.zero_()  # pyright: ignore[reportCallIssue]
        assert not torch.equal(shared(x), before)
        assert torch.equal(copied(x), before)
        again = copy.deepcopy(copied)
        assert torch.equal(again(x), before)


def test_conversion_draws_no_random_numbers():
    net = leaky_net()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    ss.interop.from_snntorch(net)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize(("tau", "decays"), [(None, False), (2.0, False), (2.0, True)])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_exact_ties_spike_as_theirs(soft, tau, decays, dtype):
    torch.manual_seed(0)
    kinds: dict[str, Any] = {
        "v_reset": None if soft else -0.25,
        "surrogate_function": sj.Sigmoid(4.0),
    }
    node = neuron.IFNode(**kinds) if tau is None else neuron.LIFNode(tau, decays, **kinds)
    net = nn.Sequential(nn.Linear(6, 8, dtype=dtype), node)
    with torch.no_grad():
        net[0].weight.normal_(0, 1).mul_(4).round_().div_(4)  # pyright: ignore[reportCallIssue]
        net[0].bias.normal_().mul_(4).round_().div_(4)  # pyright: ignore[reportCallIssue]
    x = spikes(30, 5, 6).to(dtype)
    theirs = run_spikingjelly(net, x)
    with ss.use_backend("dense"):
        mine = ss.interop.from_spikingjelly(net)(x)
    assert theirs.any()
    assert torch.equal(mine, theirs)
    strict = ss.interop.from_spikingjelly(net)
    cell: Any = strict.body.get_submodule("1")
    cell.inclusive, cell.neuron.v_th = None, 1.0
    if soft:
        cell.neuron.v_reset = 1.0 - (1.0 if tau is None else 0.5)
    with ss.use_backend("dense"):
        assert not torch.equal(strict(x), theirs)  # there were ties


def test_readouts_over_time_are_decoded_as_theirs():
    for decode in (None, "max-mem", "max-abs-mem", "mean-mem", "last_mem"):
        last = neuron.NonSpikingLIFNode(2.0, decode)
        net = nn.Sequential(nn.Linear(6, 8), neuron.IFNode(step_mode="m"), nn.Linear(8, 5), last)
        net, x = wide(net), spikes(10, 3, 6)
        with ss.use_backend("dense"):
            mine = ss.interop.from_spikingjelly(net)(x)
        theirs = run_spikingjelly(net, x)
        assert type(mine) is type(theirs)
        torch.testing.assert_close(mine, theirs)
