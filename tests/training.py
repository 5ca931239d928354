"""What the tests of training share: a dataset of a few hundred samples, a quick recipe, a listener."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from functools import lru_cache

from rich.console import Console

from sparsespike import data
from sparsespike.training.metrics import Totals
from sparsespike.training.progress import Progress
from sparsespike.training.recipe import Recipe

# Four full batches and a partial one an epoch.
QUICK = Recipe(
    dataset="fashion-mnist-sample",
    hidden=(20, 15),
    steps=40,
    batch_size=64,
    epochs=2,
    lr=5e-3,
    validation=0.1,
)
# Convolution, pooling and dropout; one epoch and nothing held out.
CONV = dataclasses.replace(
    QUICK,
    hidden=(),
    layers=("Conv2d(1, 3, 5, padding=2)", "MaxPool2d(2)", "Dropout(0.1)", "Linear(588, 15)"),
    epochs=1,
    validation=0.0,
    batch_size=256,
)
SIZES = {"train": 320, "test": 150}


LOAD = data.load


@lru_cache
def few(name: str, split: str = "train", root: object = None) -> data.EventDataset:
    """The first samples of the embedded dataset, in the place of `data.load`."""
    return LOAD("fashion-mnist-sample", split).subset(range(SIZES[split]))


class Listener(Progress):
    """Keeps what is shown as text, and calls back after every batch."""

    def __init__(self, after_batch: Callable[[int, int], None] | None = None) -> None:
        super().__init__(Console(file=io.StringIO(), width=100))
        self.after_batch = after_batch
        self.n_batches = 0

    def batch(self, totals: Totals, started: float, position: tuple[int, int, int, int]) -> None:
        self.n_batches += 1
        super().batch(totals, started, position)
        if self.after_batch is not None:
            self.after_batch(position[0], position[2])

    @property
    def text(self) -> str:
        """All lines so far."""
        assert isinstance(self.console.file, io.StringIO)
        return self.console.file.getvalue()
