"""What cannot be equal to another library's layer is refused, by the layer's name and with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparsespike as ss

for peer in ("snntorch", "spikingjelly", "norse"):
    pytest.importorskip(peer, reason="installed by `make peers`", exc_type=ImportError)

# ruff: noqa: E402
from interop_nets import layer, neuron, norse, sg, sj, snn

INIT = {"init_hidden": True}


def snn_net(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), *layers)


SNNTORCH: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "delay": (
        lambda: snn.Leaky(0.9, reset_delay=False, **INIT),
        r"1 \(snn.Leaky\): reset_delay=False: .* twice the threshold",
    ),
    "synaptic_delay": (
        lambda: snn.Synaptic(0.5, 0.9, reset_delay=False, **INIT),
        r"1 \(snn.Synaptic\): reset_delay=False",
    ),
    "rsynaptic_delay": (
        lambda: snn.RSynaptic(0.5, 0.9, linear_features=4, reset_delay=False, **INIT),
        r"1 \(snn.RSynaptic\): reset_delay=False raises there",
    ),
    "potential": (
        lambda: snn.Leaky(0.9, reset_mechanism="zero", reset_delay=False, output=True, **INIT),
        "its potential is that after the reset",
    ),
    "alpha_zero": (
        lambda: snn.Alpha(0.9, 0.5, reset_mechanism="zero", **INIT),
        r"1 \(snn.Alpha\): reset_mechanism='zero' resets its currents too",
    ),
    "alpha_subtract": (lambda: snn.Alpha(0.9, 0.5, **INIT), "resets its currents too"),
    "quantised": (lambda: snn.Leaky(0.9, state_quant=torch.round, **INIT), "state_quant: "),
    "learned_beta": (
        lambda: snn.Leaky(0.9, learn_beta=True, **INIT),
        r"1 \(snn.Leaky\): beta is learned, .* freeze=True",
    ),
    "learned_threshold": (
        lambda: snn.Leaky(0.9, learn_threshold=True, **INIT),
        "threshold is learned",
    ),
    "one_to_one": (
        lambda: snn.RLeaky(0.9, all_to_all=False, V=torch.ones(1, 5), **INIT),
        r"V: expected one number, or one for each neuron, \(N,\), found \(1, 5\)",
    ),
    "lapicque": (
        lambda: snn.Lapicque(beta=0.2, **INIT),
        r"leak factor of a step is -0.6.*, below 0",
    ),
    "graded": (
        lambda: snn.Leaky(0.9, graded_spikes_factor=-1.0, **INIT),
        "graded_spikes_factor: expected a number > 0, found -1",
    ),
    "threshold": (
        lambda: snn.Leaky(0.9, threshold=-1.0, **INIT),
        r"1 \(snn.Leaky\): v_reset: expected",
    ),
    "triangular": (
        lambda: snn.Leaky(0.9, spike_grad=sg.triangular(), **INIT),
        r"1 \(snn.Leaky\): spike_grad=triangular: its gradient is \+1 below",
    ),
    "escape": (lambda: snn.Leaky(0.9, spike_grad=sg.spike_rate_escape(), **INIT), "one unit above"),
    "sfs": (lambda: snn.Leaky(0.9, spike_grad=sg.SFS(), **INIT), "spike_grad=SFS: .* zero inside"),
    "sso": (lambda: snn.Leaky(0.9, spike_grad=sg.SSO(), **INIT), "spike_grad=SSO: .* random"),
    "lso": (lambda: snn.Leaky(0.9, spike_grad=sg.LSO(), **INIT), "spike_grad=LSO: it does not run"),
    "custom": (
        lambda: snn.Leaky(0.9, spike_grad=torch.relu, **INIT),
        "spike_grad=relu: a function that is not known here",
    ),
    "no_gradient": (
        lambda: snn.Leaky(0.9, surrogate_disable=True, **INIT),
        "surrogate_disable=True",
    ),
    "layout": (
        lambda: snn.Leaky(torch.rand(4, 1), **INIT),
        r"beta: expected one number, or one for each neuron, \(N,\), found \(4, 1\)",
    ),
    "unknown": (lambda: snn.SLSTM(4, 4, **INIT), r"1 \(snn.SLSTM\): expected one of Leaky"),
    "pool_of_current": (
        lambda: nn.MaxPool2d(2),
        r"1 \(nn.MaxPool2d\): it has no sparse form for a current; dense=True",
    ),
    "two_connections": (
        lambda: nn.Linear(4, 4),
        r"1 \(nn.Linear\): it has no sparse form for a current",
    ),
    "no_neuron": (lambda: nn.Identity(), "output .*: it gives a current, which no neuron took"),
}


@pytest.mark.parametrize("case", SNNTORCH)
def test_snntorch_is_refused_by_name(case):
    make, said = SNNTORCH[case]
    with pytest.raises(ValueError, match=said):
        ss.interop.from_snntorch(snn_net(make()))


def test_a_reset_that_was_set_later_is_refused():
    net = snn_net(snn.Leaky(0.9, **INIT))
    net[1].reset_mechanism = "zero"  # pyright: ignore
    with pytest.raises(ValueError, match="reset_mechanism='zero' was set after it was made"):
        ss.interop.from_snntorch(net)


def test_inhibition_is_refused():
    with pytest.warns(UserWarning, match="Inhibition"):
        net = snn_net(snn.Leaky(0.9, inhibition=True, **INIT))
    with pytest.raises(ValueError, match=r"1 \(snn.Leaky\): inhibition=True"):
        ss.interop.from_snntorch(net)


class Odd(nn.Module):
    """A forward that does one thing beside its layers."""

    def __init__(self, what: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(3, 3), snn.Leaky(0.9, **INIT)  # pyright: ignore
        self.what = what

    def forward(self, x):
        return self.what(self, x)


ODD: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "values": (
        lambda net, x: net.lif(net.fc(x)) if x.sum() > 0 else x,
        r"the module \(.*Odd\): torch.fx cannot follow",
    ),
    "twice": (lambda net, x: net.lif(net.fc(net.lif(net.fc(x)))), "its steps are not all alike"),
    "function": (
        lambda net, x: net.lif(torch.tanh(net.fc(x))),
        "tanh in forward.*: it has no meaning",
    ),
    "method": (lambda net, x: net.lif(net.fc(x)).sqrt(), "sqrt in forward.*: it has no meaning"),
    "sum": (lambda net, x: net.lif(net.fc(x)) + x, "an addition in forward.*: it adds spikes and"),
    "flatten": (
        lambda net, x: net.lif(net.fc(x.flatten(2))),
        "it flattens 2 to -1; expected 1 to -1",
    ),
    "pool": (lambda net, x: net.lif(F.max_pool2d(net.fc(x), 2)), "no sparse form for a current"),
    "state": (
        lambda net, x: net.lif(net.fc(x), torch.ones(1)),
        r"lif \(snn.Leaky\): its state comes from elsewhere",
    ),
    "number": (lambda net, x: net.lif(net.fc(x)) * 2, "mul in forward"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_forward_does_is_refused_by_name(case):
    what, said = ODD[case]
    with pytest.raises(ValueError, match=said):
        ss.interop.from_snntorch(Odd(what))


SPIKINGJELLY: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "unknown": (lambda: neuron.QIFNode(), r"1 \(spikingjelly.QIFNode\): expected one of IFNode"),
    "learned": (
        lambda: neuron.ParametricLIFNode(),
        r"1 \(spikingjelly.ParametricLIFNode\): w is learned, .* freeze=True",
    ),
    "primitive": (
        lambda: neuron.IFNode(surrogate_function=sj.Sigmoid(spiking=False)),
        r"Sigmoid\(spiking=False\) gives no spikes",
    ),
    "random": (
        lambda: neuron.IFNode(surrogate_function=sj.PoissonPass()),
        "surrogate_function=PoissonPass: a function that is not known here",
    ),
    "weights": (
        lambda: layer.WSLinear(4, 4),
        r"1 .*WSLinear\): expected .*, or a layer of PyTorch's",
    ),
    "votes": (
        lambda: nn.Sequential(neuron.IFNode(), layer.VotingLayer(2)),
        r"1.1 \(spikingjelly.VotingLayer\): it has no sparse form for spikes; dense=True",
    ),
    "library": (
        lambda: snn.Leaky(0.9),
        r"1 \(snn.Leaky\): it is no layer of SpikingJelly's; ss.interop.from_snntorch takes",
    ),
}


@pytest.mark.parametrize("case", SPIKINGJELLY)
def test_spikingjelly_is_refused_by_name(case):
    make, said = SPIKINGJELLY[case]
    with pytest.raises(ValueError, match=said):
        ss.interop.from_spikingjelly(nn.Sequential(nn.Linear(3, 4), make()))


def test_two_step_modes_are_refused():
    net = nn.Sequential(
        nn.Linear(3, 4), neuron.IFNode(), nn.Linear(4, 4), neuron.IFNode(step_mode="m")
    )
    with pytest.raises(ValueError, match=r'1 \(spikingjelly.IFNode\): step_mode="s" beside'):
        ss.interop.from_spikingjelly(net)


T = torch.as_tensor
NORSE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "unknown": (lambda: norse.LIFExCell(), r"1 \(norse.LIFExCell\): expected one of LIFBoxCell"),
    "adjoint": (
        lambda: norse.LIFCell(norse.LIFParameters(method="adjoint")),
        "method='adjoint': a gradient that is not known here",
    ),
    "heaviside": (
        lambda: norse.LIFCell(norse.LIFParameters(method="heaviside")),
        "nothing goes back through its spikes",
    ),
    "learned": (
        lambda: norse.LIFBoxCell(norse.LIFBoxParameters(v_th=nn.Parameter(T(1.0)))),
        r"1 \(norse.LIFBoxCell\): v_th is learned",
    ),
    "readout": (
        lambda: norse.LICell(norse.LIParameters(v_leak=T(0.5))),
        "v_leak: expected 0, found 0.5",
    ),
    "reset": (
        lambda: norse.LIFBoxCell(norse.LIFBoxParameters(reset_method=lambda z, v, r, th: v - z)),
        "reset_method=<lambda>: a function that is not known here",
    ),
    "rounded": (
        lambda: norse.LIF(norse.LIFParameters(v_leak=T(0.1, dtype=torch.float64))),
        "v_leak: its start is rounded to float32",
    ),
}


@pytest.mark.parametrize("case", NORSE)
def test_norse_is_refused_by_name(case):
    make, said = NORSE[case]
    with pytest.raises(ValueError, match=said):
        ss.interop.from_norse(norse.SequentialState(nn.Linear(3, 4), make()))


def test_layers_that_would_see_time_are_refused():
    net = norse.SequentialState(nn.Linear(3, 4), norse.LIF(), nn.BatchNorm1d(4), norse.LIF())
    with pytest.raises(
        ValueError, match=r"2 \(nn.BatchNorm1d\): it would take time for a dimension"
    ):
        ss.interop.from_norse(net)


def test_what_is_computed_or_hooked_is_refused():
    net = snn_net(snn.Leaky(0.9, **INIT))  # pyright: ignore[reportArgumentType]
    handle = net.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="its hooks would not run"):
        ss.interop.from_snntorch(net)
    handle.remove()
    nn.utils.parametrizations.weight_norm(net[0])  # pyright: ignore[reportIndexIssue]
    with pytest.raises(ValueError, match=r"0 .*: a parameter of it is computed"):
        ss.interop.from_snntorch(net)
    odd = nn.Sequential(nn.Conv2d(1, 1, 3, padding_mode="circular"), snn.Leaky(0.9, **INIT))  # pyright: ignore
    with pytest.raises(ValueError, match=r"0 \(nn.Conv2d\): padding_mode is 'circular'"):
        ss.interop.from_snntorch(odd)


def test_batch_norm_in_training_is_refused_unless_it_is_dense():
    net = snn_net(nn.BatchNorm1d(4), snn.Leaky(0.9, **INIT))  # pyright: ignore[reportArgumentType]
    x = (torch.rand(6, 5, 3) < 0.5).float()
    ours = ss.interop.from_snntorch(net)
    with pytest.raises(ValueError, match=r"1 \(nn.BatchNorm1d\): statistics of a batch need dense"):
        ours(x)
    ours.eval()
    with ss.use_backend("dense"):
        assert ours(x).shape == (6, 5, 4)
    plain = snn_net(nn.BatchNorm1d(4, track_running_stats=False), snn.Leaky(0.9, **INIT))  # pyright: ignore
    with pytest.raises(ValueError, match="track_running_stats=False"):
        ss.interop.from_snntorch(plain)


def test_arguments_are_refused_by_name():
    net = snn_net(snn.Leaky(0.9, **INIT))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"module: expected an nn\.Module, found list"):
        ss.interop.from_snntorch([net])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match='input: expected "spikes" or "values"'):
        ss.interop.from_snntorch(net, input="floats")
    with pytest.raises(ValueError, match=r"1 \(snn.Leaky\): kept: expected a share"):
        ss.interop.from_snntorch(net, mass=1.5)
    flat = snn_net(snn.Leaky(0.9, spike_grad=sg.straight_through_estimator(), **INIT))  # pyright: ignore
    with pytest.raises(ValueError, match=r"1 .*: mass: expected a surrogate whose mass is finite"):
        ss.interop.from_snntorch(flat, mass=0.95)
    with pytest.raises(ValueError, match=r"module: expected neurons .* found those of none"):
        ss.interop.sparse(nn.Linear(3, 4))
    ours = ss.interop.from_snntorch(net)
    with pytest.raises(ValueError, match=r'x: dense: expected only 0 and 1.*input="values"'):
        ours(torch.rand(4, 2, 3))
    with pytest.raises(ValueError, match=r"x: expected \(T, B, ...\).* found \(2, 3\)"):
        ours(torch.rand(2, 3))
    values = ss.interop.from_snntorch(net, input="values")
    with pytest.raises(ValueError, match="expected layers of snnTorch's, found some converted"):
        ss.interop.from_snntorch(nn.Sequential(ours))
    with pytest.raises(ValueError, match=r"x: expected a tensor .* of values, found Spikes"):
        values(ss.Spikes.from_dense(torch.ones(1, 2, 3)))
