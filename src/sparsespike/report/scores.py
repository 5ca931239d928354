"""Every sample's prediction: `score`, the same pass as `evaluate` makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparsespike.data import EventDataset
from sparsespike.metrics import Counting, Metrics
from sparsespike.network import Network
from sparsespike.training.evaluate import evaluate
from sparsespike.training.recipe import Recipe


@dataclass(frozen=True)
class Scores:
    """What a network makes of a set of n samples.

    Attributes:
        total: what `evaluate` returns.
        label: (n,) int64, classes.
        probability: (n, C) float, the softmax of the logits.
        classes: a name for each of the C classes: its number, and its word where the data has one.
        metrics: what the network costs, as counted meanwhile.
    """

    total: dict[str, Any]
    label: Tensor
    probability: Tensor
    classes: tuple[str, ...]
    metrics: Metrics

    @property
    def prediction(self) -> Tensor:
        """(n,) int64, the most probable class of each sample."""
        return self.probability.argmax(1)

    @property
    def sure(self) -> Tensor:
        """(n,) the probability of that class."""
        return self.probability.amax(1)

    def confusion(self) -> Tensor:
        """(C, C) int64: samples by label (row) and prediction (column)."""
        n_class = self.probability.shape[1]
        cell = self.label * n_class + self.prediction
        return torch.bincount(cell, minlength=n_class**2).view(n_class, n_class)

    def mistakes(self) -> Tensor:
        """Samples that are predicted wrongly, the surest first."""
        wrong = (self.prediction != self.label).nonzero()[:, 0]
        return wrong[self.sure[wrong].argsort(descending=True, stable=True)]

    def examples(self) -> list[int]:
        """Up to three samples to look at: one right as surely as most, one just right, the worst "
        "mistake."""
        right = (self.prediction == self.label).nonzero()[:, 0]
        by_sureness = right[self.sure[right].argsort(descending=True, stable=True)]
        chosen = [*by_sureness[len(right) // 2 :][:1], *by_sureness[-1:], *self.mistakes()[:1]]
        return list(dict.fromkeys(int(i) for i in chosen))


def score(net: Network, dataset: EventDataset, recipe: Recipe) -> Scores:
    """Scores every sample; see `evaluate`.

    Raises:
        ValueError: as `evaluate`.
    """
    logits: list[Tensor] = []
    labels: list[Tensor] = []

    def keep(logit: Tensor, label: Tensor) -> None:
        logits.append(logit.cpu())
        labels.append(label.cpu())

    with Counting(net) as counting:
        total = evaluate(net, dataset, recipe, keep)
    logit = torch.cat(logits)
    words = dataset.about.classes
    n_class = logit.shape[1]
    names = [
        f"{i} {words[i]}" if i < len(words) and words[i] != str(i) else f"{i}"
        for i in range(n_class)
    ]
    probability = logit.double().softmax(1)
    return Scores(total, torch.cat(labels), probability, tuple(names), counting.metrics())
