"""Synaptic operations of a forward pass, as NeuroBench counts them: `ss.metrics`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sparsespike import metrics
from sparsespike.bench import inputs
from sparsespike.reproduce.cell import Cell, Place
from sparsespike.reproduce.trained import Training
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
        """Operations per sample: "effective", which are all accumulations, and "dense"."""
        self.training.compute(place)
        net, recipe, _ = load_run(self.training.folder(place))
        dataset = inputs.load_or_sample(recipe, place.data)
        spikes, _ = inputs.batch(dataset, recipe, self.batch_size, recipe.seed)
        found = metrics.measure(net, spikes)
        return {"effective": found.effective_acs, "dense": found.dense}
