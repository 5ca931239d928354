"""Metrics: sums over batches, and the loss, accuracy, rate and activity they give."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from sparsespike.spikes.spikes import Spikes


@dataclass
class Totals:
    """Sums over the batches so far; plain numbers, so that they pass through JSON bit for bit.

    Attributes:
        n_batches: batches summed.
        n_samples: samples in them.
        n_correct: samples whose largest logit was the label's.
        n_clamped: duplicate input events clamped to one spike.
        n_late: input events at step T or later, dropped.
        loss: loss times samples.
        seconds: time spent.
        n_entries: per spiking layer, (sample, step, unit) entries.
        n_spikes: per spiking layer, spikes.
        n_active: per spiking layer, active entries (eq. 7).
        n_silent: per spiking layer, batches without any active entry.
    """

    n_batches: int = 0
    n_samples: int = 0
    n_correct: int = 0
    n_clamped: int = 0
    n_late: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    n_entries: list[int] = field(default_factory=list)
    n_spikes: list[int] = field(default_factory=list)
    n_active: list[int] = field(default_factory=list)
    n_silent: list[int] = field(default_factory=list)

    def add(self, numbers: Sequence[float]) -> None:
        """Adds one batch, given what was `counted` of it."""
        n_samples, n_correct, n_clamped, n_late, loss, *layers = numbers
        self.n_batches += 1
        self.n_samples += int(n_samples)
        self.n_correct += int(n_correct)
        self.n_clamped += int(n_clamped)
        self.n_late += int(n_late)
        self.loss += loss
        for counts in (self.n_entries, self.n_spikes, self.n_active, self.n_silent):
            counts.extend([0] * (len(layers) // 3 - len(counts)))
        for i, (n_entries, n_spikes, n_active) in enumerate(layers_of(numbers)):
            self.n_entries[i] += n_entries
            self.n_spikes[i] += n_spikes
            self.n_active[i] += n_active
            self.n_silent[i] += n_active == 0

    def mean_loss(self) -> float:
        """Loss per sample."""
        return self.loss / max(1, self.n_samples)

    def accuracy(self) -> float:
        """Share of samples classified correctly, in [0, 1]."""
        return self.n_correct / max(1, self.n_samples)

    def samples_per_second(self) -> float:
        """Samples per second."""
        return self.n_samples / max(1e-9, self.seconds)

    def layers(self) -> list[dict[str, Any]]:
        """Per spiking layer: rate and activity as shares of the entries, and silent batches."""
        return [
            {
                "rate": n_spikes / n_entries,
                "activity": n_active / n_entries,
                "silent_batches": n_silent,
            }
            for n_entries, n_spikes, n_active, n_silent in zip(
                self.n_entries, self.n_spikes, self.n_active, self.n_silent, strict=True
            )
        ]


def counted(
    loss: float, logit: Tensor, label: Tensor, spikes: Spikes, hidden: Sequence[Any]
) -> list[float]:
    """The numbers of a batch; those of its parts add up to those of the whole.

    Args:
        loss: its mean loss.
        logit: (B, C).
        label: (B,), int64.
        spikes: (B, T, N), the input.
        hidden: output of each spiking layer, in order, or what was counted of it.

    Returns:
        samples, correct ones, clamped and late events, loss times samples; then per layer entries, spikes
        and active entries.
    """
    n_correct = int((logit.argmax(1) == label).sum())
    numbers = [len(label), n_correct, spikes.n_clamped, spikes.n_late, loss * len(label)]
    for layer in hidden:
        numbers += [math.prod(layer.shape), layer.n_spikes, layer.n_active]
    return numbers


def added(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """The numbers of two parts together; of nothing and something they are the something's."""
    return [a + b for a, b in zip(first or [0.0] * len(second), second, strict=True)]


def layers_of(numbers: Sequence[float]) -> list[tuple[int, int, int]]:
    """(entries, spikes, active entries) of each layer, from what was `counted`."""
    layers = [int(number) for number in numbers[5:]]
    return list(zip(layers[::3], layers[1::3], layers[2::3], strict=True))


def peak_memory() -> float | None:
    """Largest resident memory of this process so far, MiB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere
