"""Checkpoints: tensors and plain values in one safetensors file, written whole or not at all.

A file is written beside its target and renamed over it, so a full disk or a killed process leaves the
previous one as it was. The plain values travel as JSON in the file's header, with a SHA-256 of
everything: tensors and the position they belong to cannot come apart, and damage is found. No pickle.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sparsespike.data.whole import write

FORMAT = "1"


class CheckpointError(ValueError):
    """A file of a run that is missing, damaged or of another format."""


def save(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Writes a checkpoint atomically.

    Args:
        path: the file, replaced if it exists.
        tensors: by name, any layout; stored contiguous.
        state: plain values for JSON, finite numbers only.

    Raises:
        OSError: if the file cannot be written; the previous one is intact.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state, allow_nan=False)
    header = {"format": FORMAT, "state": text, "sha256": _digest(stored, text)}
    write(path, safetensors.torch.save(stored, header))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save` wrote.

    Returns:
        (tensors, state).

    Raises:
        CheckpointError: if the file is missing, cut short, altered or of another format.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: the checkpoint is missing")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: the checkpoint is damaged ({error})") from error
    if header.get("format") != FORMAT:
        found = header.get("format", "none")
        raise CheckpointError(f"{path}: expected a checkpoint of format {FORMAT}, found {found}")
    text = header.get("state", "")
    if header.get("sha256") != _digest(tensors, text):
        raise CheckpointError(f"{path}: the checkpoint is damaged (its checksum does not match)")
    return tensors, json.loads(text)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes one JSON object atomically.

    Raises:
        OSError: if the file cannot be written; the previous one is intact.
    """
    write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Writes JSON objects, one a line (JSONL), atomically.

    Raises:
        OSError: if the file cannot be written; the previous one is intact.
    """
    write(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode())


def read_json(path: Path) -> dict[str, Any]:
    """Reads one JSON object.

    Raises:
        CheckpointError: if the file is missing or holds something else.
    """
    return _parsed(path, _text(path))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads JSON objects, one a line.

    Raises:
        CheckpointError: if the file is missing or a line holds something else.
    """
    lines = _text(path).splitlines()
    return [_parsed(f"{path}, line {i}", line) for i, line in enumerate(lines, start=1)]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: the file is missing") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{path}: the file is damaged (it is not text)") from None


def _parsed(where: Path | str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{where}: the file is damaged ({error})") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    """SHA-256 of names, types, shapes and bytes in the order of names, and of the state's text."""
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
