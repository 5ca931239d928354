"""The network that a recipe describes: `hidden` sizes of fully connected layers, or `layers` in a row.

A text of `layers` is the call that builds the module in Python, `Conv2d(1, 32, 5, padding=2)`: what one knows
from there holds here, and nothing of it is run but the module. Every connection drives the recipe's neurons;
a fully connected readout, one neuron per class, comes last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import sparsespike
from sparsespike.connections.connection import Connection
from sparsespike.connections.delay import Delay
from sparsespike.connections.linear import Linear
from sparsespike.network import Layer, Network
from sparsespike.neurons.distributions import Distribution
from sparsespike.neurons.neuron import Neuron
from sparsespike.neurons.readout import Readout
from sparsespike.spikes.spikes import Spikes
from sparsespike.training.values import DISTRIBUTIONS, LAYERS, NEURONS, Call, call

if TYPE_CHECKING:
    from sparsespike.training.recipe import Recipe


def network(recipe: Recipe, unit_shape: Sequence[int], n_class: int) -> Network:
    """The network, with the initial weights of the recipe's seed.

    Args:
        recipe: what it is of.
        unit_shape: of the input.
        n_class: readout neurons.

    Returns:
        hidden layers of neurons and what lies between them, then a `Readout`, float32.

    Raises:
        ValueError: if a module cannot be built, or does not take what the one below gives.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    alpha = math.exp(-recipe.dt / recipe.tau_mem)
    each = recipe.learn or any(name in recipe.neuron for name in DISTRIBUTIONS)
    shared = None if each else _neuron(recipe, 1, generator)
    signal = _silence(unit_shape)
    modules: list[nn.Module] = []
    for i, module in enumerate(_hidden(recipe, math.prod(unit_shape), generator)):
        try:
            if isinstance(module, Connection):
                signal = _silence(module(signal).unit_shape)
                n = math.prod(signal.unit_shape)
                linear = isinstance(module, Linear)
                own = Linear(n, n) if recipe.recurrent and linear else None
                layer = Layer(module, shared or _neuron(recipe, n, generator), recurrent=own)
                _draw(recipe, layer, module, alpha, generator)
                if (
                    own is not None
                ):  # half as wide: what neurons send to themselves must not keep them alive
                    _draw(recipe, layer, own, alpha, generator, 0.5)
                module = layer
            else:
                signal = module(signal)
        except ValueError as error:
            where = f"layers: {recipe.layers[i]}: " if recipe.layers else ""
            raise ValueError(f"{where}{error}") from None
        modules.append(module)
    readout = Readout(tau_mem=recipe.tau_readout, dt=recipe.dt)
    last = Layer(Linear(math.prod(signal.unit_shape), n_class), readout)
    _draw(recipe, last, last.connection, readout.alpha, generator)
    return Network(*modules, last)


def groups(recipe: Recipe, net: nn.Module) -> list[dict[str, Any]]:
    """The network's parameters for an optimiser, in their order; `share`: of the recipe's learning rate.

    Weights are in one group with each other, unless numbers of neurons or delays are learned: these have a
    rate of their own, and no decay.
    """
    owner = {
        parameter: module for module in net.modules() for parameter in module._parameters.values()
    }
    found: list[dict[str, Any]] = []
    for parameter in net.parameters():
        module = owner[parameter]
        if isinstance(module, Neuron | Delay):
            size = module.max_steps if isinstance(module, Delay) else _size(parameter)
            share = recipe.lr_numbers * size / recipe.lr
            found.append({"params": [parameter], "share": share, "weight_decay": 0.0})
        elif found and found[-1]["share"] == 1.0:
            found[-1]["params"].append(parameter)
        else:
            found.append({"params": [parameter], "share": 1.0})
    return found


def _size(parameter: nn.Parameter) -> float:
    """How large numbers are, in the mean; 1 where they are zero."""
    return float(parameter.detach().abs().mean()) or 1.0


def _neuron(recipe: Recipe, n: int, generator: torch.Generator) -> Neuron:
    """The neurons of a hidden layer of n: with what the recipe has fields for, numbers drawn and to learn."""
    name, given, named = call("neuron", recipe.neuron, NEURONS, DISTRIBUTIONS)
    kind = getattr(sparsespike, name)
    settings: dict[str, Any] = {
        "tau_mem": recipe.tau_mem,
        "dt": recipe.dt,
        "v_th": recipe.v_th,
        "b_th": recipe.b_th,
        "surrogate": recipe.built_surrogate(),
    }
    if name in ("LIF", "CuBaLIF"):
        settings["reset"] = recipe.reset
    elif recipe.reset != "subtract":
        raise ValueError(f"reset: expected 'subtract' of {name}, found {recipe.reset!r}")
    named = {word: _distribution(value) for word, value in named.items()}
    taken = []
    for word, value in named.items():
        if isinstance(value, Distribution) and value.mean == settings.get(word):
            settings[word] = value
        elif word in settings:
            taken.append(word)
    if given or taken:
        found = f"{given or taken}"
        raise ValueError(
            "neuron: expected named values beside the recipe's fields, or distributions of these means, "
            f"found {found}"
        )
    try:
        neuron = kind(**named | settings).draw(n, generator=generator)
        each = {name: torch.as_tensor(getattr(neuron, name)).expand(n) for name in recipe.learn}
        each = {name: value.float().clone() for name, value in each.items()}
        return neuron.changed(**each, learn=recipe.learn) if recipe.learn else neuron
    except AttributeError as error:
        raise ValueError(f"learn: expected numbers of {name}, found {error.name!r}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"neuron: {recipe.neuron}: {error}") from None


def _distribution(value: Any) -> Any:
    """What a call in a recipe's neuron names; anything else as it is."""
    if not isinstance(value, Call):
        return value
    try:
        return getattr(sparsespike, value.name)(*value.values, **value.named)
    except (TypeError, ValueError) as error:
        raise ValueError(f"neuron: {value.name}: {error}") from None


def _hidden(recipe: Recipe, n_in: int, generator: torch.Generator) -> list[nn.Module]:
    """The connections and what lies between them, from the input up."""
    sizes = [n_in, *recipe.hidden]
    if not recipe.layers:
        return [
            Linear(below, above, delay=_delay(recipe, below, above, generator))
            for below, above in pairwise(sizes)
        ]
    modules = []
    for text in recipe.layers:
        name, given, named = call("layers", text, LAYERS)
        try:
            module = attrgetter(name)(sparsespike)(*given, **named)
            if name == "Linear" and recipe.delay:
                delay = _delay(recipe, module.n_in, module.n_out, generator)
                module = Linear(*given, **named, delay=delay)
            modules.append(module)
        except (TypeError, ValueError) as error:
            raise ValueError(f"layers: {text}: {error}") from None
    return modules


def _silence(unit_shape: Sequence[int]) -> Spikes:
    """No spikes, of units laid out so: what modules read their sizes off."""
    return Spikes.from_dense(torch.zeros(1, 1, *unit_shape))


def _delay(recipe: Recipe, n_in: int, n_out: int, generator: torch.Generator) -> Delay | None:
    """Learned delays of every synapse, drawn evenly; None for none."""
    if not recipe.delay:
        return None
    steps = torch.rand((n_out, n_in), generator=generator) * recipe.delay
    return Delay(recipe.delay, learn=True, init=steps)


def _draw(
    recipe: Recipe,
    layer: Layer,
    connection: Connection,
    alpha: float,
    generator: torch.Generator,
    share: float = 1.0,
) -> None:
    """Draws the weights as the recipe says, by the leak of the neurons that they drive.

    Args:
        recipe: says how.
        layer: gives the neurons.
        connection: takes the weights.
        alpha: leak of the neurons.
        generator: where all chance comes from.
        share: of the usual width.
    """
    weight = connection.weight
    bound = 1.0 / math.sqrt(connection.fan_in)
    # Drawn fan-out by fan-out, as weights once lay in memory: a seed gives the same network as ever.
    drawn = torch.empty(weight.shape[::-1]).permute(*range(weight.dim() - 1, -1, -1))
    if recipe.init == "normal":
        # The paper's rule for every layer, the readout with its own leak.
        drawn.normal_(0.0, recipe.init_gain * (1.0 - alpha) * bound, generator=generator)
    else:
        drawn.uniform_(-bound, bound, generator=generator)
    if recipe.init == "neuron":
        std = layer.neuron.weight_std(connection.fan_in)
        drawn *= 1.0 if std is None else std * math.sqrt(3.0) / bound
    with torch.no_grad():
        weight.copy_(drawn * share if share != 1.0 else drawn)
