"""Delays of a connection: the definition, literal loops and the CPU's kernels say the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss
from checks import relative_error

B, T, N_IN, N = 3, 40, 9, 7
F64 = torch.float64


def inputs(seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shape = B, T, N_IN
    return (torch.rand(shape, generator=draw) < 0.15).double(), torch.rand(
        shape, generator=draw
    ) < 0.5


def literal(dense: Tensor, weight: Tensor, steps: Tensor) -> Tensor:
    """(B, T, N): what arrives in each step, event by event."""
    out = torch.zeros(*dense.shape[:2], len(weight), dtype=F64)
    for b, t, i in dense.nonzero().tolist():
        for j in range(len(weight)):
            whole = int(steps[j, i])
            part = float(steps[j, i]) - whole
            for later, share in ((whole, 1 - part), (whole + 1, part)):
                if t + later < dense.shape[1]:
                    out[b, t + later, j] += share * weight[j, i]
    return out


def layer_of(
    delay: ss.Delay,
    neuron: ss.Neuron,
    bias: bool = False,
    recurrent: ss.Delay | None = None,
) -> ss.Layer:
    torch.manual_seed(1)
    own = None if recurrent is None else ss.Linear(N, N, delay=recurrent, dtype=F64)
    linear = ss.Linear(N_IN, N, bias, delay=delay, dtype=F64)
    nn.init.normal_(linear.weight, 0.3, 0.5)
    if own is not None:
        nn.init.normal_(own.weight, 0.0, 0.3)
    return ss.Layer(linear, neuron, recurrent=own)


@pytest.mark.parametrize("max_steps", [0, 1, 5, 60])
@pytest.mark.parametrize("learn", [False, True])
def test_the_definition_is_what_arrives_event_by_event(max_steps, learn):
    dense, _ = inputs()
    linear = ss.Linear(N_IN, N, delay=ss.Delay(max_steps, learn=learn), dtype=F64)
    assert linear.delay is not None
    steps = linear.delay.steps.detach()
    assert steps.shape == (N, N_IN)
    assert max_steps == 0 or (steps.floor() == steps).all() == (not learn)
    found = linear(ss.Spikes.from_dense(dense)).to_dense()
    assert found.abs().sum() > 0
    torch.testing.assert_close(found, literal(dense, linear.weight.detach(), steps))


NEURONS: dict[str, Any] = {
    "LIF": lambda: ss.LIF(8.0, 1.0, b_th=0.4, surrogate=ss.FastSigmoid(5.0)),
    "LIF lag 0": lambda: ss.LIF(8.0, 1.0, b_th=0.4, surrogate=ss.FastSigmoid(5.0), lag=0),
    "attached": lambda: ss.LIF(
        torch.linspace(3, 9, N, dtype=F64), 1.0, b_th=0.4, surrogate=ss.FastSigmoid(5.0),
        reset="zero", detach_reset=False, learn=("tau_mem",),
    ),
    "readout": lambda: ss.Readout(8.0, 1.0),
    "readout lag 0": lambda: ss.Readout(8.0, 1.0, lag=0),
}  # fmt: skip


def run(backend: str, layer: ss.Layer, upstream: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    dense, active = inputs()
    dense.requires_grad_()
    layer.zero_grad()
    with ss.use_backend(backend):
        out = layer(ss.Spikes.from_dense(dense, active=active))
        out = out.to_dense() if isinstance(out, ss.Spikes) else out
        (out * upstream).sum().backward()
    found = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}
    assert dense.grad is not None
    return out.detach(), found | {"input": dense.grad}


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("per", ["synapse", "input", "output"])
def test_the_kernels_are_the_oracle(name, per):
    for max_steps, bias, back in ((0, False, None), (1, True, 3), (6, False, None), (50, True, 9)):
        neuron = NEURONS[name]()
        recurrent = None
        if back is not None and neuron.spiking:
            recurrent = ss.Delay(back, learn=True)
        layer = layer_of(ss.Delay(max_steps, per, learn=True), neuron, bias, recurrent)
        upstream = torch.randn(B, T, N, dtype=F64)
        out, expected = run("dense", layer, upstream)
        mine, found = run("cpu", layer, upstream)
        assert out.abs().sum() > 0
        if neuron.spiking:
            assert torch.equal(mine, out)
        else:
            torch.testing.assert_close(mine, out, rtol=1e-12, atol=1e-12)
        assert found.keys() == expected.keys()
        for key, grad in expected.items():
            assert bool((grad != 0).any()), key
            assert relative_error(found[key], grad) < 1e-11, (key, max_steps)


def test_whole_delays_move_events_and_nothing_else():
    dense, _ = inputs()
    plain = ss.Linear(N_IN, N, dtype=F64)
    late = ss.Linear(N_IN, N, delay=ss.Delay(4, init=4.0), dtype=F64)
    late.load_state_dict(plain.state_dict(), strict=False)
    lif = ss.LIF(8.0, 1.0)
    now = lif(plain(ss.Spikes.from_dense(dense))).to_dense()
    then = lif(late(ss.Spikes.from_dense(dense))).to_dense()
    assert now.sum() > 0
    assert torch.equal(then[:, 4:], now[:, :-4])
    assert then[:, :4].sum() == 0


def test_a_delay_out_of_its_range_counts_as_the_end_and_can_come_back():
    layer = layer_of(ss.Delay(3, learn=True), NEURONS["LIF"]())
    steps = layer.connection.delay.steps
    with torch.no_grad():
        steps.fill_(-2.0)
    out, found = run("cpu", layer, torch.randn(B, T, N, dtype=F64))
    with torch.no_grad():
        steps.fill_(0.0)
    again, other = run("cpu", layer, torch.randn(B, T, N, dtype=F64))
    assert torch.equal(out, again)
    for grads in (found, other):
        assert bool((grads["connection.delay.steps"] != 0).any())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps": -1}, "max_steps: expected"),
        ({"per": "neuron"}, "per: expected one of"),
        ({"learn": 1}, "learn: expected True or False"),
        ({"init": "normal"}, "init: expected"),
        ({"init": 9.0}, r"init: expected steps in \[0, 4\]"),
        ({"init": torch.zeros(3)}, "init: expected a number or"),
    ],
    ids=str,
)
def test_wrong_delays_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        ss.Linear(N_IN, N, delay=ss.Delay(**{"max_steps": 4, **settings}))


def test_what_delays_cannot_do_is_refused():
    delay = ss.Delay(2)
    layer = layer_of(delay, ss.LIF(8.0, 1.0))
    spikes = ss.Spikes.from_dense(inputs()[0])
    with pytest.raises(ValueError, match="state: expected connections without delays"):
        layer(spikes, return_state=True)
    with pytest.raises(ValueError, match="delay: expected one of its own"):
        ss.Linear(3, 4, delay=delay)
    with pytest.raises(ValueError, match=r"delay: expected an ss\.Delay"):
        ss.Linear(3, 4, delay=5)  # pyright: ignore
    with torch.no_grad():
        layer.connection.delay.steps[0, 0] = float("nan")
    with pytest.raises(ValueError, match="delay: expected steps in"):
        layer(spikes)
