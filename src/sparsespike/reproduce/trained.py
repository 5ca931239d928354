"""Cells that train, and those that look at a trained network."""

from __future__ import annotations

import dataclasses
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from sparsespike.data.convert import alone
from sparsespike.reproduce.cell import Cell, Place
from sparsespike.training import checkpoint
from sparsespike.training import recipe as recipes
from sparsespike.training import run as runs
from sparsespike.training.progress import Progress
from sparsespike.training.recipe import Recipe
from sparsespike.training.train import train


@dataclass(frozen=True)
class Training(Cell):
    """A training run of a recipe of the paper.

    Attributes:
        recipe: a shipped one.
        dataset: that takes the place of the recipe's.
        seed: of the run.
        epochs: how many.
        b_th: half-width of the band; inf: ordinary surrogate gradients, which the paper calls original.
        hidden: sizes of the hidden layers; () for the recipe's.
        batch_size: 0 for the recipe's.
        surrogate: "" for the recipe's.
        epoch_s: how long an epoch takes a core, roughly.
    """

    recipe: str
    dataset: str
    seed: int
    epochs: int
    b_th: float = 0.2
    hidden: tuple[int, ...] = ()
    batch_size: int = 0
    surrogate: str = ""
    epoch_s: float = dataclasses.field(default=3.0, compare=False)

    @property
    def name(self) -> str:
        """See `Cell`."""
        band = "" if self.b_th == 0.2 else f", b_th {self.b_th:g}"
        sizes = f", {'-'.join(map(str, self.hidden))}" if self.hidden else ""
        slope = f", {self.surrogate}" if self.surrogate else ""
        batch = f", B = {self.batch_size}" if self.batch_size else ""
        changed = f"{sizes}{batch}{slope}{band}"
        return f"train {self.recipe} on {self.dataset}{changed}, {self.epochs} epochs, seed {self.seed}"

    @property
    def seconds(self) -> float:
        """See `Cell`."""
        return self.epochs * self.epoch_s

    def settings(self) -> Recipe:
        """The recipe with what this run changes."""
        changed: dict[str, Any] = {
            "dataset": self.dataset,
            "seed": self.seed,
            "epochs": self.epochs,
            "b_th": self.b_th,
        }
        if self.hidden:
            changed["hidden"] = self.hidden
        if self.batch_size:
            changed["batch_size"] = self.batch_size
        if self.surrogate:
            changed["surrogate"] = self.surrogate
        return dataclasses.replace(recipes.load(self.recipe), **changed)

    def folder(self, place: Place) -> Path:
        """Where the run is."""
        return place.runs / re.sub(r"[^\w.-]+", "-", self.name)

    def compute(self, place: Place) -> dict[str, Any]:
        """Its result, and of every epoch loss, accuracy, activity and rate per layer, and seconds."""
        folder, recipe = self.folder(place), self.settings()
        if place.device == "cuda":
            recipe = dataclasses.replace(recipe, backend="gpu")
        silent = Progress(Console(file=io.StringIO()))
        with alone(folder):  # several cells may need this run
            result = train(recipe, folder, root=place.data, resume=True, progress=silent)
        lines = checkpoint.read_lines(folder / runs.METRICS)
        epochs = [
            {
                "loss": line["loss"],
                "train_accuracy": line["train_accuracy"],
                "activity": [layer["activity"] for layer in line["layers"]],
                "rate": [layer["rate"] for layer in line["layers"]],
                "seconds": line["seconds"],
            }
            for line in lines
        ]
        return {"result": result, "epochs": epochs}
