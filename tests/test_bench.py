"""The benchmarks: baselines and peers compute what they say, and are gated, timed and weighed."""

from __future__ import annotations

import dataclasses
import math
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import sparsespike as ss
from checks import assert_close, assert_something_happened
from sparsespike.bench import LayerBench, StepBench, gate, measure, trial
from sparsespike.bench.baselines import (
    DENSE_LAYERS,
    dense_activity,
    dense_readout,
    fused_dense,
    membrane,
)
from sparsespike.bench.peers import PEERS
from sparsespike.bench.trial import Refusal
from sparsespike.descriptions import Linear
from sparsespike.training.evaluate import load_run
from sparsespike.training.train import train
from training import QUICK, Listener

DENSE = tuple(DENSE_LAYERS)
NEURONS = {
    "paper": ss.LIF(tau_mem=10e-3, dt=1e-3),
    "v_reset": ss.LIF(tau_mem=5e-3, dt=1e-3, v_th=0.8, v_reset=-0.2, b_th=0.3),
    "triangle": ss.LIF(tau_mem=5e-3, dt=1e-3, surrogate=ss.Triangle(0.5)),
    "no band": ss.LIF(tau_mem=10e-3, dt=1e-3, b_th=math.inf),
}
TINY = LayerBench(neurons=12, steps=30, batch_size=4, rate=0.05, repeats=2)


LINEAR = Linear(6, 5)


def random_layer(n_step: int = 9) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    spikes = (torch.rand(3, n_step, 6, generator=draw) < 0.4).double()
    return spikes, torch.randn(5, 6, generator=draw, dtype=torch.float64) * 0.5


def oracle(
    spikes: Tensor, weight: Tensor, neuron: ss.LIF | ss.Readout, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, gradient of the input and of the weights, of the dense backend."""
    layer = ss.Layer(
        ss.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64), neuron, backend="dense"
    )
    with torch.no_grad():
        layer.connection.weight.copy_(weight)
    dense = spikes.clone().requires_grad_()
    out = layer(ss.Spikes.from_dense(dense))
    if isinstance(out, ss.Spikes):
        assert_something_happened(out)
        out = out.to_dense()
    out.backward(grad)
    assert dense.grad is not None
    assert layer.connection.weight.grad is not None
    return out.detach(), dense.grad, layer.connection.weight.grad


# ---- baselines and peers -----------------------------------------------------------------------


@pytest.mark.parametrize("n_step", [1, 2, 40])
@pytest.mark.parametrize("neuron", NEURONS.values(), ids=NEURONS)
@pytest.mark.parametrize("name", DENSE)
def test_dense_baseline_equals_the_oracle(name: str, neuron: ss.LIF, n_step: int) -> None:
    spikes, weight = random_layer(n_step)
    if n_step < 40:  # nothing can happen before step 1: one input strong enough to spike there
        weight = weight.abs() + 0.4
    grad = torch.randn(3, n_step, 5, dtype=torch.float64)
    if n_step == 1:
        fired = DENSE_LAYERS[name](spikes, weight, neuron, LINEAR)
        assert not fired.any()
        return
    expected = oracle(spikes, weight, neuron, grad)
    dense, w = spikes.clone().requires_grad_(), weight.clone().requires_grad_()
    fired = DENSE_LAYERS[name](dense, w, neuron, LINEAR)
    fired.backward(grad)
    assert torch.equal(fired.detach(), expected[0])
    assert dense.grad is not None
    assert w.grad is not None
    assert_close(dense.grad, expected[1], "gradient of the input")
    assert_close(w.grad, expected[2], "gradient of the weights")


def test_fused_baseline_gives_the_same_whatever_its_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    spikes, weight = random_layer(40)
    grads = []
    for tile in (1, 4, 10**6):
        monkeypatch.setattr("sparsespike.bench.fused.TILE", tile)
        w = weight.clone().requires_grad_()
        fused_dense(spikes, w, NEURONS["paper"], LINEAR).sum().backward()
        grads.append(w.grad)
    assert grads[0].any()
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


def test_dense_readout_equals_the_oracle() -> None:
    spikes, weight = random_layer(20)
    neuron = ss.Readout(tau_mem=10e-3, dt=1e-3)
    grad = torch.randn(3, 20, 5, dtype=torch.float64)
    expected = oracle(spikes, weight, neuron, grad)
    dense, w = spikes.clone().requires_grad_(), weight.clone().requires_grad_()
    potential = dense_readout(dense, w, neuron)
    potential.backward(grad)
    assert dense.grad is not None
    assert w.grad is not None
    assert_close(potential.detach(), expected[0], "potential")
    assert_close(dense.grad, expected[1], "gradient of the input")
    assert_close(w.grad, expected[2], "gradient of the weights")


def test_dense_activity_equals_the_loss_of_spikes() -> None:
    spikes, _ = random_layer(9)
    spikes[0, :, 0] = 0  # a silent neuron
    spikes.requires_grad_()
    weights = {"upper": 1.5, "upper_weight": 0.06, "lower_weight": 100.0}
    found = dense_activity(spikes, **weights)
    expected = ss.losses.activity(ss.Spikes.from_dense(spikes), **weights)
    assert_close(found.detach(), expected.detach(), "loss")
    grads = [torch.autograd.grad(loss, spikes)[0] for loss in (found, expected)]
    assert grads[1].any()
    assert_close(grads[0], grads[1], "gradient")


def test_membrane_is_above_threshold_where_it_spikes() -> None:
    spikes, weight = random_layer(40)
    potential, fired = membrane(spikes, weight, NEURONS["paper"], LINEAR)
    assert fired.any()
    assert torch.equal(potential > 1.0, fired.bool())


def test_baseline_refuses_another_reset() -> None:
    neuron = ss.LIF(tau_mem=10e-3, dt=1e-3, reset="zero")
    with pytest.raises(ValueError, match="neuron: expected reset"):
        fused_dense(*random_layer(), neuron, LINEAR)


@pytest.mark.parametrize("name", PEERS)
def test_peer_equals_its_twin_and_takes_a_step(name: str, recipe: str) -> None:
    try:
        PEERS[name].load(NEURONS["paper"])
    except ImportError as error:
        pytest.skip(f"{error} (make peers)")
    assert TINY.case().check(name) is None
    step = StepBench(recipe=recipe, batch_size=4).case()
    assert step.check(name) is None
    phases = step.trial(name).phases
    gradients = [weight.grad for weight in phases["backward"](phases["forward"](None))]
    assert all(bool(grad.count_nonzero()) for grad in gradients)


def test_a_step_of_a_trained_network(tmp_path) -> None:
    train(dataclasses.replace(QUICK, epochs=1), tmp_path, progress=Listener())
    case = StepBench(trained=tmp_path, batch_size=8).case()
    net, *_ = load_run(tmp_path)
    assert case.about()["source"] == "fashion-mnist-sample, trained 1 epochs"
    assert case.about()["sizes"] == [784, 20, 15, 10]
    for found, expected in zip(case.net.parameters(), net.parameters(), strict=True):
        assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="b_th: expected none with a trained network"):
        StepBench(trained=tmp_path, b_th=0.1).case()


def test_peer_refuses_a_surrogate_that_it_lacks() -> None:
    with pytest.raises(ValueError, match="FastSigmoid"):
        PEERS["snntorch"].load(NEURONS["triangle"])


# ---- cases and the gate ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["sparsespike", *DENSE])
@pytest.mark.parametrize("b_th", [0.2, math.inf])
def test_layer_gate_passes(method: str, b_th: float) -> None:
    bench = dataclasses.replace(TINY, b_th=b_th)
    assert bench.case().check(method) is None


def test_gate_finds_another_neuron(monkeypatch: pytest.MonkeyPatch) -> None:
    def other_leak(spikes: Tensor, weight: Tensor, neuron: ss.LIF, synapses: Linear) -> Tensor:
        other = neuron.changed(tau_mem=4e-3)
        return fused_dense(spikes, weight, other, synapses)

    monkeypatch.setitem(DENSE_LAYERS, "clean-dense", other_leak)
    assert "spikes differ" in (TINY.case().check("clean-dense") or "")


def test_gate_finds_another_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def other_slope(spikes: Tensor, weight: Tensor, neuron: ss.LIF, synapses: Linear) -> Tensor:
        surrogate = ss.FastSigmoid(99.0)
        other = neuron.changed(surrogate=surrogate)
        return fused_dense(spikes, weight, other, synapses)

    monkeypatch.setitem(DENSE_LAYERS, "clean-dense", other_slope)
    assert "gradient of the input: relative error" in (TINY.case().check("clean-dense") or "")


def test_gate_refuses_a_case_in_which_nothing_happens() -> None:
    case = TINY.case()
    silent = dataclasses.replace(case, weight=case.weight * 0)
    with pytest.raises(ValueError, match="found no spikes"):
        silent.check("clean-dense")


def test_undecided_neurons_do_not_count() -> None:
    spikes = ss.Spikes.from_dense(torch.ones(2, 3, 1))
    neuron = ss.LIF(tau_mem=math.inf, dt=1.0)
    with pytest.raises(ValueError, match="found 0 of 2"):
        gate.decided(
            spikes, torch.ones(1, 1, dtype=torch.float64), neuron, Linear(1, 1), torch.float64
        )


def test_synthetic_case_reaches_the_activity_of_a_trained_layer() -> None:
    about = LayerBench(batch_size=16).case().about()
    assert 0.006 < about["activity"] < 0.012
    assert about["input_rate"] == pytest.approx(0.008, rel=0.02)
    assert about["input_activity"] == pytest.approx(0.008, rel=0.02)


def test_case_is_the_same_at_every_call() -> None:
    first, second = TINY.case(), TINY.case()
    assert torch.equal(first.spikes.unit, second.spikes.unit)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.per_step, second.per_step)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """A recipe of the embedded sample: the whole dataset takes seconds to load, where it is present."""
    file = tmp_path / "sample.toml"
    file.write_text('dataset = "fashion-mnist-sample"\nhidden = [20, 20]\n')
    return str(file)


def test_layer_of_a_recipe_takes_the_first_layers_spikes(recipe: str) -> None:
    case = LayerBench(recipe=recipe, batch_size=16).case()
    assert case.spikes.shape == (16, 100, 20)
    assert case.spikes.n_active > 0
    assert case.check("fused-dense") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "fashion-mnist", "neurons": 5}, "neurons: expected none"),
        ({"recipe": "fashion-mnist", "trained": Path("x")}, "trained: expected none"),
        ({"rate": 1.5}, "rate: expected a share"),
        ({"repeats": 0}, "repeats: expected"),
    ],
)
def test_layer_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LayerBench(**options)


@pytest.mark.parametrize("method", ["sparsespike", *DENSE])
def test_step_gate_passes(method: str, recipe: str) -> None:
    assert StepBench(recipe=recipe, batch_size=4).case().check(method) is None


def test_step_gate_finds_another_loss(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsespike.bench.dense_net.dense_activity", lambda spikes, **weights: 0.0)
    case = StepBench(recipe=recipe, batch_size=4).case()
    assert "loss: relative error" in (case.check("fused-dense") or "")


def test_step_sees_the_same_weights_at_every_repeat(recipe: str) -> None:
    phases = StepBench(recipe=recipe, batch_size=4).case().trial("fused-dense").phases
    first = phases["forward"](None)
    phases["update"](phases["backward"](first))
    assert torch.equal(first, phases["forward"](None))


# ---- measures ----------------------------------------------------------------------------------


def test_saved_bytes_counts_each_storage_once() -> None:
    x = torch.ones(1000, requires_grad=True)

    def forward() -> Tensor:
        return (
            x.exp() * x.exp()
        ).sum()  # keeps two results of exp, each for itself and for the product

    assert measure.saved_bytes(forward, [x]) == 2 * 4000
    assert measure.saved_bytes(lambda: (x * 2).sum(), [x]) == 0


def test_peak_bytes_sees_what_was_freed() -> None:
    peak = measure.peak_bytes(lambda: len(bytearray(b"\1") * (64 * 2**20)))
    if peak is None:
        pytest.skip("the system does not tell")
    assert 60 * 2**20 < peak < 200 * 2**20


def test_times_are_those_of_the_phases() -> None:
    phases = {"sleep": lambda _: time.sleep(0.01), "none": lambda _: None}
    told: list[str] = []
    taken = measure.time_in_turns(
        {"a": partial(measure.turn, phases)}, repeats=3, limit_s=10, tell=told.append
    )["a"]
    assert told == ["a"] * 4
    assert [len(taken[name]) for name in ("sleep", "none", "total")] == [3, 3, 3]
    assert all(0.01 <= seconds < 1 for seconds in taken["sleep"])
    assert max(taken["none"]) < min(taken["sleep"])
    assert measure.summary([0.001, 0.002, 0.003])["median"] == 2.0


def test_a_slow_method_is_timed_once() -> None:
    phases = {"sleep": lambda _: time.sleep(0.01)}
    taken = measure.time_in_turns({"a": partial(measure.turn, phases)}, repeats=5, limit_s=0.001)[
        "a"
    ]
    assert len(taken["sleep"]) == 1


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "available_bytes", lambda: 1000)
    with pytest.raises(Refusal, match="GiB of memory"):
        trial.check_memory("clean-dense", TINY.case())
    trial.check_memory("sparsespike", TINY.case())
