"""Synaptic operations of a forward pass, as NeuroBench counts them (Yik et al. 2025, Nat. Commun. 16:1545).

Effective: a spike meets every weight of its unit that is not zero, an accumulation each. Dense: every weight
at every step. Both per sample, over all layers. A test compares with NeuroBench 2.3 on a copy of the network
in plain PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sparsespike.bench import inputs
from sparsespike.connections.linear import Linear
from sparsespike.network import Layer, Network
from sparsespike.reproduce.cell import Cell, Place
from sparsespike.reproduce.trained import Training
from sparsespike.spikes.spikes import Spikes
from sparsespike.training.evaluate import load_run


@dataclass(frozen=True)
class SynapticOperations(Cell):
    """The operations of a trained network on some of its training samples.

    Attributes:
        training: of the network; trained first where it is not.
        batch_size: samples.
    """

    training: Training
    batch_size: int

    @property
    def name(self) -> str:
        """See `Cell`."""
        return f"synaptic operations of: {self.training.name}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        """See `Cell`."""
        return (self.training,)

    @property
    def seconds(self) -> float:
        """See `Cell`."""
        return 10.0

    def compute(self, place: Place) -> dict[str, Any]:
        """See `counted`."""
        self.training.compute(place)
        net, recipe, _ = load_run(self.training.folder(place))
        dataset = inputs.load_or_sample(recipe, place.data)
        spikes, _ = inputs.batch(dataset, recipe, self.batch_size, recipe.seed)
        return counted(net, spikes)


def counted(net: Network, spikes: Spikes) -> dict[str, float]:
    """Operations per sample: "effective", which are all accumulations, and "dense".

    Args:
        net: of fully connected layers.
        spikes: (B, T, N_in).

    Raises:
        ValueError: if a layer is of another kind.
    """
    effective, dense = 0, 0
    n_batch, n_step, _ = spikes.shape
    with torch.no_grad():
        for i, layer in enumerate(net):
            if not isinstance(layer, Layer) or not isinstance(layer.connection, Linear):
                raise ValueError(f"net: expected fully connected layers, found {layer} at {i}")
            weight = layer.connection.weight
            met = (weight != 0).sum(0)  # (N_in,): weights that a spike of each unit meets
            effective += int(met[spikes.unit.long()].sum())
            dense += n_batch * n_step * weight.numel()
            spikes = layer(spikes)
    return {"effective": effective / n_batch, "dense": dense / n_batch}
