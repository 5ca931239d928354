"""Reports: their numbers are those of the run, and a page can be had of every run."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import signal
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from pages import read_page, screenshot, words
from sparsespike import data
from sparsespike.backends import use_backend
from sparsespike.cli import main
from sparsespike.report import membranes, one, rasters, several
from sparsespike.report.costs import costs
from sparsespike.report.files import read
from sparsespike.report.inputs import picture
from sparsespike.report.scores import Scores, score
from sparsespike.spikes.spikes import Spikes
from sparsespike.training.evaluate import evaluate, load_run
from sparsespike.training.recipe import Recipe
from sparsespike.training.signals import Stopped
from sparsespike.training.train import train
from training import QUICK, Listener, few

CONV = dataclasses.replace(
    QUICK,
    hidden=(),
    layers=("Conv2d(1, 3, 5, padding=2)", "MaxPool2d(2)", "Dropout(0.1)", "Linear(588, 15)"),
    epochs=1,
    validation=0.0,
    batch_size=256,
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """The folder of a finished run of two epochs, to be read only."""
    folder = tmp_path_factory.mktemp("runs") / "quick"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", few)
        train(QUICK, folder, progress=Listener())
    return folder


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(data, "load", few)
    monkeypatch.delenv("SPARSESPIKE_TRACEBACK", raising=False)


@pytest.fixture
def run(kept, tmp_path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(kept, tmp_path / "quick")


@pytest.fixture(scope="module")
def page(kept) -> Path:
    """The report of that run, written by the command."""
    out = kept.parent / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", few)
        assert main(["report", str(kept), "--out", str(out)]) == 0
    return out


def reported(folder: Path) -> tuple[str, ElementTree.Element]:
    """The report that the command writes beside the run, and its tree."""
    assert main(["report", str(folder)]) == 0
    text = (folder / "report.html").read_text("utf-8")
    return text, read_page(text)


def test_a_report_has_all_parts_and_stands_by_itself(kept, page):
    text = page.read_text("utf-8")
    tree = read_page(text)
    headings = [words(heading) for heading in tree.iter("h2")]
    assert headings == [
        *("Result", "Training", "Confusion", "Worst mistakes", "Spikes of some samples"),
        *("Membrane potentials", "Weights", "Cost of each layer", "Recipe"),
    ]
    figures = [figure.get("id") for figure in tree.iter("figure")]
    names = [
        "learning",
        "sparsity",
        "confusion",
        "mistakes",
        "rasters",
        "membranes",
        "weights",
        "costs",
    ]
    assert figures == [f"figure-{name}" for name in names]
    assert len(text) < 1_000_000
    result = json.loads((kept / "result.json").read_text())
    assert f"{result['test']['accuracy']:.2%}" in words(tree)
    assert f"{result['test']['loss']:.4f}" in words(tree)
    assert "Scored anew" not in words(tree)
    assert "not finished" not in words(tree)


def test_scores_are_those_of_evaluate(kept):
    net, recipe, _ = load_run(kept)
    test = few("", "test")
    scores, told = score(net, test, recipe), evaluate(net, test, recipe)
    for name in ("accuracy", "loss", "per_class", "layers", "n_samples"):
        assert scores.total[name] == told[name]
    confusion = scores.confusion()
    assert confusion.sum() == 150
    assert confusion.diag().sum() == round(told["accuracy"] * 150)
    assert torch.equal(confusion.sum(1), torch.from_numpy(np.bincount(test.label, minlength=10)))
    shares = [int(n) / int(row.sum()) for n, row in zip(confusion.diag(), confusion, strict=True)]
    assert shares == told["per_class"]
    assert torch.allclose(scores.probability.sum(1), torch.ones(150, dtype=torch.float64))
    at = scores.probability[range(150), scores.label].log()
    assert -at.mean().item() == pytest.approx(told["loss"], rel=1e-5)
    wrong = scores.mistakes().tolist()
    assert len(wrong) == 150 - confusion.diag().sum()
    assert all(scores.label[i] != scores.prediction[i] for i in wrong)
    sure = scores.sure[wrong].tolist()
    assert sure == sorted(sure, reverse=True)
    assert sure[0] > sure[-1]


def test_examples_are_one_usual_one_narrow_and_the_worst():
    probability = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.95, 0.05]])
    label = torch.tensor([0, 0, 0, 1, 1])
    assert Scores({}, label, probability, ("0", "1")).examples() == [2, 1, 4]
    everything = Scores({}, torch.zeros(5, dtype=torch.int64), probability, ("0", "1"))
    assert everything.examples() == [3, 1]  # no mistake
    none = Scores({}, torch.ones(5, dtype=torch.int64), probability, ("0", "1"))
    assert none.examples() == [4]


@pytest.mark.parametrize("recipe", [QUICK, CONV], ids=["linear", "conv"])
def test_traces_are_the_oracles_and_cross_where_the_spikes_are(recipe):
    net, test = recipe.network((1, 28, 28), 10), few("", "test")
    inside = rasters.look(net, test, recipe, [3, 5])
    found = membranes.traces(net, inside, sample=1)
    assert {trace.layer for trace in found} == {0, 1}
    assert sum(int(trace.spike.sum()) for trace in found) > 3
    assert sum(int(trace.active.sum()) for trace in found) > 1
    with torch.no_grad(), use_backend("dense"):
        _, oracle = net(inside.input, return_spikes=True)
    for trace in found:
        fired = oracle[trace.layer][1]
        dense = fired.to_dense().flatten(2)[0][:, trace.unit]
        assert torch.equal(trace.spike, dense.bool())
        assert torch.equal(trace.spike, trace.potential > recipe.v_th)
        mine = fired.active_unit == trace.unit
        step = fired.active_row()[mine]
        assert trace.active.nonzero()[:, 0].tolist() == step.tolist()
        assert fired.potential is not None
        assert torch.allclose(trace.potential[step], fired.potential[mine], atol=1e-5)
    kinds = {trace.kind: trace for trace in found if trace.layer == 0}
    counts = torch.bincount(inside.hidden[0][1].unit.long())
    assert kinds["busiest"].spike.sum() == counts.max()
    if "silent, yet active" in kinds:
        assert not kinds["silent, yet active"].spike.any()
        assert kinds["silent, yet active"].active.any()


def test_a_trace_that_is_not_the_layers_is_refused():
    net, test = QUICK.network(784, 10), few("", "test")
    inside = rasters.look(net, test, QUICK, [5])
    assert membranes.traces(net, inside)
    with torch.no_grad():
        next(net.parameters()).mul_(0.5)
    with pytest.raises(
        RuntimeError, match="expected to cross the threshold where the layer spikes"
    ):
        membranes.traces(net, inside)


def test_costs_count_what_goes_in_and_out(kept):
    net, recipe, _ = load_run(kept)
    test = few("", "test")
    found = costs(net, test, recipe, ["layer 1", "layer 2", "readout"])
    spikes, _ = test.batch(range(64), recipe.steps)
    _, hidden = net(spikes, return_spikes=True)
    assert found.n_batch == 64
    first, second, last = found.each
    assert first.n_in == spikes.n_spikes / 64
    assert (first.n_spikes, first.n_active) == (hidden[0].n_spikes / 64, hidden[0].n_active / 64)
    assert second.n_in == first.n_spikes
    assert second.activity == hidden[1].activity()
    assert last.n_in == second.n_spikes
    assert last.n_spikes is None
    for cost in found.each:
        assert cost.forward_ms > 0
        assert cost.backward_ms is not None
        assert cost.backward_ms > 0
    assert first.kept_mib > 0
    assert first.module == "Linear(784, 20)"


def camera(step: list[int], unit: list[int], n_units: int) -> Spikes:
    """One sample of ten steps."""
    arrays = (np.array(values) for values in ([0] * len(step), step, unit))
    return Spikes.from_events(*arrays, shape=(1, 10, n_units))


def test_an_image_shows_where_and_how_early_the_events_were():
    events = camera([1, 5, 9], [0, 5, 11], 12)
    image = picture(events.with_unit_shape((1, 3, 4)))
    assert image is not None
    shade = image[:, :, 3]
    assert (shade > 0).sum() == 3
    assert shade[0, 0] == 1 > shade[1, 1] > shade[2, 3] > 0
    assert picture(events) is None


def test_an_image_of_two_polarities_has_a_colour_for_each():
    # Thrice OFF and once ON in the first pixel, once ON in the second.
    events = camera([1, 2, 3, 4, 5], [0, 0, 0, 12, 13], 24)
    image = picture(events.with_unit_shape((2, 3, 4)))
    assert image is not None
    assert image[0, 0, 3] == 1
    assert image[0, 1, 3] == pytest.approx(0.25**0.7)
    assert image[0, 0, 0] > image[0, 0, 2]  # orange
    assert image[0, 1, 0] < image[0, 1, 2]  # blue


def test_silent_layers_are_told(tmp_path):
    quiet = dataclasses.replace(QUICK, v_th=1e3, b_th=0.1, epochs=1, steps=10, dt=4e-3)
    train(quiet, tmp_path, progress=Listener())
    _, tree = reported(tmp_path)
    assert "No neuron of layer 1 spikes in any test sample" in words(tree)
    assert "No neuron of any layer comes near its threshold" in words(tree)
    assert "no spike" in words(tree)


def test_a_stopped_run_says_that_it_is_not_finished(tmp_path):
    def stop(epoch: int, batch: int) -> None:
        if (epoch, batch) == (1, 2):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped):
        train(QUICK, tmp_path, progress=Listener(stop))
    _, tree = reported(tmp_path)
    assert "This run is not finished: 0 of 2 epochs (stopped)" in words(tree)
    assert "No epoch is complete yet, so there are no curves." in words(tree)


def test_another_score_than_at_the_end_is_told(run):
    result = json.loads((run / "result.json").read_text())
    result["test"]["accuracy"] = 0.123
    (run / "result.json").write_text(json.dumps(result))
    net, recipe, state = load_run(run)
    first = one.result(read(run), net, score(net, few("", "test"), recipe), state)[0]
    assert isinstance(first, str)
    assert "when it finished, it had 12.30%" in first


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("run.json", lambda text: text[:-20], "run.json: the file is damaged ("),
        ("metrics.jsonl", lambda text: text[:-20], "metrics.jsonl, line 2: the file is damaged ("),
        (
            "metrics.jsonl",
            lambda text: text.replace('"loss"', '"los"'),
            "metrics.jsonl, line 1: loss: expected a number, found None",
        ),
        (
            "metrics.jsonl",
            lambda text: text.splitlines(True)[1],
            "metrics.jsonl, line 1: epoch: expected 1, found 2",
        ),
        (
            "metrics.jsonl",
            lambda text: re.sub(r'"rate": [\d.]+', '"rate": 2', text),
            "metrics.jsonl, line 1: layers: expected rate and activity of 2",
        ),
        (
            "result.json",
            lambda text: text.replace('"test"', '"tset"'),
            "result.json: test: expected a score",
        ),
        (
            "best.safetensors",
            lambda text: text[:99],
            "best.safetensors: the checkpoint is damaged (",
        ),
    ],
)
def test_a_damaged_run_is_one_line(run, capsys, name, change, said):
    text = (run / name).read_text("latin1")
    assert change(text) != text
    (run / name).write_text(change(text), "latin1")
    assert main(["report", str(run)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"{run / name}".replace(name, said) in err
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("report", 2, "required: DIR"),
        ("report x", 1, "x holds no run: there is no run.json in it"),
        ("report x --out y.pdf", 1, "out: expected a name that ends in .html, found 'y.pdf'"),
        ("train fashion-mnist --out x --log tensorbord", 2, "did you mean 'tensorboard'?"),
    ],
)
def test_a_mistake_is_one_line(capsys, monkeypatch, tmp_path, words, code, said):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == code
    _, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_nothing_is_begun(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["report", str(run)]) == 1
    assert main(["train", "fashion-mnist", "--out", str(tmp_path / "new"), "--report"]) == 1
    _, err = capsys.readouterr()
    assert err.count("a figure needs Matplotlib: pip install 'sparsespike[plot]'") == 2
    assert not (tmp_path / "new").exists()


def test_train_writes_the_report_at_its_end(tmp_path, capsys):
    folder = tmp_path / "run"
    (tmp_path / "conv.toml").write_text(
        "".join(f"{name} = {json.dumps(value)}\n" for name, value in CONV.to_dict().items())
    )
    recipe = str(tmp_path / "conv.toml")
    assert main(["train", recipe, "--out", str(folder), "--log", "csv", "--report"]) == 0
    assert capsys.readouterr().out.endswith(f"{folder / 'report.html'}\n")
    assert (folder / "metrics.csv").exists()
    # Of convolutions, of one epoch, and without held-out samples.
    tree = read_page((folder / "report.html").read_text("utf-8"))
    assert "Conv2d(1, 3, 5, padding=2)" in words(tree)
    assert "(3×28×28)" in words(tree)
    assert "held out" not in words(tree)


def test_runs_are_compared(kept, run, tmp_path, capsys, monkeypatch):
    about = json.loads((run / "run.json").read_text())
    about["recipe"] |= {"lr": 0.25, "epochs": 3}
    (run / "run.json").write_text(json.dumps(about))
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(kept), str(run)]) == 0
    assert capsys.readouterr().out == "comparison.html\n"
    tree = read_page((tmp_path / "comparison.html").read_text("utf-8"))
    first, second = several.run_names([kept, run])
    assert first != second
    tables = list(tree.iter("table"))
    rows = [[words(cell) for cell in row.iter("td")] for row in tables[0].iter("tr")][1:]
    result = json.loads((kept / "result.json").read_text())
    assert rows[0][0] == first
    assert rows[0][2] == "2 epochs"
    assert rows[0][3].startswith(f"{result['test']['accuracy']:.2%} ± ")
    assert rows[1][2:5] == ["2 of 3 epochs (stopped)", "–", "–"]
    differing = [[words(cell) for cell in row.iter("td")] for row in tables[1].iter("tr")][1:]
    assert differing == [["epochs", "2", "3"], ["lr", "0.005", "0.25"]]


def test_a_run_named_twice_is_refused(kept):
    with pytest.raises(ValueError, match=r"DIR: expected runs that differ, found .* twice"):
        several.page([kept, kept / "." / ".." / kept.name])


def test_every_recipe_has_a_name_for_its_network():
    linear = read_files(Recipe(hidden=(20, 15)))
    assert linear == "784-20-15-10"
    assert read_files(CONV).startswith("Conv2d(1, 3, 5, padding=2), MaxPool2d(2), ")


def read_files(recipe: Recipe) -> str:
    from sparsespike.report.files import Files

    return Files(Path(), recipe, {"n_in": 784, "n_class": 10}, [], None).network


def test_files_tell_how_far_a_run_came(run):
    assert read(run).progress == "2 epochs"
    assert read(run).n_layers == 2
    (run / "result.json").unlink()
    assert read(run).progress == "2 of 2 epochs (stopped)"


def test_chromium_shows_a_report_light_and_dark_on_a_phone_and_a_screen(page, tmp_path):
    from matplotlib.image import imread

    for width, dark in ((1280, False), (1280, True), (400, False), (400, True)):
        screenshot(page, tmp_path / "shot.png", width, 6000, dark=dark)
        picture = imread(tmp_path / "shot.png")[:, :, :3]
        assert picture.shape[1] == width
        corner = picture[0, 0]
        assert (corner.mean() < 0.15) == dark
        assert np.abs(picture[:, -8:] - corner).max() < 0.02  # nothing runs over the margin
        ink = np.abs(picture - corner).max(2) > 0.3
        assert (
            ink[:, : width // 2].any(1).mean() > 0.1
        )  # lines of text and drawings, all the way down
        colours = picture[ink]
        assert (np.ptp(colours, axis=1) > 0.4).sum() > 1000  # and colour among them
