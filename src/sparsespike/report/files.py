"""What the files of a run say, checked: `read`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsespike.training import checkpoint
from sparsespike.training import run as runs
from sparsespike.training.checkpoint import CheckpointError
from sparsespike.training.evaluate import read_run
from sparsespike.training.recipe import Recipe

# What is compared of a network's operations.
METRICS = (
    *("effective_acs", "effective_macs", "dense", "activation_sparsity", "connection_sparsity"),
    *("footprint", "energy"),
)


@dataclass(frozen=True)
class Files:
    """A run as its folder has it; see `training.run` for the files.

    Attributes:
        folder: where they are.
        recipe: its numbers.
        about: all of run.json.
        history: the metrics of each completed epoch; [] before the first.
        result: what the finished run reached; None where it was stopped, or goes on for more epochs.
    """

    folder: Path
    recipe: Recipe
    about: dict[str, Any]
    history: list[dict[str, Any]]
    result: dict[str, Any] | None

    @property
    def n_layers(self) -> int:
        """Spiking layers in the history; 0 without any."""
        return len(self.history[0]["layers"]) if self.history else 0

    @property
    def network(self) -> str:
        """The network in a line: 784-200-200-10, or its layers."""
        recipe, about = self.recipe, self.about
        if recipe.hidden:
            return "-".join(map(str, (about["n_in"], *recipe.hidden, about["n_class"])))
        return ", ".join((*recipe.layers, f"{about['n_class']} classes"))

    @property
    def progress(self) -> str:
        """How far it came: 9 epochs, or 3 of 9 epochs (stopped)."""
        n, of = len(self.history), self.recipe.epochs
        return f"{n} epochs" if self.result else f"{n} of {of} epochs (stopped)"


def read(folder: Path) -> Files:
    """Reads the files of a run.

    Raises:
        CheckpointError: if one is missing or damaged, naming it and the line.
    """
    recipe, about = read_run(folder)
    path = folder / runs.METRICS
    history = checkpoint.read_lines(path) if path.exists() else []
    for i, line in enumerate(history, start=1):
        _check(f"{path}, line {i}", line, i, len(history[0].get("layers") or ()))
    path = folder / runs.RESULT
    result = checkpoint.read_json(path) if path.exists() else None
    if result is not None:
        test = result.get("test")
        if not isinstance(test, dict) or not all(
            _is_share(test.get(name)) for name in ("accuracy",)
        ):
            raise CheckpointError(f"{path}: test: expected a score, found {test!r}")
        found = result.get("metrics")  # which runs of earlier versions lack
        if found is not None and not _is_metrics(found):
            raise CheckpointError(
                f"{path}: metrics: expected {', '.join(METRICS)}, found {found!r}"
            )
        if result.get("epochs") != recipe.epochs:
            result = None  # of fewer epochs, from before the run was made longer
    return Files(folder, recipe, about, history, result)


def layer_names(n: int) -> list[str]:
    """How people count layers, from the input up."""
    return [f"layer {i}" for i in range(1, n + 1)]


def _check(where: str, line: dict[str, Any], epoch: int, n_layers: int) -> None:
    """Raises a CheckpointError unless the line is of this epoch and has what a report draws."""
    if line.get("epoch") != epoch:
        raise CheckpointError(f"{where}: epoch: expected {epoch}, found {line.get('epoch')!r}")
    for name in ("loss", "seconds"):
        if not _is_number(line.get(name)):
            raise CheckpointError(f"{where}: {name}: expected a number, found {line.get(name)!r}")
    for name in ("train_accuracy", "validation_accuracy"):
        found = line.get(name, "none")
        missing = name == "validation_accuracy" and found is None
        if not missing and not _is_share(found):
            raise CheckpointError(f"{where}: {name}: expected a share in [0, 1], found {found!r}")
    layers = line.get("layers")
    if not isinstance(layers, list) or len(layers) != n_layers or not all(map(_is_layer, layers)):
        raise CheckpointError(
            f"{where}: layers: expected rate and activity of {n_layers}, found {layers!r}"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _is_metrics(value: object) -> bool:
    return isinstance(value, dict) and all(_is_number(value.get(name)) for name in METRICS)


def _is_layer(value: object) -> bool:
    return (
        isinstance(value, dict)
        and _is_share(value.get("rate"))
        and _is_share(value.get("activity"))
    )
