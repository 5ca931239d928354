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

from pages import read_page, screenshot, words
from sparsespike import data
from sparsespike.cli import main
from sparsespike.report import one, several
from sparsespike.report.files import read
from sparsespike.report.scores import score
from sparsespike.training.evaluate import load_run
from sparsespike.training.recipe import Recipe
from sparsespike.training.signals import Stopped
from sparsespike.training.train import train
from training import CONV, QUICK, Listener, few


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
        *(
            "Membrane potentials",
            "Weights",
            "Cost of each layer",
            "Operations and energy",
            "Recipe",
        ),
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
            "result.json",
            lambda text: text.replace('"energy"', '"enrgy"'),
            "result.json: metrics: expected effective_acs, ",
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
    costs = [[words(cell) for cell in row.iter("td")] for row in tables[1].iter("tr")][1:]
    found = result["metrics"]
    assert costs[0][:3] == [first, f"{found['effective_acs']:,.0f}", "0"]
    assert costs[1] == [second, *["–"] * 8]
    differing = [[words(cell) for cell in row.iter("td")] for row in tables[2].iter("tr")][1:]
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
