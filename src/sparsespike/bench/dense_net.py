"""A whole network by a dense method: what `Network` computes, on dense spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsespike import losses
from sparsespike.bench.baselines import dense_activity, dense_readout
from sparsespike.bench.dense import Synapses, in_shape, pooled
from sparsespike.bench.peers import DenseLayer
from sparsespike.connections.conv import Conv2d
from sparsespike.connections.flatten import Flatten
from sparsespike.connections.linear import Linear
from sparsespike.connections.pool import MaxPool2d
from sparsespike.network import Layer, Network
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.readout import Readout
from sparsespike.spikes.spikes import Spikes
from sparsespike.training.recipe import Recipe


class Stage(NamedTuple):
    """One module of a network.

    Attributes:
        module: a layer, or what lies between layers.
        synapses: of a layer, else None.
    """

    module: nn.Module
    synapses: Synapses | None


def layers(net: Network) -> list[Layer]:
    """The layers of a network of such modules as the dense methods compute.

    Raises:
        ValueError: naming the first module that is something else.
    """
    found: list[Layer] = []
    for i, module in enumerate(net):
        part = module.connection if isinstance(module, Layer) else module
        known = (Linear, Conv2d) if isinstance(module, Layer) else (MaxPool2d, Flatten)
        name = type(part).__name__
        if isinstance(module, Layer) and isinstance(part, known) and part.bias is not None:
            known, name = (), f"{name} with a bias"
        if not isinstance(part, known):
            raise ValueError(
                "network: expected layers of Linear and Conv2d without bias, MaxPool2d and Flatten, "
                f"which the dense methods compute, found {name} in place {i + 1}"
            )
        if isinstance(module, Layer):
            found.append(module)
    return found


def stages(net: Network, unit_shape: Sequence[int]) -> list[Stage]:
    """The modules of a network in order, for input of these units.

    Raises:
        ValueError: if the dense methods do not compute one of them, or it does not take what comes.
    """
    layers(net)
    signal = _silence(unit_shape)
    found = []
    for module in net:
        if isinstance(module, Layer):
            current = module.connection(signal)
            found.append(Stage(module, current.terms[0].connection))
            signal = _silence(current.unit_shape)
        else:
            found.append(Stage(module, None))
            signal = module(signal)
    return found


def dense_shape(chain: Sequence[Stage], unit_shape: Sequence[int]) -> tuple[int, ...]:
    """How a network's dense input is laid out: as its first module takes it, flat or as images."""
    first = chain[0].synapses
    return tuple(unit_shape) if first is None else in_shape(first)


def dense_forward(
    layer: DenseLayer,
    spikes: Tensor,
    chain: Sequence[Stage],
    weights: Sequence[Tensor],
    recipe: Recipe,
) -> tuple[Tensor, Tensor]:
    """A network by a dense method.

    Args:
        layer: of `baselines` or a library, computes the spiking layers.
        spikes: (B, T, *shape), see `dense_shape`.
        chain: the network, which ends in a `Readout`.
        weights: of every layer, in order.
        recipe: gives `reduce` and the weights of the penalties.

    Returns:
        (logits (B, C), the sum of the layers' activity penalties).
    """
    penalty = spikes.new_zeros(())
    left = iter(weights)
    for module, synapses in chain[:-1]:
        if isinstance(module, MaxPool2d):
            spikes = pooled(spikes, module)
        elif synapses is not None:
            neuron = module.neuron
            assert isinstance(neuron, LIF)
            spikes = layer(spikes, next(left), neuron, synapses)
            penalty = penalty + dense_activity(spikes, **penalty_weights(recipe))
    readout = chain[-1].module.neuron
    assert isinstance(readout, Readout)
    return losses.logits(dense_readout(spikes, next(left), readout), recipe.reduce), penalty


def penalty_weights(recipe: Recipe) -> dict[str, float]:
    """The arguments of `losses.activity` that a recipe sets."""
    return {
        "upper": recipe.activity_upper,
        "upper_weight": recipe.activity_upper_weight,
        "lower_weight": recipe.activity_lower_weight,
    }


def _silence(unit_shape: Sequence[int]) -> Spikes:
    """No spikes, of units laid out so: what modules read their sizes off."""
    return Spikes.from_dense(torch.zeros(1, 1, *unit_shape))
