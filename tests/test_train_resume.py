"""Resuming: a run that was stopped anywhere ends with the bits of one that was not."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsespike import data
from sparsespike.data import whole as writing
from sparsespike.training import checkpoint
from sparsespike.training import train as training_module
from sparsespike.training.checkpoint import CheckpointError
from sparsespike.training.evaluate import load_run
from sparsespike.training.recipe import Recipe
from sparsespike.training.run import Run
from sparsespike.training.train import Stopped, train
from training import QUICK, Listener, few

# Everything that could depend on where a run was stopped.
RECIPE = dataclasses.replace(
    QUICK,
    hidden=(),
    layers=("Linear(784, 20)", "Dropout(0.1)", "Linear(20, 15)"),
    accumulate=2,
    ema=0.9,
    schedule="cosine",
    augment=("EventDrop(0.1)", "TimeJitter(2e-3)"),
    weight_decay=0.1,
    clip_norm=0.02,
    label_smoothing=0.1,
)
TIMES = ("seconds", "samples_per_second", "peak_memory_mib")


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(data, "load", few)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a run that was not stopped."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", few)
        train(RECIPE, folder, progress=Listener())
    return folder


def stopping_at(epoch: int, batch: int, signum: int = signal.SIGINT) -> Listener:
    def stop(at_epoch: int, at_batch: int) -> None:
        if (at_epoch, at_batch) == (epoch, batch):
            os.kill(os.getpid(), signum)

    return Listener(stop)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def assert_same_run(a: Path, b: Path) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        (tensors, state), (others, other_state) = (checkpoint.load(x / name) for x in (a, b))
        assert list(tensors) == list(others)
        assert len(tensors) == (15 if name.startswith("last") else 3)
        assert all(torch.equal(tensors[key], others[key]) for key in tensors)
        assert without_times(state) == without_times(other_state)
    lines, others = (checkpoint.read_lines(x / "metrics.jsonl") for x in (a, b))
    assert without_times(lines) == without_times(others)
    results = [checkpoint.read_json(x / "result.json") for x in (a, b)]
    assert without_times(results[0]) == without_times(results[1])


@pytest.mark.parametrize(("epoch", "batch"), [(1, 1), (1, 3), (1, 5), (2, 2), (2, 5)])
def test_a_stopped_run_resumes_to_the_same_bits(whole, tmp_path, epoch, batch):
    with pytest.raises(Stopped, match="stopped; --resume goes on with epoch") as caught:
        train(RECIPE, tmp_path, progress=stopping_at(epoch, batch))
    assert caught.value.signum == signal.SIGINT
    rest = Listener()
    train(RECIPE, tmp_path, resume=True, progress=rest)
    assert rest.n_batches == 10 - (epoch - 1) * 5 - batch
    assert rest.text.startswith(f"resuming {tmp_path} at epoch {epoch}, batch {batch + 1}\n")
    assert_same_run(whole, tmp_path)


def test_a_run_stopped_at_every_batch_ends_with_the_same_bits(whole, tmp_path):
    for epoch, batch in [(e, b) for e in (1, 2) for b in range(1, 6)]:
        with pytest.raises(Stopped):
            train(RECIPE, tmp_path, resume=True, progress=stopping_at(epoch, batch))
    train(RECIPE, tmp_path, resume=True, progress=Listener())
    assert_same_run(whole, tmp_path)


@pytest.mark.parametrize("what", ["save", "save_best"])
def test_a_run_killed_between_its_files_resumes_to_the_same_bits(
    whole, tmp_path, monkeypatch, what
):
    original, n_calls = getattr(Run, what), []

    def killed(run: Run) -> None:
        n_calls.append(1)
        if run.epoch == 1:
            raise SystemExit("killed")
        original(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, what, killed)
        with pytest.raises(SystemExit):
            train(RECIPE, tmp_path, progress=Listener())
    assert len(checkpoint.read_lines(tmp_path / "metrics.jsonl")) == 1
    train(RECIPE, tmp_path, resume=True, progress=Listener())
    assert_same_run(whole, tmp_path)


def test_a_finished_run_is_not_run_again(whole):
    before = {path: path.read_bytes() for path in whole.iterdir()}
    listener = Listener()
    result = train(RECIPE, whole, resume=True, progress=listener)
    assert result == checkpoint.read_json(whole / "result.json")
    assert listener.n_batches == 0
    assert listener.text == f"{whole}: this run is finished\n"
    assert before == {path: path.read_bytes() for path in whole.iterdir()}


def test_resume_without_a_run_starts_one(whole, tmp_path):
    train(RECIPE, tmp_path / "new", resume=True, progress=Listener())
    assert_same_run(whole, tmp_path / "new")


def test_a_constant_run_can_be_made_longer(tmp_path):
    recipe = dataclasses.replace(RECIPE, schedule="constant")
    longer = dataclasses.replace(recipe, epochs=3)
    train(longer, tmp_path / "a", progress=Listener())
    train(recipe, tmp_path / "b", progress=Listener())
    with pytest.raises(Stopped):
        train(longer, tmp_path / "b", resume=True, progress=stopping_at(3, 2))
    train(longer, tmp_path / "b", resume=True, progress=Listener())
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_another_recipe_is_refused_by_name(whole):
    for change in ({"lr": 1e-4}, {"accumulate": 1}, {"epochs": 3}, {"seed": 1}):
        with pytest.raises(ValueError, match=f"{next(iter(change))}: the run in .* began with"):
            train(dataclasses.replace(RECIPE, **change), whole, resume=True, progress=Listener())


def test_sigterm_saves_as_well(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as caught:
        train(RECIPE, tmp_path, progress=stopping_at(1, 2, signal.SIGTERM))
    assert caught.value.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    assert checkpoint.load(tmp_path / "last.safetensors")[1]["batch"] == 2


def test_a_second_signal_does_not_wait(tmp_path):
    def twice(epoch: int, batch: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        train(RECIPE, tmp_path, progress=Listener(twice))
    assert type(caught.value) is KeyboardInterrupt
    assert checkpoint.load(tmp_path / "last.safetensors")[1]["batch"] == 0


# ---- damaged files -----------------------------------------------------------------------------


@pytest.fixture
def stopped(tmp_path) -> Path:
    """The folder of a run stopped in its second epoch."""
    with pytest.raises(Stopped):
        train(RECIPE, tmp_path, progress=stopping_at(2, 1))
    return tmp_path


def assert_refused(folder: Path, message: str, recipe: Recipe = RECIPE) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CheckpointError, match=message) as caught:
        train(recipe, folder, resume=True, progress=Listener())
    assert "\n" not in str(caught.value)
    assert before == {path: path.read_bytes() for path in folder.iterdir()}


def test_damaged_files_are_refused_by_name(stopped):
    damages = [
        ("last.safetensors", lambda whole: whole[: len(whole) // 2], "checkpoint is damaged"),
        ("last.safetensors", lambda whole: whole[:-9] + b"?" + whole[-8:], "checksum does not"),
        ("metrics.jsonl", lambda whole: whole[:-30], "line 1: the file is damaged"),
        ("metrics.jsonl", lambda whole: b"", "expected 1 epochs, found 0"),
        ("run.json", lambda whole: whole[:-30], "the file is damaged"),
        ("run.json", lambda whole: whole.replace(b'"lr"', b'"lrr"'), "unknown key 'lrr'; did you"),
        (
            "run.json",
            lambda whole: whole.replace(b": 784,", b': "x",'),
            "n_in: expected int, found str",
        ),
    ]
    for name, damage, message in damages:
        whole = (stopped / name).read_bytes()
        assert damage(whole) != whole
        (stopped / name).write_bytes(damage(whole))
        assert_refused(stopped, rf"{name}.*{message}")
        (stopped / name).write_bytes(whole)


@pytest.mark.parametrize("name", ["last.safetensors", "metrics.jsonl"])
def test_missing_files_are_refused_by_name(stopped, name):
    (stopped / name).unlink()
    assert_refused(stopped, rf"{name}: the .* is missing")


def test_a_run_without_its_description_is_refused(stopped):
    (stopped / "run.json").unlink()
    assert_refused(stopped, r"holds no run: there is no run\.json in it")


def test_weights_that_are_not_finite_or_do_not_fit_are_refused(stopped):
    path = stopped / "last.safetensors"
    tensors, state = checkpoint.load(path)
    name = "2.connection.weight"
    for weight, message in (
        (torch.full((15, 20), torch.nan), "300 of 300 are not finite"),
        (torch.zeros(15, 21), r"expected \(15, 20\) torch.float32, found \(15, 21\)"),
        (torch.zeros(15, 20, dtype=torch.float64), "found .* torch.float64"),
    ):
        both = {name: weight, f"average.{name}": weight.clone()}
        checkpoint.save(path, {**tensors, **both}, state)
        assert_refused(stopped, f"{name}: .*{message}")
        with pytest.raises(CheckpointError, match=message):
            load_run(stopped, "last")


def test_other_data_than_the_run_began_with_is_refused(stopped, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *args: few(*args).subset(range(100)))
    with pytest.raises(ValueError, match="the run began with n_train = 289, found 89"):
        train(RECIPE, stopped, resume=True, progress=Listener())


def test_a_full_disk_leaves_a_state_to_resume_from(whole, stopped, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {path: path.read_bytes() for path in stopped.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(writing.os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device; the previous file is intact"):
            train(RECIPE, stopped, resume=True, progress=Listener())
    assert before == {path: path.read_bytes() for path in stopped.iterdir()}
    train(RECIPE, stopped, resume=True, progress=Listener())
    assert_same_run(whole, stopped)


def test_another_number_of_threads_is_told(stopped, monkeypatch):
    monkeypatch.setattr(training_module.torch, "get_num_threads", lambda: 99)
    listener = stopping_at(2, 2)
    with pytest.raises(Stopped):
        train(RECIPE, stopped, resume=True, progress=listener)
    assert "threads and goes on with 99: sums may differ in the last bit" in listener.text
