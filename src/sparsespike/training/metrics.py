"""Metrics: sums over batches, and the loss, accuracy, rate and activity they give."""

from __future__ import annotations

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

    def add(
        self, loss: float, logit: Tensor, label: Tensor, spikes: Spikes, hidden: Sequence[Any]
    ) -> None:
        """Adds one batch.

        Args:
            loss: its mean loss.
            logit: (B, C).
            label: (B,), int64.
            spikes: (B, T, N), the input.
            hidden: output of each spiking layer, in order, or what was counted of it.
        """
        self.n_batches += 1
        self.n_samples += len(label)
        self.n_correct += int((logit.argmax(1) == label).sum())
        self.n_clamped += spikes.n_clamped
        self.n_late += spikes.n_late
        self.loss += loss * len(label)
        for counts in (self.n_entries, self.n_spikes, self.n_active, self.n_silent):
            counts.extend([0] * (len(hidden) - len(counts)))
        for i, layer in enumerate(hidden):
            n_batch, n_step, n_unit = layer.shape
            self.n_entries[i] += n_batch * n_step * n_unit
            self.n_spikes[i] += layer.n_spikes
            self.n_active[i] += layer.n_active
            self.n_silent[i] += layer.n_active == 0

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


def peak_memory() -> float | None:
    """Largest resident memory of this process so far, MiB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere
