"""Logs for other programs: one row or point per epoch, whatever stopped the run."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import signal
from pathlib import Path
from typing import Any

import pytest

from sparsespike import data
from sparsespike.cli import main
from sparsespike.training import checkpoint
from sparsespike.training.logs import scalars
from sparsespike.training.signals import Stopped
from sparsespike.training.train import train
from training import QUICK, Listener, few

RECIPE = dataclasses.replace(QUICK, hidden=(20,), epochs=3)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(data, "load", few)


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(epoch, value) of every scalar, as they lie in the files: TensorBoard hides doubled ones."""
    from tensorboard.backend.event_processing.event_file_loader import (  # pyright: ignore
        RawEventFileLoader,
    )
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore

    found: dict[str, list[tuple[int, float]]] = {}
    times: list[float] = []
    for path in sorted((folder / "tensorboard").iterdir()):
        for raw in RawEventFileLoader(str(path)).Load():
            event: Any = Event.FromString(raw)
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
                times.append(event.wall_time)
    assert times == sorted(times)
    return found


def check(folder: Path, log: list[str]) -> None:
    """Compares the logs with the metrics of the run."""
    history = checkpoint.read_lines(folder / "metrics.jsonl")
    assert history
    if "csv" in log:
        assert [int(row["epoch"]) for row in rows(folder)] == [line["epoch"] for line in history]
        for row, line in zip(rows(folder), history, strict=True):
            assert {name: float(text) for name, text in row.items() if text} == {
                "epoch": line["epoch"],
                **scalars(line),
            }
    if "tensorboard" in log:
        found = points(folder)
        assert "activity/layer_1" in found
        for name, of_epochs in found.items():
            expected = [(line["epoch"], scalars(line)[name]) for line in history]
            assert of_epochs == [(step, pytest.approx(value)) for step, value in expected]


@pytest.mark.parametrize("log", [["csv"], ["tensorboard"], ["tensorboard", "csv"]])
def test_a_stopped_and_resumed_run_has_each_epoch_once(tmp_path, log):
    if "tensorboard" in log:
        pytest.importorskip("tensorboard")

    def stop(epoch: int, batch: int) -> None:
        if (epoch, batch) == (2, 3):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped):
        train(RECIPE, tmp_path, progress=Listener(stop), log=log)
    check(tmp_path, log)
    # As if it had been killed after it told an epoch and before it saved that.
    if "csv" in log:
        with open(tmp_path / "metrics.csv", "a") as file:
            file.write("2" + "," * (len(rows(tmp_path)[0]) - 1) + "\n")
    train(RECIPE, tmp_path, resume=True, progress=Listener(), log=log)
    check(tmp_path, log)
    assert len(checkpoint.read_lines(tmp_path / "metrics.jsonl")) == 3


def test_a_log_asked_for_late_has_the_epochs_from_before(tmp_path):
    train(RECIPE, tmp_path, progress=Listener())
    train(RECIPE, tmp_path, resume=True, progress=Listener(), log=["csv"])
    check(tmp_path, ["csv"])


def test_a_log_changes_nothing_else(tmp_path):
    one = train(RECIPE, tmp_path / "a", progress=Listener())
    two = train(RECIPE, tmp_path / "b", progress=Listener(), log=["csv"])
    assert one["test"]["loss"] == two["test"]["loss"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        path.name for path in sorted((tmp_path / "b").iterdir()) if path.name != "metrics.csv"
    ]


def test_an_unknown_log_is_refused(tmp_path):
    with pytest.raises(ValueError, match="log: expected tensorboard or csv, found 'wandb'"):
        train(RECIPE, tmp_path / "run", log=["wandb"])
    assert not (tmp_path / "run").exists()


def test_without_tensorboard_nothing_is_begun(tmp_path, capsys, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "tensorboard" else there(name, *rest),
    )
    words = ["train", "fashion-mnist", "--out", str(tmp_path / "run"), "--log", "tensorboard"]
    assert main(words) == 1
    assert "pip install 'sparsespike[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
