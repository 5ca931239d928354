"""Counts and the adapter against NeuroBench itself, on copies in plain PyTorch and on snnTorch's networks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

import sparsespike as ss
from sparsespike.connections.connection import Connection
from unfused import Steps, Unfused, alive, lif

pytestmark = pytest.mark.usefixtures("plain_pytorch")


def neurobench() -> Any:
    """(models, static metrics, workload metrics)."""
    for name in ("neurobench", "snntorch"):
        pytest.importorskip(name, reason="installed by `make peers`", exc_type=ImportError)
    from neurobench import models
    from neurobench.metrics import static, workload

    return models, static, workload


def theirs(model: Any, x: Tensor) -> dict[str, Any]:
    """NeuroBench's metrics of one batch."""
    _, static, workload = neurobench()
    model.register_hooks()
    out = model(x)
    found = {
        "operations": workload.SynapticOperations()(model, out, (x, None)),
        "activation_sparsity": workload.ActivationSparsity()(model, out, (x, None)),
        "connection_sparsity": static.ConnectionSparsity()(model),
        "footprint": static.Footprint()(model),
        "n_parameters": static.ParameterCount()(model),
        "out": out,
    }
    model.cleanup_hooks()
    return found


def check(ours: ss.metrics.Metrics, found: dict[str, Any], n_batch: int) -> None:
    """Equal: integers exactly."""
    expected = found["operations"]
    for mine, name in (
        (sum(each.macs for each in ours.connections), "Effective_MACs"),
        (sum(each.acs for each in ours.connections), "Effective_ACs"),
        (sum(each.dense for each in ours.connections), "Dense"),
    ):
        assert mine == round(expected[name] * n_batch), name
    assert ours.activation_sparsity == pytest.approx(found["activation_sparsity"], abs=1e-15)
    # Theirs is rounded to four decimals.
    assert abs(ours.connection_sparsity - found["connection_sparsity"]) < 5.1e-5


def copied(modules: list[Any]) -> Any:
    """The network in plain PyTorch, as a NeuroBenchModel."""
    models, _, _ = neurobench()
    model = models.TorchModel(Unfused(modules))
    model.add_activation_module(Steps)
    return model


class Skipping(nn.Module):
    """Layers in a row; one of two connections is given the input as well."""

    def __init__(self, modules: list[Any]) -> None:
        super().__init__()
        self.all = nn.ModuleList(modules)

    def forward(self, x: ss.Spikes) -> Any:
        signal: Any = x
        for each in self.all:
            two = isinstance(each, ss.Layer) and isinstance(each.connection, nn.ModuleList)
            signal = each(signal, x) if two else each(signal)
        return signal


def sizes(draw: Any) -> dict[str, Any]:
    """Of a convolution that fits an image of 6 x 6."""
    one = st.integers(1, 2)
    return {
        "kernel_size": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "stride": (draw(one), draw(one)),
        "padding": draw(st.sampled_from([0, 1, (0, 2)])),
        "dilation": draw(one),
    }


@st.composite
def modules(draw: Any) -> tuple[list[Any], tuple[int, ...]]:
    """Layers, and the shape of their input's units."""
    neuron = {
        "lag": draw(st.integers(0, 1)),
        "reset": draw(st.sampled_from(["subtract", "zero", "none"])),
    }
    found: list[Any] = []
    units: tuple[int, ...] = draw(st.sampled_from([(5,), (2, 6, 6)]))
    n_first = 1
    for size in units:
        n_first *= size
    shape = units
    if len(units) == 3:
        groups = draw(st.integers(1, 2))
        found.append(ss.Layer(ss.Conv2d(2, 4, **sizes(draw), groups=groups), lif(**neuron)))
        pool = draw(st.sampled_from([None, ss.AvgPool2d, ss.SumPool2d, ss.MaxPool2d]))
        if pool is not None:
            found.append(pool(2, stride=1, padding=draw(st.integers(0, 1))))
        if draw(st.booleans()):
            found += [ss.Dropout(0.3), ss.Flatten()]
        probe: Any = ss.Spikes.from_dense(torch.zeros(1, 1, *shape))
        with ss.use_backend("dense"):
            for each in found:
                probe = each(probe)
        shape = probe.unit_shape
    n = 1
    for size in shape:
        n *= size
    for _ in range(draw(st.integers(1, 2))):
        n_out = draw(st.integers(1, 5))
        sparse = draw(st.booleans())
        bias = draw(st.booleans())
        first: Any = (
            ss.SparseLinear.random(n, n_out, fan_in=draw(st.integers(1, n)), bias=bias)
            if sparse
            else ss.Linear(n, n_out, bias)
        )
        parts = [first, ss.Linear(n_first, n_out)] if draw(st.booleans()) else first
        own = draw(st.sampled_from([None, "dense", "sparse"]))
        recurrent = None if own is None else ss.Linear(n_out, n_out)
        if own == "sparse":
            recurrent = ss.SparseLinear.random(n_out, n_out, fan_in=1)
        found.append(ss.Layer(parts, lif(**neuron), recurrent=recurrent))
        n = n_out
    if draw(st.booleans()):
        found.append(ss.Layer(ss.Linear(n, 2), ss.Readout(alpha=0.5, lag=neuron["lag"])))
    return found, units


@settings(max_examples=16)
@given(case=modules(), seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.2, 0.6]))
def test_counts_are_those_of_neurobench_on_a_copy_in_plain_pytorch(case, seed, share):
    found, units = case
    torch.manual_seed(seed)
    net = alive(Skipping(found))
    x = (torch.rand(3, 4, *units) < share).double()
    with ss.use_backend("dense"), torch.no_grad():
        ours = ss.metrics.measure(net, ss.Spikes.from_dense(x))
        expected = theirs(copied(found), x)
        out = net(ss.Spikes.from_dense(x))
        out = out.to_dense() if isinstance(out, ss.Spikes) else out
        torch.testing.assert_close(out.flatten(2), expected["out"].flatten(2))
        check(ours, expected, 3)
        adapter = theirs(ss.interop.to_neurobench(net), x)
    check(ours, adapter, 3)
    assert (ours.footprint, ours.n_parameters) == (adapter["footprint"], adapter["n_parameters"])
    assert torch.equal(adapter["out"], out)
    if not any(isinstance(each, ss.SparseLinear) for each in net.modules()):
        assert (ours.footprint, ours.n_parameters) == (
            expected["footprint"],
            expected["n_parameters"],
        )
    if share:
        assert ours.effective_acs + ours.effective_macs > 0


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_convolutions_along_one_axis_and_same_padding_count_as_neurobench():
    layers = [
        ss.Layer(ss.Conv1d(1, 3, 4, padding="same"), lif()),
        ss.Layer(ss.Conv1d(3, 2, 3, stride=2, padding=2), lif()),
    ]
    net = alive(ss.Network(*layers))
    x = (torch.rand(2, 5, 1, 9) < 0.5).double()
    with ss.use_backend("dense"), torch.no_grad():
        ours = ss.metrics.measure(net, ss.Spikes.from_dense(x))
        check(ours, theirs(copied(layers), x), 2)
        flat = theirs(ss.interop.to_neurobench(net), x.flatten(2))  # (B, T, L): of one channel
    check(ours, flat, 2)
    assert ours.effective_acs > 0


def test_networks_of_snntorch_count_as_neurobench_counts_them(monkeypatch):
    models, _, _ = neurobench()
    # snnTorch's surrogates say .float(): this runs them literally, in float64.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    neuron = {"lag": 0, "alpha": 0.9, "reset": "subtract"}
    net = ss.Network(
        ss.Layer(ss.Conv2d(1, 2, 3, padding=1), lif(**neuron)),
        ss.AvgPool2d(2),
        ss.Flatten(),
        ss.Layer(ss.Linear(18, 6), lif(**neuron), recurrent=ss.Linear(6, 6)),
        ss.Layer(ss.Linear(6, 4), lif(**neuron)),
    )
    alive(net)
    x = (torch.rand(3, 10, 1, 6, 6) < 0.4).double()
    with ss.use_backend("dense"), torch.no_grad():
        ours = ss.metrics.measure(net, ss.Spikes.from_dense(x))
        peer = ss.interop.to_snntorch(net, gradients=False)
        check(ours, theirs(models.SNNTorchModel(peer), x), 3)
        again = ss.interop.from_snntorch(peer, freeze=True)  # and as it comes back
        converted = ss.metrics.measure(again, ss.Spikes.from_dense(x))
    assert ours.connections[2].acs > 0
    assert ours.effective_macs > 0
    assert (converted.effective_macs, converted.effective_acs, converted.dense) == (
        ours.effective_macs,
        ours.effective_acs,
        ours.dense,
    )
    assert converted.activation_sparsity == ours.activation_sparsity


def test_a_benchmark_runs_the_adapter_and_refuses_potentials():
    _, static, workload = neurobench()
    from neurobench.benchmarks import Benchmark

    net = alive(ss.Network(ss.Layer(ss.Linear(5, 4), lif()), ss.Layer(ss.Linear(4, 3), lif())))
    x = (torch.rand(6, 8, 5) < 0.4).double()
    y = torch.zeros(6, dtype=torch.int64)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)
    with ss.use_backend("dense"):
        ours = ss.metrics.measure(net, ss.Spikes.from_dense(x))
        model = ss.interop.to_neurobench(net)
        sparsities = workload.ActivationSparsity, workload.ActivationSparsityByLayer
        lists: Any = [
            [static.Footprint, static.ParameterCount],
            [*sparsities, workload.SynapticOperations],
        ]
        first = Benchmark(model, data, [], [], lists)
        second = Benchmark(model, data, [], [], lists)
        del first  # which takes its hooks away, and not the other's
        found = second.run(quiet=True)
        assert found["SynapticOperations"]["Effective_ACs"] == ours.effective_acs > 0
        assert found["SynapticOperations"]["Dense"] == ours.dense
        assert found["ActivationSparsity"] == pytest.approx(ours.activation_sparsity, abs=1e-12)
        assert found["ActivationSparsityByLayer"] == {
            each.name.replace(".", "/"): each.sparsity for each in ours.neurons
        }
        assert found["Footprint"] == ours.footprint
        for metric in (workload.MembraneUpdates, workload.NeuronOperations):
            potentials: Any = [[], [metric]]
            with pytest.raises(ValueError, match="found one of membrane potentials"):
                Benchmark(model, data, [], [], potentials).run(quiet=True)
        with pytest.raises(ValueError, match="expected only 0 and 1"):
            model(x * 2)


def test_the_blocks_of_the_page_run_in_turn():
    neurobench()
    text = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "metrics.md", "exec"), names)
    assert names["found"].effective_acs > 0


def test_connections_of_ones_own_have_no_twin():
    neurobench()

    class Own(ss.Linear):
        pass

    class Other(Connection):
        @property
        def fan_in(self) -> float:
            return 1.0

    ss.interop.to_neurobench(ss.Network(ss.Layer(Own(2, 2), lif())))
    with pytest.raises(ValueError, match=r"found Other at '0.connection'"):
        ss.interop.to_neurobench(ss.Network(ss.Layer(Other(), lif())))
