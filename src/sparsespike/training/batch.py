"""The gradient of one batch, which several ranks share, and which each may compute in parts.

The loss of a batch is a mean over its samples, so its gradient is the sum of those of any parts, each
weighted by its share of the samples: what one process computes at once, some parts one after the other
compute in less memory, and some ranks in less time.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sparsespike.spikes.spikes import Spikes
from sparsespike.training.loss import outcome
from sparsespike.training.metrics import added, counted
from sparsespike.training.ranks import held_back
from sparsespike.training.run import Run


def gradient(run: Run, spikes: Spikes, label: Tensor, n_samples: int) -> list[float]:
    """Adds the gradient of a batch to those of the run's parameters, averaged over its ranks.

    What dropout draws is a function of seed, epoch, batch, rank and part alone, so that a resumed run draws
    as one that never stopped.

    Args:
        run: gives the network, where it is, and the numbers of the loss.
        spikes, label: (B, T, N) and (B,), this rank's share of the batch.
        n_samples: of the batch, all shares together.

    Returns:
        What was counted of this rank's share, see `metrics.counted`.

    Raises:
        FloatingPointError: if the loss is not finite, before anything is learned from it.
    """
    recipe, ranks = run.recipe, run.ranks
    n_own = len(label)
    n_parts = max(1, min(recipe.accumulate, n_own))
    total: list[float] = []
    for i in range(n_parts):
        start, end = i * n_own // n_parts, (i + 1) * n_own // n_parts
        part, told = (spikes, label) if n_parts == 1 else (spikes[start:end], label[start:end])
        draw = np.random.SeedSequence([recipe.seed, run.epoch, run.batch, ranks.rank, i])
        torch.manual_seed(int(draw.generate_state(1, np.uint64)[0]))
        # DistributedDataParallel takes the mean over ranks of gradients that are to be added.
        weight = ranks.size * (end - start) / n_samples
        with held_back(run.model, i + 1 < n_parts):
            found = outcome(run.model, part, told, recipe, weight)
            value = found.loss.item()
            if not math.isfinite(value):
                run.check_finite()  # names the weights if it is their fault
                raise run.not_finite("the readout's potentials and the loss")
            found.backward()
        total = added(total, counted(value, found.logit, told, part, found.hidden))
    return total
