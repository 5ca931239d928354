"""Recipes: every value is checked by name, the shipped ones are complete, texts lose nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from importlib import resources
from typing import Any

import pytest
import torch

import sparsespike as ss
from sparsespike.cli.options import attribute_help
from sparsespike.data import catalogue
from sparsespike.neurons import surrogates
from sparsespike.training import recipe as recipes
from sparsespike.training.recipe import Recipe
from sparsespike.training.values import called

FIELDS = [field.name for field in dataclasses.fields(Recipe)]


def shipped_text(name: str) -> str:
    return (resources.files("sparsespike") / "recipes" / f"{name}.toml").read_text("utf-8")


def test_the_defaults_are_the_papers_run():
    assert recipes.load("fashion-mnist") == Recipe()


def test_the_papers_other_runs_differ_from_it_where_its_table_does():
    nmnist = dataclasses.replace(
        Recipe(), dataset="nmnist", transforms=("FoldPolarity",), steps=300, init="uniform"
    )
    assert recipes.load("nmnist") == nmnist
    assert recipes.load("shd") == Recipe(
        dataset="shd",
        steps=500,
        dt=2e-3,
        tau_readout=20e-3,
        reduce="sum",
        init="uniform",
        lr=1e-3,
        activity_upper=10.0,
    )


def test_every_recipe_is_of_a_known_dataset():
    assert len(recipes.names()) >= 5
    for name in recipes.names():
        recipe = recipes.load(name)
        assert name.startswith(recipe.dataset)
        assert recipe.dataset in ss.data.available()
        assert len(recipes.summary(name)) <= 110


@pytest.mark.parametrize("name", recipes.names())
def test_a_shipped_recipe_names_every_field_in_order(name):
    assert list(tomllib.loads(shipped_text(name))) == FIELDS


@pytest.mark.parametrize("name", recipes.names())
def test_a_shipped_recipe_fits_its_data(name):
    recipe = recipes.load(name)
    source = getattr(catalogue, recipe.dataset.upper().replace("-", "_"))
    sensor = source.sensor
    for text in recipe.transforms:
        kind, numbers = called("transforms", text, recipes.SELECTIONS)
        sensor = getattr(ss.data, kind)(*numbers).sensor(sensor)
    net = recipe.network(sensor, source.n_classes)
    assert list(net.parameters())[-1].shape[0] == source.n_classes
    assert len(recipe.augmentations()) == len(recipe.augment)


@pytest.mark.parametrize("name", recipes.names())
def test_a_shipped_recipe_explains_every_field(name):
    lines = shipped_text(name).splitlines()
    keys = [i for i, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(keys) == len(FIELDS)
    assert all(lines[i - 1].startswith("# ") for i in keys)


def test_the_docstring_explains_every_field():
    assert list(attribute_help(Recipe)) == FIELDS


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("lr", 0, "lr: expected a finite number > 0, found 0.0"),
        ("lr", math.nan, "lr: expected a finite number > 0, found nan"),
        ("lr", "fast", "lr: expected a number, found 'fast'"),
        ("epochs", 2.0, "epochs: expected an integer, found 2.0"),
        ("epochs", True, "epochs: expected an integer, found True"),
        ("epochs", 0, "epochs: expected an integer >= 1, found 0"),
        ("accumulate", 257, "accumulate: expected at most batch_size = 256 parts, found 257"),
        ("steps", 1, "steps: expected an integer >= 2, found 1"),
        ("hidden", 200, "hidden: expected a list of integers, found 200"),
        ("hidden", [], r"hidden: expected one or more integers >= 1, found \(\)"),
        ("hidden", [200, 0], r"hidden: expected one or more integers >= 1, found \(200, 0\)"),
        ("b_th", -0.2, "b_th: expected a half-width > 0, found -0.2"),
        ("dt", math.inf, "dt: expected a finite number of seconds > 0, found inf"),
        ("validation", 1, r"validation: expected a share in \[0, 1\), found 1.0"),
        ("augment", ("EvntDrop(0.1)",), "augment: .* did you mean .EventDrop"),
        ("transforms", ("Pool(two)",), r"transforms: expected numbers in Pool\(...\)"),
        ("transforms", "Pool(2)", "transforms: expected a list of texts"),
        ("label_smoothing", 1.5, r"label_smoothing: expected a share in \[0, 1\), found 1.5"),
        ("clip_norm", -1, "clip_norm: expected a finite number >= 0, found -1.0"),
        ("weight_decay", -1, "weight_decay: expected a finite number >= 0, found -1.0"),
        ("seed", -1, r"seed: expected an integer in \[0, 2\^63\), found -1"),
        ("reset", "subtrac", "reset: expected one of .* found 'subtrac'; did you mean 'subtract'"),
        ("backend", 3, "backend: expected one of cpu, gpu, dense, auto, found 3"),
        ("surrogate", "Traingle(1)", "surrogate: .* did you mean 'Triangle'"),
        ("surrogate", "Triangle(wide)", r"surrogate: expected numbers in Triangle\(...\)"),
        ("surrogate", "Triangle(0)", "surrogate: expected a finite number > 0"),
        ("surrogate", "Triangle(1, 2)", "surrogate: expected a finite number > 0"),
        ("surrogate", "QPseudoSpike(1)", "surrogate: expected a finite number > 1"),
        ("surrogate", "", "surrogate: expected one of"),
        ("b_thh", 0.2, "unknown key 'b_thh'; did you mean 'b_th'"),
        ("zzz", 0.2, "unknown key 'zzz'; the keys are dataset, transforms, .*, backend$"),
    ],
)
def test_a_wrong_value_is_refused_by_name(key, value, message):
    with pytest.raises(ValueError, match=message):
        recipes.from_dict({key: value})


def test_normal_weights_need_a_leak():
    with pytest.raises(ValueError, match="init: expected 'uniform' without leak"):
        recipes.from_dict({"tau_mem": math.inf})
    assert recipes.from_dict({"tau_mem": math.inf, "init": "uniform"}).tau_mem == math.inf


def test_a_recipe_passes_through_json_unchanged():
    recipe = Recipe(hidden=(3, 4), b_th=math.inf, lr=1 / 3, surrogate="Triangle(0.5)", reset="zero")
    text = json.dumps(recipe.to_dict(), allow_nan=False)
    assert json.loads(text) == recipe.to_dict()
    assert recipes.from_dict(json.loads(text)) == recipe


def test_a_file_is_read_and_its_errors_name_it(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('b_th = inf\nhidden = [7]\nsurrogate = "Boxcar"\n')
    assert recipes.load(str(path)) == Recipe(b_th=math.inf, hidden=(7,), surrogate="Boxcar")
    for text, message in (
        ("lr = ", "Invalid value"),
        ("lr = -1", "lr: expected"),
        ("x = 1", "'x'"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            recipes.load(str(path))
        assert str(caught.value).startswith(f"recipe {path}: ")
        assert "\n" not in str(caught.value)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'fashion-mnist-fast'"):
        recipes.load("fashion-mnst-fast")


def test_the_network_is_the_recipes():
    recipe = Recipe(hidden=(7, 5), tau_readout=20e-3, surrogate="Triangle(0.5)", reset="zero")
    net = recipe.network(11, 3)
    assert [tuple(p.shape) for p in net.parameters()] == [(7, 11), (5, 7), (3, 5)]
    lif = ss.LIF(tau_mem=10e-3, dt=1e-3, b_th=0.2, surrogate=ss.Triangle(0.5), reset="zero")
    found = [layer.neuron.describe() for layer in net]  # pyright: ignore
    readout = ss.Readout(tau_mem=20e-3, dt=1e-3)
    assert found == [neuron.describe() for neuron in (lif, lif, readout)]


@pytest.mark.parametrize("kind", surrogates.SURROGATES, ids=lambda kind: kind.__name__)
def test_every_surrogate_is_a_choice(kind):
    for text, expected in ((kind.__name__, kind()), (f"{kind.__name__}(1.75)", kind(1.75))):
        layer: Any = Recipe(hidden=(4,), surrogate=text).network(3, 2)[0]
        assert layer.neuron.surrogate == expected


def test_the_seed_alone_decides_the_weights():
    weights = [Recipe(seed=seed).network(30, 3).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not any(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_normal_weights_have_the_papers_width():
    net = Recipe().network(784, 10)
    for weight, n_in in zip(net.parameters(), (784, 200, 200), strict=True):
        width = 20 * (1 - math.exp(-0.1)) / math.sqrt(n_in)
        assert weight.std().item() == pytest.approx(width, rel=0.05)
        assert weight.mean().item() == pytest.approx(0, abs=0.1 * width)


def test_uniform_weights_stay_within_their_bound():
    for weight in Recipe(init="uniform").network(400, 10).parameters():
        bound = weight.shape[1] ** -0.5
        assert 0.9 * bound < weight.abs().max().item() <= bound


# ---- layers of other kinds -----------------------------------------------------------------------

CONV = ("Conv2d(1, 4, 3, padding='same')", "Conv2d(4, 6, 3, stride=2)", "Linear(54, 7)")


def test_layers_are_built_in_a_row_and_read_the_shape_of_the_units():
    net = Recipe(hidden=(), layers=CONV).network((1, 8, 8), 3)
    shapes = [(4, 1, 3, 3), (6, 4, 3, 3), (7, 54), (3, 7)]
    assert [tuple(p.shape) for p in net.parameters()] == shapes
    spikes = ss.Spikes.from_dense((torch.rand(2, 20, 1, 8, 8) < 0.3).float())
    assert net(spikes).shape == (2, 20, 3)
    width = 20 * (1 - math.exp(-0.1)) / math.sqrt(4 * 9)
    assert net[1].connection.weight.std().item() == pytest.approx(width, rel=0.2)  # pyright: ignore


def test_synapses_at_random_are_those_of_their_own_seed():
    layers = ("SparseLinear.random(64, 40, fan_in=5, seed=3)", "Linear(40, 20)")
    net = Recipe(hidden=(), layers=layers).network((1, 8, 8), 3)
    assert isinstance(net[0], ss.Layer)
    sparse = net[0].connection
    expected = ss.SparseLinear.random(64, 40, fan_in=5, seed=3)
    assert isinstance(sparse, ss.SparseLinear)
    assert torch.equal(sparse.index, expected.index)
    assert 0.5 < sparse.weight.std() * 5**0.5 / (20 * (1 - math.exp(-0.1))) < 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": CONV}, r"layers: expected none beside hidden = \[200, 200\], found .*Conv2d"),
        ({"hidden": [], "layers": ["Conv3d(1)"]}, "layers: expected one of Conv2d, .* 'Conv3d"),
        ({"hidden": [], "layers": ["Conv2d(open('x'))"]}, "layers: expected Name"),
        ({"hidden": [], "layers": ["__import__('os')"]}, "layers: expected one of Conv2d"),
        ({"hidden": [], "layers": ["a.b(1)"]}, "layers: expected one of Conv2d"),
        ({"hidden": [], "layers": ["Conv2d(1, 2"]}, "layers: expected Name"),
    ],
)
def test_wrong_layers_are_refused_by_name(values, message):
    with pytest.raises(ValueError, match=message):
        recipes.from_dict(values)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("Conv2d(1, 2)",), r"layers: Conv2d\(1, 2\): .*kernel_size"),
        (("Conv2d(2, 2, 3)",), r"layers: Conv2d\(2, 2, 3\): spikes: expected unit_shape"),
        (("Conv2d(1, 2, 9)",), "expected at least the kernel's"),
        (("Linear(63, 5)",), "expected 63 units, found 64"),
    ],
)
def test_layers_that_do_not_fit_are_refused_when_built(layers, message):
    with pytest.raises(ValueError, match=message):
        Recipe(hidden=(), layers=layers).network((1, 8, 8), 3)
