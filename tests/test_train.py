"""Training: what a run learns, writes and says."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch

from sparsespike import data, losses
from sparsespike.data import library
from sparsespike.training import checkpoint
from sparsespike.training.epochs import learning_rate
from sparsespike.training.evaluate import evaluate, load_run
from sparsespike.training.recipe import Recipe
from sparsespike.training.train import train
from training import LOAD, QUICK, SIZES, Listener, few


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(data, "load", few)


def test_training_learns(tmp_path):
    recipe = dataclasses.replace(QUICK, hidden=(50,), steps=100, epochs=8, lr=2e-2)
    result = train(recipe, tmp_path, progress=Listener())
    lines = checkpoint.read_lines(tmp_path / "metrics.jsonl")
    assert [line["epoch"] for line in lines] == list(range(1, 9))
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert result["test"]["accuracy"] > 0.35  # chance is 0.1
    assert result["test"]["n_samples"] == 150


def test_a_run_writes_its_files(tmp_path):
    listener = Listener()
    result = train(QUICK, tmp_path / "new" / "run", progress=listener)
    folder = tmp_path / "new" / "run"
    names = [
        "best.safetensors",
        "last.safetensors",
        "metrics.jsonl",
        "result.json",
        "run.json",
        "train.lock",
    ]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert checkpoint.read_json(folder / "result.json") == result
    assert checkpoint.read_json(folder / "run.json")["recipe"] == QUICK.to_dict()
    lines = checkpoint.read_lines(folder / "metrics.jsonl")
    best = max(lines, key=lambda line: line["validation_accuracy"])
    assert result["validation_accuracy"] == best["validation_accuracy"]
    assert (result["checkpoint"], result["epoch"], result["epochs"]) == ("best", best["epoch"], 2)
    for line in lines:
        assert all(0 < layer["rate"] < 1 and 0 < layer["activity"] < 1 for layer in line["layers"])
        assert len(line["layers"]) == 2
        assert line["samples_per_second"] > 0
        assert line["warnings"] == []
    assert listener.text.count("\n") == 3  # one line per epoch where there is no terminal
    assert listener.text.startswith("training events: ")
    assert "2.24% late (step 40 or later, dropped) and 0.00% merged" in listener.text
    assert "would hold 99% of them" in listener.text
    assert result["events"]["late"] == pytest.approx(0.0224, abs=1e-4)
    assert result["test"]["n_late"] > 0
    assert "epoch   1/2  loss 2." in listener.text


def test_without_held_out_samples_the_last_epoch_counts(tmp_path):
    result = train(dataclasses.replace(QUICK, validation=0.0), tmp_path, progress=Listener())
    assert (result["checkpoint"], result["epoch"]) == ("last", 2)
    assert result["validation_accuracy"] is None
    assert not (tmp_path / "best.safetensors").exists()
    with pytest.raises(ValueError, match="held out no validation samples; take --last"):
        load_run(tmp_path, "best")


def test_every_sample_is_scored_in_batches_of_any_size(tmp_path):
    net, test = QUICK.network(784, 10), few("", "test")
    scores = [evaluate(net, test, dataclasses.replace(QUICK, batch_size=n)) for n in (150, 64, 7)]
    spikes, label = test.batch(range(150), 40)
    with torch.no_grad():
        hit = losses.logits(net(spikes), "max").argmax(1) == label
    for score in scores:
        assert score["n_samples"] == 150
        assert score["accuracy"] == hit.float().mean().item() or math.isclose(
            score["accuracy"], int(hit.sum()) / 150
        )
        assert score["loss"] == pytest.approx(scores[0]["loss"], rel=1e-5)
        assert score["per_class"] == [
            int(hit[label == c].sum()) / int((label == c).sum()) for c in range(10)
        ]
    assert scores[0]["layers"][0]["rate"] > 0


def test_a_class_without_samples_has_no_accuracy():
    test = few("", "test")
    some = test.subset(np.flatnonzero(test.label != 3))
    score = evaluate(QUICK.network(784, 10), some, QUICK)
    assert [c for c, share in enumerate(score["per_class"]) if share is None] == [3]


def test_a_layer_out_of_reach_of_its_threshold_is_told_once_with_advice(tmp_path):
    listener = Listener()
    train(dataclasses.replace(QUICK, v_th=1e6), tmp_path, progress=listener)
    told = [line for line in listener.text.splitlines() if line.startswith("warning: ")]
    assert len(told) == 2
    assert told[0].startswith("warning: layer 1 has no active neuron (epoch 1, batch 1)")
    assert told[1].startswith("warning: layer 2 has no active neuron (epoch 1, batch 1)")
    assert "take larger initial weights (init_gain) or a wider b_th" in told[0]
    (first, second) = checkpoint.read_lines(tmp_path / "metrics.jsonl")
    assert first["warnings"] == second["warnings"]
    assert "layer 1 has no active neuron (5 of 5 batches)" in first["warnings"][0]


@pytest.mark.parametrize("lr", [1e38, 1e30])
def test_numbers_that_are_not_finite_stop_the_run_and_are_never_saved(tmp_path, lr):
    recipe = dataclasses.replace(QUICK, lr=lr, weight_decay=1e10)
    with pytest.raises(FloatingPointError, match="not finite") as caught:
        train(recipe, tmp_path, progress=Listener())
    assert str(caught.value).startswith("15680 of 15680 entries of layer 1 (0.connection.weight)")
    assert str(caught.value).endswith(f"keeps the last good state; try an lr below {lr:g}")
    net, *_ = load_run(tmp_path, "last")
    assert all(torch.isfinite(weight).all() for weight in net.parameters())


def test_out_of_reach_the_embedded_sample_is_used_and_said_in_one_line(tmp_path, monkeypatch):
    def load(name: str, split: str = "train", root=None) -> data.EventDataset:
        whole = LOAD(name, split, root)
        return whole.subset(range(64))

    def unreachable(*_: object) -> None:
        raise OSError("example.org: no answer within 5 seconds")

    monkeypatch.setattr(data, "load", load)
    empty = dataclasses.replace(library.ENTRIES["fashion-mnist"], folders=())
    monkeypatch.setitem(library.ENTRIES, "fashion-mnist", empty)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(library, "fetch", unreachable)
    listener = Listener()
    recipe = dataclasses.replace(QUICK, dataset="fashion-mnist", epochs=1)
    result = train(recipe, tmp_path / "run", progress=listener)
    missing, going_on = listener.text.splitlines()[:2]
    told = "fashion-mnist is not on this machine, and could not be fetched: "
    assert missing == f"{told}example.org: no answer within 5 seconds"
    assert going_on == (
        "going on with the embedded fashion-mnist-sample; "
        "for the whole: sparsespike data get fashion-mnist"
    )
    assert result["dataset"] == "fashion-mnist-sample"
    assert train(recipe, tmp_path / "run", resume=True, progress=Listener()) == result
    monkeypatch.setattr(data, "available", lambda: ["fashion-mnist"])
    with pytest.raises(OSError, match=r"example\.org"):  # a dataset of which there is no sample
        train(recipe, tmp_path / "other", progress=Listener())


def test_the_cosine_falls_from_lr_to_nothing():
    recipe = Recipe(lr=0.1, epochs=4, schedule="cosine")
    found = [learning_rate(recipe, step, 5) for step in range(21)]
    assert found[0] == 0.1
    assert found[10] == pytest.approx(0.05)
    assert found[20] == pytest.approx(0, abs=1e-12)
    assert all(a > b for a, b in itertools.pairwise(found))
    assert learning_rate(Recipe(lr=0.1), 7, 5) == 0.1


@pytest.mark.parametrize(
    "change",
    [
        {"weight_decay": 1.0},
        {"augment": ("EventDrop(0.5)",)},
        {"label_smoothing": 0.5},
        {"schedule": "cosine"},
        {"clip_norm": 1e-4},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_option_of_training_changes_it(tmp_path, change):
    short = dataclasses.replace(QUICK, epochs=1)
    for name, recipe in (("a", short), ("b", dataclasses.replace(short, **change))):
        train(recipe, tmp_path / name, progress=Listener())
    a, b = (load_run(tmp_path / name, "last")[0].state_dict() for name in ("a", "b"))
    assert not any(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("clip_norm", [0.0, 1e-3])
def test_gradients_are_scaled_down_to_the_norm(tmp_path, monkeypatch, clip_norm):
    norms = []

    class Recorded(torch.optim.AdamW):
        def step(self, closure=None):
            gradients = [p.grad for group in self.param_groups for p in group["params"]]
            norms.append(float(torch.nn.utils.get_total_norm(gradients)))
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", Recorded)
    train(dataclasses.replace(QUICK, epochs=1, clip_norm=clip_norm), tmp_path, progress=Listener())
    assert norms
    assert min(norms) > 0
    if clip_norm:
        assert max(norms) == pytest.approx(clip_norm, rel=1e-4)
    else:
        assert max(norms) > 1e-2


def test_the_dense_backend_trains_the_same_network(tmp_path):
    short = dataclasses.replace(QUICK, epochs=1, hidden=(10,), steps=20)
    for backend in ("cpu", "dense"):
        recipe = dataclasses.replace(short, backend=backend)
        train(recipe, tmp_path / backend, progress=Listener())
    lines = [checkpoint.read_lines(tmp_path / b / "metrics.jsonl")[0] for b in ("cpu", "dense")]
    assert lines[0]["loss"] == pytest.approx(lines[1]["loss"], rel=1e-3)


def test_the_gpu_backend_trains_the_same_network_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "train", 16)
    monkeypatch.setitem(SIZES, "test", 8)
    few.cache_clear()
    short = dataclasses.replace(
        QUICK, epochs=1, hidden=(10,), steps=20, batch_size=16, validation=0.0
    )
    for backend in ("cpu", "gpu"):
        recipe = dataclasses.replace(short, backend=backend)
        train(recipe, tmp_path / backend, progress=Listener())
    longer = dataclasses.replace(short, backend="gpu", epochs=2)
    result = train(longer, tmp_path / "gpu", resume=True, progress=Listener())
    few.cache_clear()
    lines = [checkpoint.read_lines(tmp_path / b / "metrics.jsonl") for b in ("cpu", "gpu")]
    assert lines[0][0]["loss"] == pytest.approx(lines[1][0]["loss"], rel=1e-3)
    for one, other in zip(lines[0][0]["layers"], lines[1][0]["layers"], strict=True):
        assert one["activity"] == pytest.approx(other["activity"], rel=1e-2)
    assert lines[1][1]["loss"] != lines[1][0]["loss"]
    assert result["test"]["n_samples"] == 8
    assert result["test"]["layers"][0]["activity"] > 0


def test_a_folder_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="expected a folder for the run, found a file"):
        train(QUICK, tmp_path / "file", progress=Listener())
    assert (tmp_path / "file").read_text() == "mine"
    train(QUICK, tmp_path / "run", progress=Listener())
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(ValueError, match="already holds a run: go on with it by --resume"):
        train(QUICK, tmp_path / "run", progress=Listener())
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}


def test_metrics_are_json_of_finite_numbers(tmp_path):
    train(QUICK, tmp_path, progress=Listener())

    def refuse(text: str) -> None:
        raise AssertionError(text)

    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_scoring_leaves_nothing_out_at_random(tmp_path):
    recipe = dataclasses.replace(QUICK, hidden=(), layers=("Linear(784, 20)", "Dropout(0.8)"))
    net, test = recipe.network(784, 10), few("", "test")
    scores = [evaluate(net, test, recipe) for _ in range(2)]
    assert scores[0]["loss"] == scores[1]["loss"]
    assert net.training  # a run goes on training after its validation
    net.eval()
    spikes, label = test.batch(range(150), 40)
    logit = losses.logits(net(spikes), "max")
    assert scores[0]["accuracy"] == int((logit.argmax(1) == label).sum()) / 150
    net.train()
    assert not torch.equal(losses.logits(net(spikes), "max"), logit)
