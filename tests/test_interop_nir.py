"""Graphs of NIR: written and read again, read by other libraries, and made by hand."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss

nir: Any = pytest.importorskip("nir", reason="installed by `make peers`")

DT = 1e-4
HARD: dict[str, Any] = {"reset": "zero", "detach_reset": False, "lag": 0}


def dense_run(net: nn.Module, x: Tensor) -> Tensor:
    """Spikes or potential (T, B, ...) of a network of ours, of an input (T, B, ...)."""
    with ss.use_backend("dense"):
        out = net(ss.Spikes.from_dense(x, time_first=True))
    return (out.to_dense() if isinstance(out, ss.Spikes) else out).transpose(0, 1).detach()


def spikes(*units: int, steps: int = 30) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return (torch.rand(steps, 4, *units, generator=draw) < 0.4).float()


def drawn(*layers: nn.Module) -> ss.Network:
    net = ss.Network(*layers)
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, ss.Linear | ss.Conv1d | ss.Conv2d):
            own = any(module is each.recurrent for each in net if isinstance(each, ss.Layer))
            wide = (0.5 if own else 1.5) / module.fan_in**0.5
            nn.init.normal_(module.weight, 0.1, wide)
            if module.bias is not None:
                nn.init.normal_(module.bias, 0, 0.1)
    return net


def plain(neuron: ss.Neuron, last: ss.Neuron | None = None) -> ss.Network:
    second = ss.LIF(alpha=0.8, **HARD) if last is None else last
    return drawn(ss.Layer(ss.Linear(6, 8, bias=True), neuron), ss.Layer(ss.Linear(8, 5), second))


def late(per: Any, bias: bool = False, **more: Any) -> ss.Network:
    """A network with delays of 0 to 3 steps."""
    n = 6 if per == "input" else 5
    init = more.pop("init", torch.arange(n) % 4.0)
    delay = ss.Delay(3, per, init=init, **more)
    return drawn(ss.Layer(ss.Linear(6, 5, bias, delay=delay), ss.LIF(alpha=0.9, **HARD)))


EXPORTED: dict[str, Callable[[], ss.Network]] = {
    "lif": lambda: plain(ss.LIF(alpha=0.9, gain=0.5, **HARD)),
    "time_constant": lambda: plain(ss.LIF(5 * DT, DT, v_th=0.8, **HARD)),
    "cuba": lambda: plain(ss.CuBaLIF(alpha_mem=0.8, alpha_syn=0.6, gain=0.7, **HARD)),
    "conv": lambda: drawn(
        ss.Layer(ss.Conv2d(2, 3, 3, padding=1, bias=True), ss.LIF(alpha=0.8, **HARD)),
        ss.SumPool2d(2),
        ss.Flatten(),
        ss.Layer(ss.Linear(12, 5), ss.LIF(alpha=0.8, **HARD)),
    ),
    "recurrent": lambda: drawn(
        ss.Layer(
            ss.Linear(6, 8, bias=True),
            ss.LIF(alpha=0.8, **HARD),
            recurrent=ss.Linear(8, 8, bias=True),
        ),
        ss.Layer(ss.Linear(8, 5), ss.CuBaLIF(alpha_mem=0.8, alpha_syn=0.6, **HARD)),
    ),
}
OURS_ALONE: dict[str, Callable[[], ss.Network]] = {
    "each": lambda: plain(ss.LIF(alpha=torch.linspace(0.5, 0.95, 8), **HARD)),
    "if": lambda: plain(ss.LIF(alpha=1.0, v_reset=-0.2, **HARD)),
    "reset": lambda: plain(ss.LIF(alpha=0.9, v_reset=-0.3, **HARD)),
    "li": lambda: plain(ss.LIF(alpha=0.9, **HARD), ss.Readout(20 * DT, DT, lag=0)),
    "sum": lambda: plain(ss.LIF(alpha=0.9, **HARD), ss.SumReadout(0.5, lag=0)),
    "cuba_li": lambda: plain(
        ss.LIF(alpha=0.9, **HARD), ss.CuBaReadout(alpha_mem=0.8, alpha_syn=0.5, gain=0.3, lag=0)
    ),
    "late_input": lambda: late("input", bias=True),
    "late_output": lambda: late("output"),
    "conv1d": lambda: drawn(
        ss.Layer(ss.Conv1d(2, 3, 3, padding=1), ss.LIF(alpha=0.8, **HARD)),
        ss.Flatten(),
        ss.Layer(ss.Linear(18, 5), ss.LIF(alpha=0.8, **HARD)),
    ),
    "average": lambda: drawn(
        ss.AvgPool2d(2), ss.Layer(ss.Linear(8, 5), ss.LIF(alpha=0.8, v_th=0.3, **HARD))
    ),
    "threshold": lambda: plain(ss.LIF(alpha=0.0, reset="none", v_th=0.7, lag=0)),
}


def input_of(case: str) -> tuple[Tensor, Any]:
    shapes = {"conv": (2, 4, 4), "average": (2, 4, 4), "conv1d": (2, 6)}
    return spikes(*shapes.get(case, (6,))), shapes.get(case)


@pytest.mark.parametrize("scheme", ["euler", "exact"])
@pytest.mark.parametrize("case", [*EXPORTED, *OURS_ALONE])
def test_what_is_written_reads_back_the_same(case, scheme, tmp_path):
    net = {**EXPORTED, **OURS_ALONE}[case]().double()
    x, shape = input_of(case)
    ours = dense_run(net, x.double())
    graph = ss.interop.to_nir(net, dt=DT, scheme=scheme, input_shape=shape)
    nir.write(tmp_path / "net.nir", graph)
    read = nir.read(tmp_path / "net.nir")
    again = ss.interop.from_nir(read)  # dt and scheme are told
    assert ours.any()
    assert torch.equal(dense_run(again, x.double()) > 0.5, ours > 0.5)
    torch.testing.assert_close(dense_run(again, x.double()), ours, rtol=1e-9, atol=1e-9)


def read_by(who: str, graph: Any, x: Tensor) -> Tensor:
    """What another library makes of a graph, step by step."""
    load = {
        "snntorch": lambda: import_module("snntorch.import_nir").import_from_nir(graph),
        "spikingjelly": lambda: import_module(
            "spikingjelly.activation_based.nir_exchange"
        ).import_from_nir(graph, dt=DT),
        "norse": lambda: import_module("norse.torch.utils.import_nir").from_nir(graph, dt=DT),
    }[who]
    said = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        warnings.simplefilter("ignore")
        for name in ("snntorch", "spikingjelly", "norse"):
            pytest.importorskip(name, reason="installed by `make peers`", exc_type=ImportError)
        net, state, out = load(), None, []
        for step in x:
            y, state = net(step, state)
            out.append(y[0] if isinstance(y, tuple) else y)
    return torch.stack(out).detach()


@pytest.mark.parametrize("who", ["snntorch", "spikingjelly", "norse"])
@pytest.mark.parametrize("case", EXPORTED)
def test_others_read_what_we_write(case, who):
    net = EXPORTED[case]()
    x, shape = input_of(case)
    ours = dense_run(net, x)
    theirs = read_by(who, ss.interop.to_nir(net, dt=DT, input_shape=shape), x)
    assert ours.any()
    assert theirs.shape == ours.shape
    # Rounding in float32 may move a spike; it moves few.
    assert int((theirs != ours).sum()) <= 0.002 * ours.numel()


# ---- graphs made by hand -------------------------------------------------------------------------

N = 5
W = np.random.default_rng(0).standard_normal((N, 6)) * 0.8
R = np.random.default_rng(1).standard_normal((N, N)) * 0.4
BIAS = np.random.default_rng(2).standard_normal(N) * 0.2


def full(value: float) -> Any:
    return np.full(N, value)


def chain(**nodes: Any) -> Any:
    names = ["input", *nodes, "output"]
    ends = nir.Input({"input": np.array([6])}), nir.Output({"output": np.array([N])})
    edges = list(pairwise(names))
    return nir.NIRGraph({"input": ends[0], **nodes, "output": ends[1]}, edges, type_check=False)


def lif(r: float = 1.0, leak: float = 0.0, reset: float = 0.0, th: float = 0.5) -> Any:
    return nir.LIF(full(5e-4), full(r), full(leak), full(th), full(reset))


def euler(current: Tensor, alpha: float, gain: float, node: Any, recurrent: Any = None) -> Tensor:
    """NIR's neuron by Euler's scheme: hard reset, start at 0."""
    leak = float(getattr(node, "v_leak", [0.0])[0])
    th, reset = float(node.v_threshold[0]), float(node.v_reset[0])
    v, s, out = torch.zeros_like(current[0]), torch.zeros_like(current[0]), []
    for x in current:
        x = x if recurrent is None else x + recurrent(s)
        v = torch.where(s > 0, torch.as_tensor(reset, dtype=v.dtype), v)
        v = alpha * (v - leak) + leak + gain * x
        s = (v > th).to(v.dtype)
        out.append(s)
    return torch.stack(out)


def current_of(x: Tensor) -> Tensor:
    return x.double() @ torch.as_tensor(W).T + torch.as_tensor(BIAS)


@pytest.mark.parametrize(
    ("node", "alpha", "gain"),
    [
        (lif(), 0.8, 0.2),
        (lif(r=5.0), 0.8, 1.0),
        (lif(leak=0.2, reset=-0.3), 0.8, 0.2),
        (nir.IF(full(1 / DT), full(1.0), full(-0.5)), 1.0, 1.0),
    ],
)
def test_neurons_are_those_of_eulers_scheme(node, alpha, gain):
    x = spikes(6, steps=60)
    expected = euler(current_of(x), alpha, gain, node)
    net = ss.interop.from_nir(chain(fc=nir.Affine(W, BIAS), neuron=node), dt=DT)
    assert expected.any()
    assert torch.equal(dense_run(net, x.double()), expected)


def test_recurrence_is_read_flat_and_as_a_subgraph():
    x, node = spikes(6, steps=40), lif(r=5.0)
    weight, bias = torch.as_tensor(R), torch.as_tensor(BIAS)
    expected = euler(current_of(x), 0.8, 1.0, node, lambda s: s @ weight.T + bias)
    own = {"lif": node, "w_rec": nir.Affine(R, BIAS)}
    loop = [("lif", "w_rec"), ("w_rec", "lif")]
    ends = nir.Input({"input": np.array([6])}), nir.Output({"output": np.array([N])})
    flat = nir.NIRGraph(
        {"input": ends[0], "fc": nir.Affine(W, BIAS), **own, "output": ends[1]},
        [("input", "fc"), ("fc", "lif"), *loop, ("lif", "output")],
        type_check=False,
    )
    inner = nir.NIRGraph(
        {"input": nir.Input({"input": np.array([N])}), **own, "output": ends[1]},
        [("input", "lif"), *loop, ("lif", "output")],
        type_check=False,
    )
    for graph in (flat, chain(fc=nir.Affine(W, BIAS), rnn=inner)):
        net = ss.interop.from_nir(graph, dt=DT)
        assert torch.equal(dense_run(net, x.double()), expected)
    assert expected.any()


def test_scales_sums_and_delays_are_read():
    x, node = spikes(6, steps=40), lif(r=5.0)
    scale = np.linspace(0.5, 1.5, 6)
    graph = chain(
        delay=nir.Delay(np.array([0.0, 1, 2, 3, 1, 0]) * DT),
        fc=nir.Affine(W / scale, BIAS),
        s=nir.Scale(np.ones(N)),
        neuron=node,
    )
    graph.nodes["scale"] = nir.Scale(scale)
    graph.nodes["skip"] = nir.Linear(W)
    graph.edges += [("input", "scale"), ("scale", "skip"), ("skip", "neuron")]
    late = torch.stack(
        [x[..., i].roll(k, 0) for i, k in enumerate((0, 1, 2, 3, 1, 0))], -1
    ).double()
    for i, k in enumerate((0, 1, 2, 3, 1, 0)):
        late[:k, :, i] = 0
    weight = torch.as_tensor(W)
    current = late @ torch.as_tensor(W / scale).T + torch.as_tensor(BIAS)
    current = current + (x.double() * torch.as_tensor(scale)) @ weight.T
    expected = euler(current, 0.8, 1.0, node)
    net = ss.interop.from_nir(graph, dt=DT)
    assert expected.any()
    assert int((dense_run(net, x.double()) != expected).sum()) <= 1  # delays are float32


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "dt": (
        lambda: ss.interop.from_nir(chain(fc=nir.Linear(W), n=lif())),
        "dt: expected a time step",
    ),
    "scheme": (
        lambda: ss.interop.from_nir(chain(fc=nir.Linear(W), n=lif()), dt=DT, scheme="rk4"),
        'scheme: expected "euler" or "exact"',
    ),
    "tau": (
        lambda: ss.interop.from_nir(chain(fc=nir.Linear(W), n=lif()), dt=1e-3),
        r"n \(nir.LIF\): tau: expected at least dt",
    ),
    "subtract": (
        lambda: ss.interop.to_nir(plain(ss.LIF(alpha=0.9, lag=0)), dt=DT),
        r"0 \(.*LIF\): reset='subtract': NIR's neurons are set to v_reset.*lossy=True",
    ),
    "lag": (lambda: ss.interop.to_nir(plain(ss.LIF(alpha=0.9)), dt=DT), r"0 \(.*LIF\): lag=1"),
    "start": (
        lambda: ss.interop.to_nir(plain(ss.LIF(alpha=0.9, v_rest=0.2, **HARD)), dt=DT),
        "start at 0",
    ),
    "kind": (
        lambda: ss.interop.to_nir(plain(ss.ALIF(1e-2, 0.1, 0.2, DT, lag=0)), dt=DT),
        "NIR has no node for it",
    ),
    "pool": (
        lambda: ss.interop.to_nir(
            drawn(ss.MaxPool2d(2), ss.Layer(ss.Linear(8, 5), ss.LIF(alpha=0.8, **HARD))),
            dt=DT,
            input_shape=(2, 4, 4),
        ),
        r"0 \(sparsespike.MaxPool2d\): NIR has no node for it",
    ),
    "late_synapses": (
        lambda: ss.interop.to_nir(late("synapse", init="uniform"), dt=DT),
        r"0 \(sparsespike.Linear\): delays of each synapse",
    ),
    "late_parts": (
        lambda: ss.interop.to_nir(late("input", init=0.5, learn=True), dt=DT),
        "delays of parts of a step",
    ),
    "late_bias": (
        lambda: ss.interop.to_nir(late("output", bias=True), dt=DT),
        "delays of outputs: NIR's delay the bias too",
    ),
    "spread": (lambda: ss.interop.to_nir(late("output", spread=2.0), dt=DT), "or spread over"),
    "shape": (lambda: ss.interop.to_nir(EXPORTED["conv"](), dt=DT), "input_shape: expected"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_lost_is_refused_by_name(case):
    make, said = REFUSED[case]
    with pytest.raises(ValueError, match=said):
        make()


def test_what_is_lost_is_written_if_asked():
    graph = ss.interop.to_nir(plain(ss.LIF(alpha=0.9)), dt=DT, lossy=True)
    assert math.isclose(float(graph.nodes["lif_0"].tau[0]), DT / 0.1)
    assert graph.metadata["scheme"] == "euler"
