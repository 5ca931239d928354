"""What snnTorch, SpikingJelly and Norse write as NIR, read here: their spikes."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss

for name in ("nir", "snntorch", "spikingjelly", "norse"):
    pytest.importorskip(name, reason="installed by `make peers`", exc_type=ImportError)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    norse: Any = import_module("norse.torch")
    snn: Any = import_module("snntorch")
    functional, layer, neuron = (
        import_module(f"spikingjelly.activation_based.{each}")
        for each in ("functional", "layer", "neuron")
    )

DT = 1e-4
HARD: dict[str, Any] = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}


class Export(NamedTuple):
    """A graph that a library wrote, and the network that it wrote.

    Attributes:
        graph: as written.
        steps: from an input (T, B, ...) to what theirs gives.
        dt: the step with which the graph means what theirs computes.
    """

    graph: Any
    steps: Callable[[Tensor], Tensor]
    dt: float = DT


def spikes(*units: int) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return (torch.rand(30, 4, *units, generator=draw) < 0.4).float()


def drawn(layer: Any) -> Any:
    nn.init.normal_(layer.weight, 0.1, 1.5 / layer.weight[0].numel() ** 0.5)
    return layer


def of_snntorch(*layers: nn.Module, units: tuple[int, ...] = (6,)) -> Export:
    net = nn.Sequential(*layers)

    def steps(x: Tensor) -> Tensor:
        for each in net:
            getattr(each, "reset_mem", lambda: None)()
        return torch.stack([net(step)[0] for step in x])

    write = import_module("snntorch.export_nir").export_to_nir
    return Export(write(net, spikes(*units)[0], ignore_dims=[0]), steps)


def leaky(*units: int, kind: str = "Leaky", output: bool = False, **more: Any) -> nn.Module:
    """Their export wants the numbers of every neuron."""
    ones = torch.ones(units)
    return getattr(snn, kind)(beta=0.8 * ones, threshold=ones, output=output, **more, **HARD)


def of_spikingjelly(*layers: nn.Module, units: tuple[int, ...] = (6,)) -> Export:
    net = nn.Sequential(*layers)
    functional.set_step_mode(net, "m")
    write = import_module("spikingjelly.activation_based.nir_exchange").export_to_nir
    graph = write(net, spikes(*units), dt=DT)

    def steps(x: Tensor) -> Tensor:
        functional.reset_net(net)
        return net(x)

    return Export(graph, steps)


def of_norse(first: nn.Module, second: nn.Module, dt: float = 1e-3) -> Export:
    """Time constants are multiplied by the step that they are written with; here by one second."""
    net = norse.SequentialState(drawn(nn.Linear(6, 8)), first, drawn(nn.Linear(8, 5)), second)
    graph = import_module("norse.torch.utils.export_nir").to_nir(net, spikes(6)[0], dt=1.0)

    def steps(x: Tensor) -> Tensor:
        state, out = None, []
        for step in x:
            y, state = net(step, state)
            out.append(y)
        return torch.stack(out)

    return Export(graph, steps, dt)


def box() -> nn.Module:
    p = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(200.0), v_th=torch.tensor(0.2))
    return norse.LIFBoxCell(p)


def two(first: nn.Module) -> list[nn.Module]:
    """Linear layers around neurons of SpikingJelly."""
    linear = layer.Linear
    return [drawn(linear(6, 8)), first, drawn(linear(8, 5)), neuron.LIFNode(4.0, decay_input=False)]


def convolution(kind: Any) -> list[nn.Module]:
    return [drawn(kind.Conv2d(2, 3, 3, padding=1)), kind.AvgPool2d(2), kind.Flatten()]


def snntorch_conv() -> Export:
    conv, *rest = convolution(nn)
    last = drawn(nn.Linear(12, 5)), leaky(5, output=True)
    return of_snntorch(conv, leaky(3, 4, 4), *rest, *last, units=(2, 4, 4))


def spikingjelly_conv() -> Export:
    conv, *rest = convolution(layer)
    last = drawn(layer.Linear(12, 5)), neuron.IFNode()
    return of_spikingjelly(conv, neuron.LIFNode(), *rest, *last, units=(2, 4, 4))


def synaptic() -> nn.Module:
    return leaky(5, kind="Synaptic", output=True, alpha=torch.full((5,), 0.6))


def recurrent() -> nn.Module:
    return snn.RLeaky(beta=0.8, linear_features=8, **HARD)


EXPORTS: dict[str, tuple[tuple[int, ...], Callable[[], Export]]] = {
    "snntorch": (
        (6,),
        lambda: of_snntorch(drawn(nn.Linear(6, 8)), leaky(8), drawn(nn.Linear(8, 5)), synaptic()),
    ),
    "snntorch_recurrent": (
        (6,),
        lambda: of_snntorch(
            drawn(nn.Linear(6, 8)), recurrent(), drawn(nn.Linear(8, 5)), leaky(5, output=True)
        ),
    ),
    "snntorch_conv": ((2, 4, 4), snntorch_conv),
    "spikingjelly_if": ((6,), lambda: of_spikingjelly(*two(neuron.IFNode(v_reset=0.0)))),
    "spikingjelly_lif": ((6,), lambda: of_spikingjelly(*two(neuron.LIFNode(3.0)))),
    "spikingjelly_learned": ((6,), lambda: of_spikingjelly(*two(neuron.ParametricLIFNode(3.0)))),
    "spikingjelly_cuba": (
        (6,),
        lambda: of_spikingjelly(*two(neuron.CUBALIFNode(c_decay=0.5, v_decay=0.7))),
    ),
    "spikingjelly_conv": ((2, 4, 4), spikingjelly_conv),
    "norse": ((6,), lambda: of_norse(box(), box())),
    "norse_readout": (
        (6,),
        lambda: of_norse(
            box(), norse.LIBoxCell(norse.LIParameters(tau_mem_inv=torch.tensor(200.0)))
        ),
    ),
    # Theirs integrate the current of a step as it is.
    "norse_if": ((6,), lambda: of_norse(norse.IAFCell(), norse.IAFCell(), dt=1.0)),
}


@pytest.mark.parametrize("case", EXPORTS)
def test_what_others_write_gives_their_spikes(case):
    units, make = EXPORTS[case]
    said = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        export, x = make(), spikes(*units)
        theirs = export.steps(x)
    with ss.use_backend("dense"), torch.no_grad():
        ours = ss.interop.from_nir(export.graph, dt=export.dt)(x)
    assert float((theirs != 0).float().mean()) > 0.01
    if case != "norse_readout":
        # Rounding in float32 may move a spike; it moves few.
        assert int((ours != theirs).sum()) <= 0.002 * theirs.numel()
    else:
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
