"""Inputs and weights for the benchmarks: synthetic ones of given activity, or a real dataset's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sparsespike import data
from sparsespike.connections.linear import Linear
from sparsespike.data import EventDataset, EventLoader
from sparsespike.network import Layer, Network
from sparsespike.neurons.lif import LIF
from sparsespike.spikes.lists import Lists
from sparsespike.spikes.spikes import Spikes
from sparsespike.training import recipe as recipes
from sparsespike.training.evaluate import load_run
from sparsespike.training.recipe import Recipe

ACTIVITY_BAND = 0.2
TUNED_SAMPLES, TUNED_STEPS = 16, 1000


class LayerInput(NamedTuple):
    """What a layer is given.

    Attributes:
        source: where it comes from.
        spikes: (B, T, N_in), with the active set of the layer below.
        weight: (N_out, N_in), float32.
        neuron: of the layer.
    """

    source: str
    spikes: Spikes
    weight: Tensor
    neuron: LIF


def synthetic(
    batch_size: int, steps: int, neurons: int, rate: float, activity: float, seed: int
) -> LayerInput:
    """Random spikes, and random weights with a gain that gives a wanted activity.

    As many entries of the input are active as hold a spike, half of them the same, as a neuron that
    comes near its threshold spikes about every second time.

    Args:
        batch_size: B.
        steps: T.
        neurons: N_in = N_out.
        rate: share of the input's entries that hold a spike.
        activity: share of the layer's entries that lie within 0.2 of the threshold.
        seed: of spikes and weights.

    Raises:
        ValueError: if no gain gives the activity.
    """
    draw = torch.Generator().manual_seed(seed)
    shape = (batch_size, steps, neurons)
    total = batch_size * steps * neurons
    n_spikes = max(2, round(total * rate))
    fired = torch.unique(torch.randint(total, (n_spikes,), generator=draw))
    kept = fired[torch.randperm(len(fired), generator=draw)[: n_spikes // 2]]
    others = torch.randint(total, (n_spikes - len(kept),), generator=draw)
    active = torch.unique(torch.cat((kept, others)))
    first = torch.arange(batch_size * steps + 1) * neurons
    spikes = Spikes(
        shape,
        Lists(
            (fired % neurons).to(torch.int32),
            torch.searchsorted(fired, first),
            (active % neurons).to(torch.int32),
            torch.searchsorted(active, first),
        ),
        torch.isin(active, fired, assume_unique=True).float(),
    )
    neuron = LIF(tau_mem=10e-3, dt=1e-3)
    weight = torch.randn(neurons, neurons, generator=draw) / neurons**0.5
    gain = _gain(head(spikes, TUNED_SAMPLES, TUNED_STEPS), weight, neuron, activity)
    return LayerInput(f"synthetic, {rate:.2%} spikes", spikes, weight * gain, neuron)


def real(
    recipe: str | None, run: Path | None, root: Path | None, batch_size: int, seed: int
) -> LayerInput:
    """The second layer of a recipe's initial network, or of a trained one, under real input.

    Args:
        recipe: name or .toml file of the recipe, or None.
        run: folder of the trained network, or None; one of the two is given.
        root: folder of the datasets.
        batch_size: B.
        seed: of the choice of samples.

    Raises:
        ValueError: if the network has one hidden layer only.
        ValueError, OSError: if recipe, run or data cannot be had.
    """
    if run is not None:
        net, settings, about = load_run(run)
        whole = data.load(about["dataset"], split="train", root=root, download=False)
        dataset = settings.seen(whole)
        source = f"{about['dataset']}, trained {about['epoch']} epochs"
    else:
        settings = recipes.load(recipe or "")
        dataset = load_or_sample(settings, root)
        net = settings.network(dataset.about.sensor, dataset.n_classes)
        source = f"{dataset.name}, initial network"
    spikes, _ = batch(dataset, settings, batch_size, seed)
    return _second_layer(net, spikes, source)


def layers(net: Network) -> list[Layer]:
    """The layers of a network, fully connected and with nothing between them, as the dense methods have it.

    Raises:
        ValueError: naming the first that is something else.
    """
    found: list[Layer] = []
    for i, layer in enumerate(net):
        part = layer.connection if isinstance(layer, Layer) else layer
        if not isinstance(layer, Layer) or not isinstance(part, Linear):
            raise ValueError(
                f"network: expected fully connected layers, which the dense methods compute, "
                f"found {type(part).__name__} in place {i + 1}"
            )
        found.append(layer)
    return found


def batch(
    dataset: EventDataset, recipe: Recipe, batch_size: int, seed: int
) -> tuple[Spikes, Tensor]:
    """One shuffled batch: (B, T, N) and its labels (B,).

    Raises:
        ValueError: if the dataset has fewer samples.
    """
    if batch_size > len(dataset):
        raise ValueError(f"batch_size: expected at most {len(dataset)} samples, found {batch_size}")
    loader = EventLoader(
        dataset, batch_size=batch_size, shuffle=True, seed=seed, steps=recipe.steps, dt=recipe.dt
    )
    loader.watch.told = True  # the table says how many steps were taken
    return next(iter(loader.batches(0)))


def load_or_sample(recipe: Recipe, root: Path | None) -> EventDataset:
    """The training samples of a recipe, or the embedded few of its dataset where that is out of reach."""
    name = recipe.dataset
    try:
        return recipe.seen(data.load(name, split="train", root=root, download=False))
    except OSError:
        if f"{name}-sample" not in data.available():
            raise
        return recipe.seen(data.load(f"{name}-sample", split="train", root=root))


def stored(spikes: Spikes, backend: str, device: str) -> Spikes:
    """The same spikes on a device, as a backend takes them: words for "gpu", lists for the others."""
    moved = spikes.to(device)
    return moved.to_words() if backend == "gpu" else moved.to_lists()


def head(spikes: Spikes, n_sample: int, n_step: int) -> Spikes:
    """The first samples and steps of a batch, with their active entries."""
    part = spikes[:n_sample]
    n_batch, steps, _ = part.shape
    n_step = min(n_step, steps)
    unit, offset, _ = _first_steps(part.unit, part.row(), n_batch, steps, n_step)
    if not part.n_active:
        return Spikes((n_batch, n_step, part.shape[2]), Lists(unit, offset), part.value)
    active = _first_steps(part.active_unit, part.active_row(), n_batch, steps, n_step)
    return Spikes(
        (n_batch, n_step, part.shape[2]),
        Lists(unit, offset, active[0], active[1]),
        part.value[active[2]],
    )


def _first_steps(
    unit: Tensor, row: Tensor, n_batch: int, steps: int, n_step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Unit and offset lists of the first steps of each sample, and which entries these are."""
    kept = row % steps < n_step
    row = torch.div(row[kept], steps, rounding_mode="floor") * n_step + row[kept] % steps
    return unit[kept], torch.searchsorted(row, torch.arange(n_batch * n_step + 1)), kept


def _second_layer(net: Network, spikes: Spikes, source: str) -> LayerInput:
    """The second layer's input, weights and neuron.

    Raises:
        ValueError: if it is not a spiking layer that the dense methods compute as well.
    """
    first, second = layers(net)[:2]
    neuron = second.neuron
    if not isinstance(neuron, LIF) or neuron.reset != "subtract":
        raise ValueError(f'layer 2: expected an LIF with reset "subtract", found {neuron}')
    with torch.no_grad():
        below = first(spikes)
    return LayerInput(source, below, second.connection.weight.detach(), neuron)


def _gain(spikes: Spikes, weight: Tensor, neuron: LIF, wanted: float) -> float:
    """The smallest factor of the weights that gives this activity, within 5 %, by bisection."""
    neuron = dataclasses.replace(neuron, b_th=ACTIVITY_BAND)
    layer = Layer(Linear(weight.shape[1], weight.shape[0]), neuron)

    @torch.no_grad()
    def activity(gain: float) -> float:
        layer.connection.weight.copy_(weight * gain)
        fired = layer(spikes)
        assert isinstance(fired, Spikes)
        return fired.activity()

    low, high = 0.0, 0.5
    while activity(high) < wanted:
        low, high = high, high * 1.25
        if high > 1e3:
            raise ValueError(
                f"rate: expected enough input for {wanted:.1%} activity, found no gain for it"
            )
    for _ in range(40):
        middle = (low + high) / 2
        reached = activity(middle)
        if abs(reached / wanted - 1) < 0.05:
            return middle
        low, high = (middle, high) if reached < wanted else (low, middle)
    return high
