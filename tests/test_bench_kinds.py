"""The benchmarks of pooled convolutions and of sparse layers: every method computes the same layer."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import sparsespike as ss
from sparsespike.bench import LayerBench, report
from sparsespike.bench.baselines import DENSE_LAYERS
from sparsespike.bench.dense import dense
from sparsespike.bench.peers import PEERS

CONV = LayerBench(
    connection="conv2d",
    shape=(2, 6, 6),
    channels=5,
    kernel=3,
    padding=1,
    steps=30,
    batch_size=3,
    rate=0.05,
    active=0.05,
    repeats=1,
)
OTHERS = {
    "after max pooling": dataclasses.replace(CONV, pool="max"),
    "after average pooling": dataclasses.replace(CONV, pool="avg"),
    "of a fixed set of synapses": LayerBench(
        connection="sparse", neurons=40, fan_in=12, steps=30, batch_size=4, rate=0.05, repeats=1
    ),
}


@pytest.mark.parametrize("bench", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("method", ["sparsespike", *DENSE_LAYERS])
def test_gate_passes_on_a_layer(method: str, bench: LayerBench) -> None:
    case = bench.case()
    pooled = 2 if bench.pool else 1
    assert case.spikes.shape[2] == case.synapses.n_in * pooled**2
    assert case.check(method) is None
    trial = case.trial(method)
    result = trial.phases["backward"](trial.phases["forward"](None))
    assert [bool(grad.any()) for grad in result] == [True, True]
    assert result[1].shape == case.weight.shape


@pytest.mark.parametrize("name", ["snntorch", "spikingjelly", "norse"])
@pytest.mark.parametrize("bench", OTHERS.values(), ids=OTHERS)
def test_peer_layer_equals_its_twin(name: str, bench: LayerBench) -> None:
    try:
        PEERS[name].load(ss.LIF(tau_mem=10e-3, dt=1e-3))
    except ImportError as error:
        pytest.skip(f"{error} (make peers)")
    assert bench.case().check(name) is None


def test_what_is_pooled_and_which_synapses_there_are_is_recorded() -> None:
    named = {name: bench.case().about() for name, bench in OTHERS.items()}
    assert named["after max pooling"]["connection"].endswith("by 3x3 after MaxPool2d")
    assert named["after average pooling"]["connection"].endswith("by 3x3 after AvgPool2d")
    sparse = named["of a fixed set of synapses"]
    assert sparse["connection"] == "SparseLinear of 480 synapses"
    assert "SparseLinear of 480 synapses" in report.headline(sparse)
    for about in named.values():
        assert about["activity"] == pytest.approx(0.01, rel=0.4)
        assert 0 < about["blocks"]["forward"] < about["blocks"]["backward"]


def test_dense_spikes_of_a_sum_hold_its_numbers() -> None:
    spikes = ss.Spikes.from_dense((torch.rand(3, 6, 2, 4, 6) < 0.5).float())
    pooled = ss.AvgPool2d(2)(spikes)
    expected = pooled.to_dense()
    assert bool((expected > 0.25).any())
    assert torch.equal(dense(pooled, pooled.unit_shape, torch.float32), expected)
