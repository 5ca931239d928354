"""The network that a recipe describes: `hidden` sizes of fully connected layers, or `layers` in a row.

A text of `layers` is the call that builds the module in Python, `Conv2d(1, 32, 5, padding=2)`: what one knows
from there holds here, and nothing of it is run but the module. Every connection drives the recipe's `LIF`;
a fully connected readout, one neuron per class, comes last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING

import torch
from torch import nn

import sparsespike
from sparsespike.connections.connection import Connection
from sparsespike.connections.linear import Linear
from sparsespike.network import Layer, Network
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.readout import Readout
from sparsespike.spikes.spikes import Spikes
from sparsespike.training.values import LAYERS, call

if TYPE_CHECKING:
    from sparsespike.training.recipe import Recipe


def network(recipe: Recipe, unit_shape: Sequence[int], n_class: int, lif: LIF) -> Network:
    """The network, with the initial weights of the recipe's seed.

    Args:
        recipe: what it is of.
        unit_shape: of the input.
        n_class: readout neurons.
        lif: of the hidden layers.

    Returns:
        hidden layers of `LIF` and what lies between them, then a `Readout`, float32.

    Raises:
        ValueError: if a module cannot be built, or does not take what the one below gives.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    signal = _silence(unit_shape)
    modules: list[nn.Module] = []
    for i, module in enumerate(_hidden(recipe, math.prod(unit_shape))):
        try:
            if isinstance(module, Connection):
                signal = _silence(module(signal).unit_shape)
                _draw(recipe, module, lif.alpha, generator)
                module = Layer(module, lif)
            else:
                signal = module(signal)
        except ValueError as error:
            raise ValueError(f"layers: {recipe.layers[i]}: {error}") from None
        modules.append(module)
    readout = Readout(tau_mem=recipe.tau_readout, dt=recipe.dt)
    last = Linear(math.prod(signal.unit_shape), n_class)
    _draw(recipe, last, readout.alpha, generator)
    return Network(*modules, Layer(last, readout))


def _hidden(recipe: Recipe, n_in: int) -> list[nn.Module]:
    """The connections and what lies between them, from the input up."""
    sizes = [n_in, *recipe.hidden]
    if not recipe.layers:
        return [Linear(below, above) for below, above in pairwise(sizes)]
    modules = []
    for text in recipe.layers:
        name, given, named = call("layers", text, LAYERS)
        try:
            modules.append(attrgetter(name)(sparsespike)(*given, **named))
        except (TypeError, ValueError) as error:
            raise ValueError(f"layers: {text}: {error}") from None
    return modules


def _silence(unit_shape: Sequence[int]) -> Spikes:
    """No spikes, of units laid out so: what modules read their sizes off."""
    return Spikes.from_dense(torch.zeros(1, 1, *unit_shape))


def _draw(recipe: Recipe, connection: Connection, alpha: float, generator: torch.Generator) -> None:
    """Draws the weights as the recipe says, by the leak of the neurons that they drive."""
    weight = connection.weight
    bound = 1.0 / math.sqrt(connection.fan_in)
    # Drawn fan-out by fan-out, as weights once lay in memory: a seed gives the same network as ever.
    drawn = torch.empty(weight.shape[::-1]).permute(*range(weight.dim() - 1, -1, -1))
    if recipe.init == "uniform":
        drawn.uniform_(-bound, bound, generator=generator)
    else:
        # The paper's rule for every layer, the readout with its own leak.
        drawn.normal_(0.0, recipe.init_gain * (1.0 - alpha) * bound, generator=generator)
    with torch.no_grad():
        weight.copy_(drawn)
