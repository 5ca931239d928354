"""Cells that compare the gradient inside the band with the uncut one, on a trained network."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sparsespike import losses
from sparsespike.backends import use_backend
from sparsespike.bench import inputs
from sparsespike.network import Layer, Network
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.surrogates import Surrogate
from sparsespike.reproduce.cell import Cell, Place
from sparsespike.reproduce.trained import Training
from sparsespike.spikes.spikes import Spikes
from sparsespike.training.evaluate import load_run
from sparsespike.training.recipe import Recipe

UNCUT = float("inf")
LEVELS = 1000  # a map is kept as whole numbers, so many to its largest


@dataclass(frozen=True)
class GradientMaps(Cell):
    """∇W of the first layer and ∇S of its spikes, with and without the band (figure 3B).

    Attributes:
        training: of the network.
        batch_size: samples that the loss is the mean of.
        inputs, units: how many rows and columns of ∇W are kept, spread evenly,
        steps: and how many steps of ∇S, of the first sample.
    """

    training: Training
    batch_size: int
    inputs: int
    units: int
    steps: int

    @property
    def name(self) -> str:
        """See `Cell`."""
        return f"gradients of: {self.training.name}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        """See `Cell`."""
        return (self.training,)

    @property
    def seconds(self) -> float:
        """See `Cell`."""
        return 20.0

    def compute(self, place: Place) -> dict[str, Any]:
        """For "cut" and "uncut" the maps, in whole numbers of `scale`; cosine of ∇W, and shares of zeros."""
        self.training.compute(place)
        net, recipe, spikes, label = _loaded(self.training, place, self.batch_size)
        maps, whole = {}, {}
        for name, b_th in (("cut", recipe.b_th), ("uncut", UNCUT)):
            hidden, grads = _gradients(net, recipe, spikes, label, None, b_th, of_spikes=True)
            weight, spike = grads[0], _over_steps(hidden[0], grads[-1])
            whole[name] = weight
            maps[name] = {
                "weight": _kept(weight[_spread(weight.shape[0], self.units)].t(), self.inputs),
                "spike": _kept(spike[: self.steps], self.steps, self.units),
                "spike_zeros": float((grads[-1] == 0).float().mean())
                if b_th == UNCUT
                else 1 - hidden[0].activity(),
            }
        return {
            **maps,
            "cosine": _cosine(whole["cut"], whole["uncut"]),
            "dataset": self.training.dataset,
        }


@dataclass(frozen=True)
class Alignment(Cell):
    """How well the gradient inside a band points along the uncut one, for every layer.

    Attributes:
        training: of the network.
        batch_size: samples that the loss is the mean of.
        surrogate: as recipes name it.
        b_th: the half-widths.
    """

    training: Training
    batch_size: int
    surrogate: str
    b_th: tuple[float, ...]

    @property
    def name(self) -> str:
        """See `Cell`."""
        return f"alignment, {self.surrogate}, of: {self.training.name}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        """See `Cell`."""
        return (self.training,)

    @property
    def seconds(self) -> float:
        """See `Cell`."""
        return 10.0 + 3.0 * len(self.b_th)

    def compute(self, place: Place) -> dict[str, Any]:
        """Per half-width: cosine of each layer's ∇W with the uncut one, its length as a share, activity."""
        self.training.compute(place)
        net, recipe, spikes, label = _loaded(self.training, place, self.batch_size)
        surrogate = dataclasses.replace(recipe, surrogate=self.surrogate).built_surrogate()
        _, uncut = _gradients(net, recipe, spikes, label, surrogate, UNCUT)
        points = []
        for b_th in self.b_th:
            hidden, cut = _gradients(net, recipe, spikes, label, surrogate, b_th)
            pairs = list(zip(cut, uncut, strict=True))
            points.append(
                {
                    "b_th": b_th,
                    "cosine": [_cosine(a, b) for a, b in pairs],
                    "length": [float(a.norm() / b.norm()) for a, b in pairs],
                    "activity": [layer.activity() for layer in hidden],
                }
            )
        return {"points": points}


def _loaded(
    training: Training, place: Place, batch_size: int
) -> tuple[Network, Recipe, Spikes, Tensor]:
    """The trained network and one batch of its training samples."""
    net, recipe, _ = load_run(training.folder(place))
    dataset = inputs.load_or_sample(recipe, place.data)
    return net, recipe, *inputs.batch(dataset, recipe, batch_size, recipe.seed)


def _gradients(
    net: Network,
    recipe: Recipe,
    spikes: Spikes,
    label: Tensor,
    surrogate: Surrogate | None,
    b_th: float,
    of_spikes: bool = False,
) -> tuple[list[Spikes], list[Tensor]]:
    """Hidden spikes; and gradients of the cross-entropy by every weight, then by the first layer's spikes."""
    net = copy.deepcopy(net)
    for layer in net:
        if isinstance(layer, Layer) and isinstance(layer.neuron, LIF):
            changed = {} if surrogate is None else {"surrogate": surrogate}
            layer.neuron = layer.neuron.changed(b_th=b_th, **changed)
    with use_backend("cpu"):
        potential, hidden = net(spikes, return_spikes=True)
        logit = losses.logits(potential, recipe.reduce)
        loss = functional.cross_entropy(logit, label)
        wanted = [*net.parameters(), *([hidden[0].value] if of_spikes else [])]
        return hidden, list(torch.autograd.grad(loss, wanted))


def _over_steps(spikes: Spikes, grad_value: Tensor) -> Tensor:
    """(T, N): the gradient of the first sample's entries, zero where none is active."""
    _, n_step, n_unit = spikes.shape
    entry = spikes.storage.active_entry(spikes.shape)
    first = entry < n_step * n_unit
    return (
        grad_value.new_zeros(n_step * n_unit)
        .index_copy(0, entry[first], grad_value[first])
        .view(n_step, n_unit)
    )


def _spread(n: int, kept: int) -> Tensor:
    """`kept` of n indices, evenly."""
    return torch.arange(min(n, kept)) * n // min(n, kept)


def _kept(values: Tensor, rows: int, columns: int | None = None) -> dict[str, Any]:
    """A map of at most so many rows and columns, in whole numbers of a scale."""
    values = values[_spread(values.shape[0], rows)]
    if columns is not None:
        values = values[:, _spread(values.shape[1], columns)]
    scale = float(values.abs().max()) / LEVELS or 1.0
    # What is not zero stays so: the figure tells apart zero from small.
    whole = (values / scale).round()
    whole = torch.where((whole == 0) & (values != 0), values.sign(), whole)
    return {"scale": scale, "values": whole.int().tolist()}


def _cosine(left: Tensor, right: Tensor) -> float:
    return float(functional.cosine_similarity(left.flatten(), right.flatten(), dim=0))
