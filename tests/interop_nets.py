"""Networks of other libraries, generated: their modules, and how they are run over a recording."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    norse, snn = import_module("norse.torch"), import_module("snntorch")
    resets = import_module("norse.torch.functional.reset")
    sg = import_module("snntorch.surrogate")
    functional, layer, neuron, sj = (
        import_module(f"spikingjelly.activation_based.{name}")
        for name in ("functional", "layer", "neuron", "surrogate")
    )

STEPS, BATCH = 15, 3


class Case(NamedTuple):
    """A network of theirs, its input, and a function that runs it."""

    net: nn.Module
    x: Tensor
    run: Any


class Draw:
    """Random numbers of one case."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)

    def number(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=self.random))

    def one(self, *choices: Any) -> Any:
        return choices[int(torch.randint(len(choices), (1,), generator=self.random))]

    def tensor(self, *size: int) -> Tensor:
        return torch.randn(*size, generator=self.random, dtype=torch.float64)

    def spikes(self, *units: int) -> Tensor:
        rate = self.number(0.2, 0.5)
        size = STEPS, BATCH, *units
        return (torch.rand(size, generator=self.random, dtype=torch.float64) < rate).double()

    def weights(self, net: nn.Module) -> nn.Module:
        """The network in float64, its matrices wide enough to make it spike."""
        net = net.double()
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                wide = 2.0 / module.weight[0].numel() ** 0.5
                module.weight.data = self.tensor(*module.weight.shape) * wide
                if module.bias is not None:
                    module.bias.data = self.tensor(*module.bias.shape) * 0.2
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.copy_(self.tensor(module.num_features) * 0.2)  # pyright: ignore
                module.running_var.fill_(self.number(0.5, 1.5))  # pyright: ignore
                module.weight.data = 1 + 0.2 * self.tensor(module.num_features)
        return net


@contextlib.contextmanager
def double() -> Iterator[None]:
    """snnTorch's surrogates say .float(): this runs them literally, in float64."""
    keep = torch.Tensor.float
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.Tensor.float = keep


# ---- snnTorch ------------------------------------------------------------------------------------


def snntorch_case(seed: int) -> Case:
    draw = Draw(seed)
    if draw.one(True, False, False):
        net: Any = draw.weights(SnnConv(draw))
        x = draw.spikes(2, 6, 6)
    else:
        last = draw.one(True, False)
        net = nn.Sequential(
            nn.Linear(6, 8),
            snn_neuron(draw, 8, init_hidden=True),
            nn.Dropout(0.3),
            nn.Linear(8, 5, bias=draw.one(True, False)),
            snn_neuron(draw, 5, init_hidden=True, output=last),
        )
        x = draw.spikes(6)
    return Case(draw.weights(net).eval(), x, run_snntorch)


def run_snntorch(net: nn.Module, x: Tensor, plain: bool = False) -> Any:
    for module in net.modules():
        if hasattr(module, "reset_mem"):
            module.reset_mem()  # pyright: ignore
    with contextlib.nullcontext() if plain else double():
        out = [net(step) for step in x]
    if isinstance(out[0], tuple):
        parts = [torch.stack(part) for part in zip(*out, strict=True)]
        return parts[0], parts[-1]  # and not the synaptic current
    return torch.stack(out)


class SnnConv(nn.Module):
    """Convolution, batch norm, pooling, states handed on by forward itself."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.lif1 = snn_neuron(draw, None, init_hidden=True, kinds=("Leaky", "Synaptic"))
        self.pool = draw.one(nn.MaxPool2d(2), nn.AvgPool2d(2))
        self.conv2 = nn.Conv2d(4, 3, 2, bias=False)
        self.lif2 = snn_neuron(draw, None, init_hidden=True, kinds=("Leaky", "Lapicque"))
        self.fc = nn.Linear(12, 5)
        self.lif3 = snn_neuron(draw, 5, init_hidden=True, output=True)

    def forward(self, x):
        x = self.pool(self.lif1(self.norm(self.conv1(x))))
        x = self.lif2(self.conv2(x))
        out = self.lif3(self.fc(x.flatten(1)))
        return out[0], out[-1]


def snn_neuron(
    draw: Draw,
    n: int | None,
    kinds: tuple[str, ...] = ("Leaky", "RLeaky", "Synaptic", "RSynaptic", "Lapicque", "Alpha"),
    **more: Any,
) -> nn.Module:
    kind, reset = draw.one(*kinds), draw.one("subtract", "zero", "none")
    slope = draw.number(1, 10)
    shared: dict[str, Any] = {
        "threshold": draw.number(0.5, 1.5),
        "spike_grad": draw.one(
            sg.fast_sigmoid(slope),
            sg.atan(slope),
            sg.sigmoid(slope),
            sg.straight_through_estimator(),
        ),
        "reset_mechanism": reset,
        **more,
    }
    beta, alpha = draw.number(0.3, 1), draw.number(0.3, 0.9)
    if n is not None and draw.one(True, False, False):
        beta = torch.rand(n, generator=draw.random)
    late = reset == "subtract" or more.get("output") or draw.one(True, False)
    if kind == "Leaky":
        graded = 1.0 if n is None else draw.one(1.0, 0.5)
        return snn.Leaky(beta, reset_delay=late, graded_spikes_factor=graded, **shared)
    if kind == "RLeaky":
        return snn.RLeaky(beta, linear_features=n, reset_delay=late, **shared)
    if kind == "Synaptic":
        return snn.Synaptic(alpha, beta, reset_delay=late, **shared)
    if kind == "RSynaptic":
        return snn.RSynaptic(alpha, beta, linear_features=n, **shared)
    if kind == "Lapicque":
        shared["threshold"] = draw.number(0.2, 0.4)
        if draw.one(True, False):
            return snn.Lapicque(beta=draw.number(0.5, 0.9), **shared)
        return snn.Lapicque(R=draw.number(2, 5), C=draw.number(1, 2), time_step=0.5, **shared)
    shared |= {"reset_mechanism": "none", "threshold": draw.number(0.3, 0.9)}
    return snn.Alpha(draw.number(0.6, 0.9), draw.number(0.2, 0.5), **shared)


# ---- SpikingJelly --------------------------------------------------------------------------------


def spikingjelly_case(seed: int) -> Case:
    draw = Draw(seed)
    mode = draw.one("s", "m")
    if draw.one(True, False, False):
        net = nn.Sequential(
            layer.Conv2d(2, 4, 3, padding=1, bias=False),
            layer.BatchNorm2d(4),
            sj_neuron(draw),
            draw.one(layer.MaxPool2d(2), layer.AvgPool2d(2)),
            layer.Flatten(),
            layer.Dropout(0.2),
            layer.Linear(36, 5),
            sj_neuron(draw),
        )
        x = draw.spikes(2, 6, 6)
    else:
        net = nn.Sequential(
            draw.one(layer, nn).Linear(6, 8),
            nn.Sequential(sj_neuron(draw), nn.Dropout(0.2)),
            nn.Linear(8, 5),
            sj_neuron(draw),
        )
        x = draw.spikes(6)
        if mode == "m":
            last = draw.one(neuron.NonSpikingLIFNode(draw.number(1.5, 4), "mean-mem"), None)
            if last is not None:
                net[3] = last
    functional.set_step_mode(net, mode)
    return Case(draw.weights(net).eval(), x, run_spikingjelly)


def run_spikingjelly(net: nn.Module, x: Tensor) -> Any:
    functional.reset_net(net)
    if any(getattr(module, "step_mode", "s") == "m" for module in net.modules()):
        return net(x)
    return torch.stack([net(step) for step in x])


def sj_neuron(draw: Draw) -> nn.Module:
    kind = draw.one("IF", "LIF", "PLIF", "CUBA")
    a = draw.number(1, 5)
    surrogate = draw.one(
        *(sj.Sigmoid(a), sj.ATan(a), sj.PiecewiseQuadratic(a), sj.PiecewiseExp(a)),
        *(sj.SoftSign(a), sj.SuperSpike(a), sj.Erf(a), sj.Rect(a / 5), sj.QPseudoSpike(a + 1)),
        *(sj.PiecewiseLeakyReLU(1.0, 0.0), sj.PiecewiseLeakyReLU(1.0, 0.1), sj.DeterministicPass()),
    )
    v_reset = draw.one(None, draw.number(-0.3, 0.2))
    if kind == "CUBA":
        decays = draw.number(0.3, 0.8), draw.number(0.3, 0.8)
        return neuron.CUBALIFNode(*decays, draw.number(0.6, 1.5), v_reset, surrogate)
    shared = {
        "v_threshold": draw.number(0.3, 0.9),
        "v_reset": v_reset,
        "surrogate_function": surrogate,
        "detach_reset": draw.one(True, False),
    }
    if kind == "IF":
        return neuron.IFNode(**shared)
    tau, decays_input = draw.number(1.2, 4), draw.one(True, False)
    if kind == "LIF":
        return neuron.LIFNode(tau, decays_input, **shared)
    return neuron.ParametricLIFNode(tau, decays_input, **shared)


# ---- Norse ---------------------------------------------------------------------------------------


def norse_case(seed: int) -> Case:
    draw = Draw(seed)
    shape = draw.one("cells", "cells", "whole", "conv")
    if shape == "cells":
        first = draw.one(
            [nn.Linear(6, 8), norse_cell(draw)],
            [norse.LIFRecurrentCell(6, 8, norse_p(draw, leak=0.0), dt=0.001)],
        )
        last = draw.one([nn.Linear(8, 5), norse_readout(draw)], [nn.Linear(8, 5), norse_cell(draw)])
        net: nn.Module = norse.SequentialState(*first, nn.Dropout(0.3), *last)
        x, run = draw.spikes(6), run_norse_steps
    elif shape == "whole":
        net = norse.SequentialState(
            nn.Linear(6, 8),
            norse.LIF(norse_p(draw, leak=0.0), dt=0.001),
            norse.LIFRecurrent(8, 7, norse_p(draw, leak=0.0), autapses=draw.one(True, False)),
            nn.Linear(7, 5),
            norse.LI(norse.LIParameters(torch.as_tensor(200.0), torch.as_tensor(150.0))),
        )
        x, run = draw.spikes(6), run_norse_whole
    else:
        net = norse.SequentialState(
            norse.Lift(nn.Conv2d(2, 4, 3, bias=False)),
            norse.LIF(norse_p(draw, leak=0.0)),
            norse.Lift(nn.MaxPool2d(2)),
            nn.Flatten(2),
            nn.Linear(16, 5),
            norse.LIF(norse_p(draw, leak=0.0)),
        )
        x, run = draw.spikes(2, 6, 6), run_norse_whole
    net = draw.weights(net)
    for module in net.modules():
        for name in ("input_weights", "recurrent_weights"):
            if hasattr(module, name):
                weight: Any = getattr(module, name)
                weight.data = draw.tensor(*weight.shape) * (0.8 if name == "input_weights" else 0.3)
                if name == "recurrent_weights" and not module.autapses:
                    weight.data.fill_diagonal_(0)
    return Case(net.eval(), x, run)


def run_norse_steps(net: nn.Module, x: Tensor) -> Any:
    state, out = None, []
    for step in x:
        y, state = net(step, state)
        out.append(y)
    return torch.stack(out), None


def run_norse_whole(net: nn.Module, x: Tensor) -> Any:
    return net(x)[0], None


def norse_surrogate(draw: Draw) -> dict[str, Any]:
    method = draw.one("super", "triangle", "tanh", "circ", "heavi_erfc")
    return {"method": method, "alpha": torch.as_tensor(draw.number(0.5, 3))}


def norse_p(draw: Draw, leak: float | None = None) -> Any:
    leak = draw.number(-0.2, 0.2) if leak is None else leak
    numbers = draw.number(100, 700), draw.number(200, 700), leak, draw.number(0.2, 0.5)
    tensors = [torch.as_tensor(each) for each in (*numbers, draw.number(-0.2, 0.1))]
    return norse.LIFParameters(*tensors, **norse_surrogate(draw))


def norse_cell(draw: Draw) -> nn.Module:
    kind = draw.one("LIFBox", "LIF", "IAF")
    t = torch.as_tensor
    if kind == "LIF":
        return norse.LIFCell(norse_p(draw), dt=0.001)
    th, reset = t(draw.number(0.3, 0.6)), t(draw.number(-0.2, 0.1))
    if kind == "IAF":
        return norse.IAFCell(norse.IAFParameters(th, reset, **norse_surrogate(draw)))
    p = norse.LIFBoxParameters(
        t(draw.number(200, 700)),
        t(draw.number(-0.2, 0.2)),
        th,
        reset,
        reset_method=draw.one(resets.reset_value, resets.reset_subtract),
        **norse_surrogate(draw),
    )
    return norse.LIFBoxCell(p, dt=0.001)


def norse_readout(draw: Draw) -> nn.Module:
    t = torch.as_tensor
    if draw.one(True, False):
        return norse.LIBoxCell(norse.LIBoxParameters(t(draw.number(100, 500))))
    return norse.LICell(norse.LIParameters(t(draw.number(100, 500)), t(draw.number(100, 500))))


def spikes(*shape: int) -> Tensor:
    """0 and 1."""
    draw = torch.Generator().manual_seed(1)
    return (torch.rand(shape, generator=draw, dtype=torch.float64) < 0.4).double()


def wide(net: nn.Module) -> nn.Module:
    """The network with weights that make spikes."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, 0, 2 / module.weight[0].numel() ** 0.5)
    return net.double()
