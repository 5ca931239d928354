"""Checkpoints: what is written comes back bit for bit, or not at all; damage is always found."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path

import pytest
import torch

from sparsespike.data import whole
from sparsespike.training import checkpoint
from sparsespike.training.checkpoint import CheckpointError

TENSORS = {
    "weight": torch.arange(12, dtype=torch.float32).reshape(4, 3).t(),  # stored by columns
    "double": torch.tensor([1 / 3, float("inf"), float("nan")], dtype=torch.float64),
    "step": torch.tensor(7.0),
    "empty": torch.empty(0, 5),
}
STATE = {"epoch": 3, "loss": 1 / 3, "name": "ε", "none": None}


@pytest.fixture
def path(tmp_path) -> Path:
    checkpoint.save(tmp_path / "a.safetensors", TENSORS, STATE)
    return tmp_path / "a.safetensors"


def test_what_is_saved_comes_back(path):
    tensors, state = checkpoint.load(path)
    assert state == STATE
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_a_file_cut_anywhere_is_refused(path):
    whole = path.read_bytes()
    for length in [0, 1, 7, 8, 9, *range(20, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"a\.safetensors: the checkpoint is damaged"):
            checkpoint.load(path)


def test_a_flipped_byte_anywhere_is_refused(path):
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x10]) + whole[i + 1 :])
        with pytest.raises(CheckpointError, match=r"a\.safetensors: "):
            checkpoint.load(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"b\.safetensors: the checkpoint is missing"):
        checkpoint.load(tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match=r"b\.json: the file is missing"):
        checkpoint.read_json(tmp_path / "b.json")


def test_another_format_is_told(path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", "2")
    with pytest.raises(CheckpointError, match="expected a checkpoint of format 2, found 1"):
        checkpoint.load(path)


def test_a_state_that_is_not_finite_is_not_written(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint.save(path, TENSORS, {"loss": float("nan")})
    assert path.read_bytes() == before


class FullDisk(io.FileIO):
    """A file on a disk that is full after ten bytes."""

    def write(self, data) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().write(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("there_before", [True, False])
def test_a_full_disk_leaves_the_file_that_was_there(path, monkeypatch, there_before):
    before = path.read_bytes()
    if not there_before:
        path.unlink()
    monkeypatch.setattr(whole, "open", FullDisk, raising=False)
    with pytest.raises(OSError, match=r"cannot save .*a\.safetensors: No space left") as caught:
        checkpoint.save(path, TENSORS, {"epoch": 4})
    assert ("the previous file is intact" in str(caught.value)) == there_before
    assert [file.name for file in path.parent.iterdir()] == [path.name] * there_before
    if there_before:
        assert path.read_bytes() == before


def test_a_failing_rename_leaves_the_file_that_was_there(path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    before = path.read_bytes()
    monkeypatch.setattr(whole.os, "replace", refuse)
    with pytest.raises(OSError, match="Permission denied; the previous file is intact"):
        checkpoint.save(path, TENSORS, {"epoch": 4})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_lines_come_back_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"epoch": 1, "loss": 1 / 3}, {"epoch": 2, "loss": 1e-300}]
    checkpoint.write_lines(path, lines)
    assert checkpoint.read_lines(path) == lines
    path.write_text(path.read_text()[:-9])
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 2: the file is damaged"):
        checkpoint.read_lines(path)
    path.write_text("[1]\n")
    with pytest.raises(CheckpointError, match="line 1: expected a JSON object, found list"):
        checkpoint.read_lines(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="it is not text"):
        checkpoint.read_lines(path)


def test_json_comes_back(tmp_path):
    checkpoint.write_json(tmp_path / "run.json", STATE)
    assert checkpoint.read_json(tmp_path / "run.json") == STATE
    assert json.loads((tmp_path / "run.json").read_text()) == STATE
