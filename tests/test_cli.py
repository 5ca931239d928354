"""The command line in this process: what each command prints, and that every error is one line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numba
import pytest
import torch

import sparsespike as ss
from sparsespike import data
from sparsespike.cli import main
from sparsespike.compiling import folder
from sparsespike.training import checkpoint
from sparsespike.training import recipe as recipes
from training import few

QUICK = ["--hidden", "20", "15", "--b-th", "0.3", "--steps", "40", "--batch-size", "64"]


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(data, "load", few)
    monkeypatch.delenv("SPARSESPIKE_TRACEBACK", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


def refused(capsys, *words: str) -> tuple[int, str]:
    """(exit code, message) of a command that must fail in one line."""
    code = main(words)
    out, err = capsys.readouterr()
    assert code in (1, 2)
    assert out == ""
    assert err.startswith("sparsespike: error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return code, err.removeprefix("sparsespike: error: ").rstrip()


def helped(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def unwrapped(text: str) -> str:
    return "".join(text.split())


@pytest.fixture
def run(tmp_path, capsys) -> Path:
    """The folder of a finished run."""
    folder = tmp_path / "run"
    words = ["--out", str(folder), *QUICK, "--backend", "cpu", "--epochs", "2", "--lr", "5e-3"]
    assert main(["train", "fashion-mnist", *words]) == 0
    return folder


def test_train_overrides_the_recipe_and_ends_with_a_table(run, capsys):
    out, err = capsys.readouterr()
    for row in ("test accuracy", "layer 2 activity / spike rate", "training speed", "peak memory"):
        assert row in out
    assert "of 150 samples" in out
    assert err.count("\n") == 3
    stored = recipes.from_dict(checkpoint.read_json(run / "run.json")["recipe"])
    expected = {"hidden": (20, 15), "b_th": 0.3, "steps": 40, "batch_size": 64, "epochs": 2}
    assert {key: getattr(stored, key) for key in expected} == expected
    assert stored.v_th == 1.0
    assert len(checkpoint.read_lines(run / "metrics.jsonl")) == 2


def test_train_resumes_without_naming_the_recipe(run, capsys):
    capsys.readouterr()
    assert main(["train", "--out", str(run), "--resume"]) == 0
    out, err = capsys.readouterr()
    assert err == f"{run}: this run is finished\n"
    assert "test accuracy" in out
    assert main(["train", "--out", str(run), "--resume", "--epochs", "3"]) == 0
    assert f"resuming {run} at epoch 3, batch 1" in capsys.readouterr().err
    assert len(checkpoint.read_lines(run / "metrics.jsonl")) == 3


def test_a_list_of_texts_can_be_given_and_emptied(tmp_path, capsys):
    words = [*QUICK, "--epochs", "1"]
    for name, given, kept in (
        ("a", ["Shift(1)", "EventDrop(0.3)"], ["Shift(1)", "EventDrop(0.3)"]),
        ("b", [], []),
    ):
        folder = tmp_path / name
        recipe = ["train", "fashion-mnist-best", "--out", str(folder), "--augment", *given]
        assert main([*recipe, *words]) == 0
        assert checkpoint.read_json(folder / "run.json")["recipe"]["augment"] == kept
    said = unwrapped(helped(capsys, "train", "fashion-mnist-best"))
    assert "(default:EventDrop(0.2))" in said
    assert "(default: none)" in helped(capsys, "train", "fashion-mnist")
    message = refused(capsys, "train", "fashion-mnist", "--out", "x", "--augment", "Shfit(1)")[1]
    assert "did you mean 'Shift'" in message


def test_train_reads_a_recipe_of_ones_own(tmp_path, capsys):
    path = tmp_path / "mine.toml"
    path.write_text('dataset = "fashion-mnist-sample"\nhidden = [9]\nsteps = 20\nepochs = 1\n')
    assert main(["train", str(path), "--out", str(tmp_path / "run"), "--threads", "1"]) == 0
    assert checkpoint.read_json(tmp_path / "run/run.json")["recipe"]["hidden"] == [9]


def test_evaluate_prints_the_score(run, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 0
    out, err = capsys.readouterr()
    assert "test accuracy" in out
    assert "class 9" in out
    assert "accumulations (AC) per sample" in out
    assert "0.9 pJ per AC" in " ".join(out.split())
    assert err == ""


def test_evaluate_gives_json_with_the_accuracy_of_training(run, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    result = checkpoint.read_json(run / "result.json")
    assert score["accuracy"] == result["test"]["accuracy"]
    assert 0 <= score["accuracy"] <= 1
    assert score["n_samples"] == 150
    assert len(score["layers"]) == 2
    assert score["checkpoint"] == "last"
    assert score["metrics"] == result["metrics"]
    assert 0 < score["metrics"]["effective_acs"] < score["metrics"]["dense"]
    assert score["metrics"]["dense"] == 40 * (784 * 20 + 20 * 15 + 15 * 10)


def test_evaluate_scores_other_recordings(run, capsys, monkeypatch, tmp_path):
    monkeypatch.undo()
    mine = few("fashion-mnist-sample", "train").subset(range(30))
    mine.save(tmp_path / "train.events")
    capsys.readouterr()
    words = ["evaluate", str(run), "--on", str(tmp_path), "--split", "train", "--json"]
    assert main(words) == 0
    score = json.loads(capsys.readouterr().out)
    assert (score["n_samples"], score["dataset"], score["split"]) == (30, str(tmp_path), "train")
    mine.transformed(data.Pool(2)).save(tmp_path / "train.events")
    code, said = refused(capsys, *words)
    assert code == 1
    assert "expected 784 units and at most 10 classes, as the network has, found 196 and 10" in said


def test_data_list_tells_size_samples_licence_and_folder(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "data"
    rows = [
        data.Listing("here", "Here", "MIT", {"train": 4_000, "test": 96}, folder, 3 * 2**20),
        data.Listing("there", "There", "CC BY 4.0", {}, None, 0),
    ]
    monkeypatch.setattr(data, "listing", lambda root: rows)
    monkeypatch.setenv("COLUMNS", "250")
    assert main(["data", "list"]) == 0
    heading, _, here, there = filter(None, map(str.strip, capsys.readouterr().out.splitlines()))
    assert heading.split() == ["name", "size", "samples", "licence", "folder"]
    assert here.split() == ["here", "3.0", "MiB", "4,096", "MIT", str(folder)]
    assert there.split() == ["there", "CC", "BY", "4.0", "not", "present"]


@pytest.mark.parametrize("columns", [80, 100])
def test_data_list_loses_nothing_in_a_narrow_terminal(tmp_path, capsys, monkeypatch, columns):
    folder = tmp_path / ("long" * 20)
    rows = [data.Listing("fashion-mnist-sample", "", "CC BY-SA 3.0", {"train": 99_999}, folder, 1)]
    monkeypatch.setattr(data, "listing", lambda root: rows)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    assert all(
        word in out for word in ("fashion-mnist-sample", "CC BY-SA 3.0", "99,999", "0.0 MiB")
    )
    _, *lines = (line.rpartition("  ")[2] for line in map(str.rstrip, out.splitlines()) if line)
    assert str(folder) in "".join(map(str.strip, lines))


def test_data_list_and_get_find_the_embedded_sample(capsys):
    assert main(["data", "list"]) == 0
    assert "fashion-mnist-sample" in capsys.readouterr().out
    assert main(["data", "get", "fashion-mnist-sample"]) == 0
    assert (Path(capsys.readouterr().out.strip()) / "train-images-idx3-ubyte.gz").is_file()


def test_data_show_draws_a_sample_in_the_terminal(capsys):
    assert main(["data", "show", "fashion-mnist-sample", "--sample", "3"]) == 0
    out, err = capsys.readouterr()
    assert "sample 3" in out
    assert "events of a pixel" in out
    assert max(map(len, out.splitlines())) <= 100
    assert err == ""


def test_data_show_writes_a_picture(tmp_path, capsys):
    path = tmp_path / "sample.png"
    assert main(["data", "show", "fashion-mnist-sample", "--out", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_without_matplotlib_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    path = tmp_path / "sample.png"
    code, text = refused(capsys, "data", "show", "fashion-mnist-sample", "--out", str(path))
    assert (code, text) == (1, "a picture needs Matplotlib: pip install 'sparsespike[plot]'")
    assert not path.exists()


def test_data_stats_counts_on_the_grid(capsys):
    words = ["fashion-mnist-sample", "--split", "test", "--steps", "20", "--dt", "0.002"]
    assert main(["data", "stats", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = few("fashion-mnist-sample", split="test").count(20, 2e-3)
    (spikes,) = (line for line in lines if "in 20 steps of 2 ms" in line)
    assert f"{expected.n_spikes:,} spikes" in spikes
    assert 0 < expected.n_spikes < expected.n_events


def test_info_tells_versions_threads_backends_and_folders(capsys):
    assert main(["info", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["torch"] == torch.__version__
    assert about["numba"] == numba.__version__
    assert about["sparsespike"] == ss.__version__
    assert about["threads"] == torch.get_num_threads()
    assert about["backends"] == ["dense", "cpu", "gpu", "auto"]
    assert about["gpu"] == (torch.cuda.get_device_name() if torch.cuda.is_available() else None)
    assert Path(about["data"]["fashion-mnist-sample"]).is_dir()
    assert Path(about["downloads"]).name == "sparsespike"
    assert Path(about["kernels"]) == folder.place().path
    assert main(["info"]) == 0
    plain = capsys.readouterr().out
    assert all(key in plain for key in about if key != "data")


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"{ss.__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["train", "evaluate", "report", "bench", "data", "info", "examples:"]),
        (["train"], ["--b-th X", "their 0.8 is 0.2", "recipes:", "fashion-mnist-best", "--resume"]),
        (["train", "fashion-mnist-fast"], ["(defaults shown: fashion-mnist-fast)", "cosine)"]),
        (["evaluate"], ["DIR", "--json", "--best", "--last", "examples:"]),
        (["report"], ["DIR", "--out FILE", "--data ROOT", "examples:"]),
        (["data"], ["list", "get", "show", "stats", "examples:"]),
        (["data", "get"], ["NAME", "--data ROOT"]),
        (["data", "show"], ["NAME", "--split", "--sample N", "--out FILE.png", "--data ROOT"]),
        (["data", "stats"], ["NAME", "--split", "--steps N", "--dt X", "--data ROOT"]),
        (["info"], ["--json"]),
    ],
    ids=lambda words: "-".join(words) or "top",
)
def test_help_suffices(capsys, words, expected):
    text = unwrapped(helped(capsys, *words))
    assert [word for word in expected if unwrapped(word) not in text] == []


def test_help_of_train_has_every_field_with_its_default(capsys):
    text = unwrapped(helped(capsys, "train", "fashion-mnist"))
    for name, value in recipes.load("fashion-mnist").to_dict().items():
        assert f"--{name.replace('_', '-')}" in text
        if isinstance(value, str):
            assert f"(default:{value})" in text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("train fashion-mnist --out x --b-thh 1", 2, "'--b-thh'; did you mean '--b-th'?"),
        ("train fashion-mnist --out x --epoch 1", 2, "'--epoch'; did you mean '--epochs'?"),
        ("evaluate x --jsn", 2, "'--jsn'; did you mean '--json'?"),
        ("trian", 2, "did you mean 'train'? (see sparsespike --help)"),
        ("data lst", 2, "did you mean 'list'?"),
        ("train fashion-mnist --out x --reset zeroo", 2, "did you mean 'zero'?"),
        ("", 2, "required: COMMAND"),
        ("train fashion-mnist", 2, "required: --out"),
        ("train --out x", 2, "RECIPE: expected one of fashion-mnist, "),
        ("train fashion-mnist --out x --lr fast", 2, "--lr: invalid float value: 'fast'"),
        ("train fashion-mnist --out x --threads 0", 2, "--threads: expected an integer >= 1"),
        ("evaluate x --best --last", 2, "not allowed with"),
        ("train fashion-minst --out x", 1, "did you mean 'fashion-mnist'?"),
        ("train fashion-mnist --out x --lr -1", 1, "lr: expected a finite number > 0, found -1.0"),
        ("train fashion-mnist --out x --b-th nan", 1, "b_th: expected a half-width > 0, found nan"),
        ("train missing.toml --out x", 1, "missing.toml: No such file or directory"),
        ("evaluate x", 1, "x holds no run: there is no run.json in it"),
        ("data show fashion-mnist-sample --sample x", 2, "--sample: invalid int value: 'x'"),
        ("data show fashion-mnist-sample --sample 320", 1, "index: expected samples in [0, "),
        ("data show fashion-mnist-sample --out x.jpg", 1, "expected a name that ends in .png"),
        ("data stats fashion-mnist-sample --steps 0", 1, "steps: expected"),
        ("data stats fashion-mnist-sample --dt 0.0000001", 1, "dt: expected"),
        ("data get fashion-mist", 1, "did you mean 'fashion-mnist'?"),
    ],
)
def test_a_mistake_is_one_line_that_helps(capsys, monkeypatch, tmp_path, words, code, message):
    monkeypatch.chdir(tmp_path)
    found, text = refused(capsys, *words.split())
    assert (found, message in text) == (code, True), text
    assert list(tmp_path.iterdir()) == []


def test_damaged_runs_are_one_line(run, capsys):
    capsys.readouterr()
    last, about = run / "last.safetensors", run / "run.json"
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    for words in (
        ["evaluate", str(run)],
        ["train", "--out", str(run), "--resume", "--epochs", "3"],
    ):
        assert refused(capsys, *words)[1].startswith(f"{last}: the checkpoint is damaged (")
    last.write_bytes(whole)
    about.write_bytes(about.read_bytes()[:-20])
    for words in (["evaluate", str(run)], ["train", "--out", str(run), "--resume"]):
        assert refused(capsys, *words)[1].startswith(f"{about}: the file is damaged (")


def test_out_that_can_be_no_folder_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for out in (str(tmp_path / "file"), str(tmp_path / "file" / "run"), "/proc/self/run"):
        _, text = refused(capsys, "train", "fashion-mnist", "--out", out, *QUICK)
        assert text.startswith(out)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_out_that_may_not_be_written_is_one_line(tmp_path, capsys):
    tmp_path.chmod(0o500)
    _, text = refused(capsys, "train", "fashion-mnist", "--out", str(tmp_path), *QUICK)
    assert "Permission denied" in text


def test_an_unforeseen_error_is_one_line_and_a_traceback_on_request(capsys, monkeypatch):
    def broken(**_: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(data, "listing", broken)
    _, text = refused(capsys, "data", "list")
    assert text == "unexpected RuntimeError: two lines (SPARSESPIKE_TRACEBACK=1 shows where)"
    monkeypatch.setenv("SPARSESPIKE_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        main(["data", "list"])


def test_a_score_is_named_after_its_split(run, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(run), "--split", "train"]) == 0
    out = capsys.readouterr().out
    assert "train accuracy" in out
    assert "test" not in out


def test_help_of_data_get_has_the_addresses(capsys):
    with pytest.raises(SystemExit):
        main(["data", "get", "--help"])
    out = capsys.readouterr().out
    assert "apt-get install dataset-fashion-mnist" in out
    assert out.count("https://") > 10
