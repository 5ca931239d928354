"""The benchmarks of convolutions: every method computes the same layer and network; presets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sparsespike as ss
from checks import assert_close, assert_something_happened
from sparsespike.bench import LayerBench, StepBench, inputs, measure, report
from sparsespike.bench.baselines import DENSE_LAYERS, membrane
from sparsespike.bench.cases import PRESETS
from sparsespike.bench.dense import arranged, dense, module_of, rows
from sparsespike.bench.fused import fused_dense
from sparsespike.bench.gate import head_samples
from sparsespike.bench.layer_case import LayerCase
from sparsespike.bench.peers import PEERS
from sparsespike.descriptions import Conv

NEURON = ss.LIF(tau_mem=5e-3, dt=1e-3, v_th=0.8, v_reset=-0.2, b_th=0.3)
CONVS = {
    "same": Conv((3, 6, 5), 4, (3, 3), padding=((1, 1), (1, 1))),
    "one channel": Conv((1, 6, 5), 4, (3, 2)),
    "strided": Conv((4, 7, 6), 6, (3, 3), (2, 1), ((1, 1), (0, 0)), (1, 2)),
    "grouped": Conv((4, 5, 5), 6, (2, 2), groups=2),
}
TINY = LayerBench(
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


def random_layer(conv: Conv, n_step: int = 20) -> tuple[ss.Spikes, Tensor, Tensor]:
    """Spikes of which half of the entries are active, weight and upstream gradient, float64."""
    draw = torch.Generator().manual_seed(1)
    shape = 2, n_step, *conv.in_shape
    fired = torch.rand(shape, generator=draw) < 0.2
    active = torch.rand(shape, generator=draw) < 0.5
    weight = torch.randn(conv.weight_shape, generator=draw, dtype=torch.float64)
    spikes = ss.Spikes.from_dense(fired.double(), active=active)
    return spikes, weight * 0.5, torch.randn(2, n_step, *conv.out_shape, dtype=torch.float64)


# ---- dense layers --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (1, 4, 5)])
def test_dense_spikes_are_those_of_the_lists_time_first_and_channels_last(
    shape: tuple[int, ...],
) -> None:
    expected = (torch.rand(3, 6, *shape) < 0.3).float()
    spikes = ss.Spikes.from_dense(expected)
    found = dense(spikes, shape, torch.float32)
    assert torch.equal(found, expected)
    laid = arranged(expected.transpose(0, 1).flatten(2).contiguous(), shape).transpose(0, 1)
    assert torch.equal(laid, expected)
    for x in (found, laid):  # no copy is needed to walk it in the order of memory
        assert rows(x.transpose(0, 1)).data_ptr() == x.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("conv", CONVS.values(), ids=CONVS)
@pytest.mark.parametrize("name", DENSE_LAYERS)
def test_dense_convolution_equals_the_oracle(name: str, conv: Conv, dtype: torch.dtype) -> None:
    spikes, weight, grad = random_layer(conv)
    given = spikes.to_dense().to(dtype)
    layer = ss.Layer(module_of(conv, dtype), NEURON, backend="dense")
    with torch.no_grad():
        layer.connection.weight.copy_(weight.to(dtype))
    taken = given.clone().requires_grad_()
    expected = layer(ss.Spikes.from_dense(taken))
    assert isinstance(expected, ss.Spikes)
    assert_something_happened(expected)
    expected.to_dense().backward(grad.to(dtype))
    mine = dense(spikes, conv.in_shape, dtype).requires_grad_()
    w = weight.to(dtype).requires_grad_()
    fired = DENSE_LAYERS[name](mine, w, NEURON, conv)
    fired.backward(grad.to(dtype))
    assert fired.shape == grad.shape
    assert torch.equal(fired.detach(), expected.to_dense().detach())
    assert mine.grad is not None
    assert taken.grad is not None
    assert w.grad is not None
    assert_close(mine.grad, taken.grad, "gradient of the input")
    assert_close(w.grad, layer.connection.weight.grad, "gradient of the weights")


def test_fused_convolution_gives_the_same_on_two_threads(two_threads: None) -> None:
    spikes, weight, grad = random_layer(CONVS["same"])
    found = []
    for n_thread in (1, 2):
        torch.set_num_threads(n_thread)
        w = weight.clone().requires_grad_()
        fired = fused_dense(dense(spikes, (3, 6, 5), torch.float64), w, NEURON, CONVS["same"])
        fired.backward(grad)
        found.append((fired.detach(), w.grad))
    assert found[0][0].any()
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] is not None
    assert found[1][1] is not None
    assert_close(found[1][1], found[0][1], "gradient of the weights")


def test_a_layer_of_one_step_is_silent() -> None:
    conv = CONVS["same"]
    spikes = torch.ones(2, 1, *conv.in_shape)
    weight = torch.ones(conv.weight_shape).requires_grad_()
    for layer in DENSE_LAYERS.values():
        assert not layer(spikes, weight, NEURON, conv).any()


def test_membrane_of_a_convolution_is_above_threshold_where_it_spikes() -> None:
    spikes, weight, _ = random_layer(CONVS["strided"])
    given = dense(spikes, CONVS["strided"].in_shape, torch.float64)
    potential, fired = membrane(given, weight, NEURON, CONVS["strided"])
    assert fired.any()
    assert torch.equal(potential > NEURON.v_th, fired.bool())


def test_uneven_padding_and_an_own_surrogate_are_refused() -> None:
    spikes, weight, _ = random_layer(CONVS["same"])
    given = dense(spikes, (3, 6, 5), torch.float64)
    uneven = dataclasses.replace(CONVS["same"], padding=((1, 1), (0, 2)))
    with pytest.raises(ValueError, match="padding: expected as many zeros at both ends"):
        DENSE_LAYERS["clean-dense"](given, weight, NEURON, uneven)

    class Own:
        def slope(self, distance: Tensor) -> Tensor:
            return torch.ones_like(distance)

    own: Any = Own()
    with pytest.raises(ValueError, match="surrogate: expected one of sparsespike's"):
        fused_dense(given, weight, NEURON.changed(surrogate=own), CONVS["same"])


# ---- cases and the gate ----------------------------------------------------------------------------


@pytest.mark.parametrize("active", [0.05, 0.0])
@pytest.mark.parametrize("method", ["sparsespike", *DENSE_LAYERS])
def test_gate_passes_on_a_convolution(method: str, active: float) -> None:
    case = dataclasses.replace(TINY, active=active).case()
    assert case.spikes.unit_shape == (2, 6, 6)
    assert (case.spikes.n_active > 0) == (active > 0)
    assert case.check(method) is None
    trial = case.trial(method)
    result = trial.phases["backward"](trial.phases["forward"](None))
    assert len(result) == (2 if active else 1)


@pytest.mark.parametrize("name", PEERS)
def test_peer_convolution_equals_its_twin(name: str, recipe: str) -> None:
    try:
        PEERS[name].load(ss.LIF(tau_mem=10e-3, dt=1e-3))
    except ImportError as error:
        pytest.skip(f"{error} (make peers)")
    assert TINY.case().check(name) is None
    step = StepBench(recipe=recipe, batch_size=2).case()
    assert step.check(name) is None
    phases = step.trial(name).phases
    gradients = [weight.grad for weight in phases["backward"](phases["forward"](None))]
    assert all(bool(grad.count_nonzero()) for grad in gradients)


def test_gate_finds_another_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(spikes: Tensor, weight: Tensor, neuron: ss.LIF, synapses: Conv) -> Tensor:
        return fused_dense(spikes, weight.flip(3), neuron, synapses)

    monkeypatch.setitem(DENSE_LAYERS, "clean-dense", turned)
    assert "spikes differ" in (TINY.case().check("clean-dense") or "")


def test_large_layers_are_compared_on_fewer_samples() -> None:
    assert head_samples(256, 100, 400) == 8
    assert head_samples(32, 100, 18816) == 4
    assert head_samples(32, 300, 50000) == 1
    assert head_samples(3, 30, 200) == 3


def test_wider_activity_than_a_band_holds_is_reached_by_a_wider_band() -> None:
    case = dataclasses.replace(TINY, rate=0.2, activity=0.2).case()
    assert case.neuron.b_th > 0.2
    assert case.about()["activity"] == pytest.approx(0.2, rel=0.1)
    assert case.check("fused-dense") is None


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "nmnist"])
def test_a_preset_reaches_its_shares(preset: Any) -> None:
    about = LayerBench(connection="conv2d", preset=preset, batch_size=2).case().about()
    sizes = PRESETS[preset]
    assert about["input_rate"] == pytest.approx(sizes.rate, rel=0.05)
    assert about["input_activity"] == pytest.approx(sizes.active, rel=0.05)
    assert about["activity"] == pytest.approx(sizes.activity, rel=0.3)
    assert about["connection"].startswith("Conv2d")
    assert f"{sizes.channels} by {sizes.kernel}x{sizes.kernel}" in report.headline(about)


def test_recordings_are_the_first_layer_of_their_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    few = ss.data.load("fashion-mnist-sample", split="train").subset(range(20))
    monkeypatch.setattr(inputs, "load_or_sample", lambda recipe, root: few)
    bench = LayerBench(connection="conv2d", preset="nmnist", batch_size=4, steps=60)
    with pytest.raises(ValueError, match=r"shape: expected that of .*, \(1, 28, 28\), found"):
        bench.case()
    sizes = dataclasses.replace(PRESETS["nmnist"], shape=(1, 28, 28), activity=0.002)
    made = inputs.recordings(sizes, 60, None, 4, 0)
    assert made.spikes.shape == (4, 60, 784)
    assert made.spikes.n_active == 0
    assert made.weight.shape == (32, 1, 3, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (2, 6, 6)}, "shape: expected none without --connection conv2d"),
        ({"connection": "conv2d", "neurons": 5}, "neurons: expected none with --connection"),
        ({"connection": "conv2d", "shape": (6, 6)}, "shape: expected C_in, H, W"),
        ({"connection": "conv2d", "channels": 0}, "channels: expected an integer >= 1, found 0"),
        ({"connection": "conv2d", "kernel": 30}, "kernel: expected at most 16 taps, found 30"),
        ({"pool": "max"}, "pool: expected none without --connection conv2d"),
        ({"fan_in": 3}, "fan_in: expected none without --connection sparse"),
        (
            {"connection": "sparse", "neurons": 5, "fan_in": 6},
            r"fan_in: expected an integer in \[1, 5\], found 6",
        ),
        (
            {"connection": "conv2d", "preset": "nmnist", "pool": "avg"},
            "pool: expected none with recordings",
        ),
        ({"connection": "conv2d", "active": 1.0}, r"active: expected a share in \[0, 1\)"),
        ({"recipe": "fashion-mnist-conv", "connection": "conv2d"}, "connection: expected none"),
        ({"recipe": "fashion-mnist-conv", "curve": True}, "curve: expected none with a network"),
        (
            {"connection": "conv2d", "preset": "nmnist", "rate": 0.1},
            "rate: expected none with recordings",
        ),
    ],
)
def test_options_of_a_convolution_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LayerBench(**options)


# ---- networks --------------------------------------------------------------------------------------


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    return written(tmp_path, "Conv2d(1, 3, 5, padding=2)", "MaxPool2d(2)", "Conv2d(3, 4, 3)")


def written(folder: Path, *layers: str) -> str:
    """A recipe of the embedded sample with these layers."""
    file = folder / "conv.toml"
    text = f'dataset = "fashion-mnist-sample"\nhidden = []\nsteps = 40\nlayers = {list(layers)}\n'
    file.write_text(text.replace("'", '"'))
    return str(file)


@pytest.mark.parametrize("method", ["sparsespike", *DENSE_LAYERS])
@pytest.mark.parametrize(
    "layers",
    [
        ("Conv2d(1, 3, 5, padding=2)", "MaxPool2d(2)", "Conv2d(3, 4, 3)", "MaxPool2d(3, 2, 1)"),
        ("MaxPool2d(2)", "Conv2d(1, 4, 3, stride=2)", "Flatten()", "Linear(144, 20)"),
    ],
)
def test_step_gate_passes_on_a_convolutional_network(
    method: str, layers: tuple[str, ...], tmp_path: Path
) -> None:
    case = StepBench(recipe=written(tmp_path, *layers), batch_size=4).case()
    about = case.about()
    assert all(share > 0 for share in about["activity"])
    assert about["sizes"][0] == 784
    assert about["sizes"][-1] == 10
    assert case.check(method) is None


def test_the_second_layer_of_a_convolutional_recipe_is_what_follows_the_pooling(
    recipe: str,
) -> None:
    case = LayerBench(recipe=recipe, batch_size=8).case()
    assert isinstance(case.synapses, Conv)
    assert case.synapses.in_shape == (3, 14, 14)
    assert case.spikes.unit_shape == (3, 14, 14)
    assert case.check("fused-dense") is None


@pytest.mark.parametrize("kind", [LayerBench, StepBench])
@pytest.mark.parametrize(
    ("layers", "found"),
    [
        (("Linear(784, 9)", "Dropout(0.2)", "Linear(9, 9)"), "found Dropout in place 2"),
        (("Linear(784, 9, bias=True)", "Linear(9, 9)"), "found Linear with a bias in place 1"),
    ],
)
def test_a_network_that_the_dense_methods_do_not_know_is_refused(
    kind: type, layers: tuple[str, ...], found: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"expected layers of Linear and Conv2d .* {found}"):
        kind(recipe=written(tmp_path, *layers), batch_size=2).case()


def test_neurons_of_a_recipe_of_layers_are_refused(recipe: str) -> None:
    with pytest.raises(ValueError, match="neurons: expected none with a recipe of layers, found 5"):
        StepBench(recipe=recipe, neurons=5).case()


def test_memory_of_a_convolution_is_counted_as_of_a_linear() -> None:
    case: LayerCase = dataclasses.replace(TINY, batch_size=16).case()
    layer = 16 * 30 * 180 * 4  # one (B, T, N)
    trial = case.trial("fused-dense")
    saved = measure.saved_bytes(lambda: trial.phases["forward"](None), trial.given)
    assert saved == pytest.approx(layer, rel=0.1)  # its potentials
    ours = case.trial("sparsespike")
    assert 0 < measure.saved_bytes(lambda: ours.phases["forward"](None), ours.given) < layer / 2
