"""Inputs and weights for the benchmarks: synthetic ones of given activity, or a real dataset's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sparsespike import data
from sparsespike.bench.cases import ConvSizes, recorded
from sparsespike.bench.dense import AnySynapses, Pool, module_of
from sparsespike.bench.dense_net import layers
from sparsespike.data import EventDataset, EventLoader
from sparsespike.descriptions import Conv, SparseLinear
from sparsespike.network import Layer, Network
from sparsespike.neurons.lif import LIF
from sparsespike.spikes.lists import Lists
from sparsespike.spikes.spikes import Spikes
from sparsespike.training import recipe as recipes
from sparsespike.training.evaluate import load_run
from sparsespike.training.recipe import Recipe

ACTIVITY_BAND = 0.2
# Potentials spread around rest: of no width are more than a tenth of them within 0.2 of the threshold.
WIDEST = 0.05
TUNED_SAMPLES, TUNED_STEPS = 16, 1000


class LayerInput(NamedTuple):
    """What a layer is given.

    Attributes:
        source: where it comes from.
        spikes: (B, T, N_in), with the active set of the layer below; none active: no gradient is wanted.
        synapses: of the layer.
        weight: of the connection, float32.
        neuron: of the layer.
    """

    source: str
    spikes: Spikes
    synapses: AnySynapses
    weight: Tensor
    neuron: LIF


def synthetic(
    batch_size: int,
    steps: int,
    synapses: AnySynapses,
    rate: float,
    active: float,
    activity: float,
    seed: int,
    pool: Pool | None = None,
) -> LayerInput:
    """Random spikes, and random weights with a gain that gives a wanted activity.

    Half of the input's active entries hold a spike, as a neuron that comes near its threshold spikes about
    every second time.

    Args:
        batch_size: B.
        steps: T.
        synapses: of the layer.
        rate: share of the input's entries that hold a spike.
        active: share of the input's entries that are active; 0 for input whose gradient is not wanted.
        activity: see `scaled`.
        seed: of spikes and weights.
        pool: what the spikes go through first, in windows side by side, or None.

    Raises:
        ValueError: if no gain gives the activity.
    """
    draw = torch.Generator().manual_seed(seed)
    shape: tuple[int, ...] = (synapses.n_in,)
    if isinstance(synapses, Conv):
        channels, height, width = synapses.in_shape
        tall, wide = (1, 1) if pool is None else pool.kernel_size
        shape = channels, height * tall, width * wide
    n_in = math.prod(shape)
    total = batch_size * steps * n_in
    fired, entry, value = _entries(total, rate, draw), None, torch.empty(0)
    if active:
        n_kept = min(len(fired), round(total * active / 2))
        kept = fired[torch.randperm(len(fired), generator=draw)[:n_kept]]
        entry = torch.unique(torch.cat((kept, _entries(total, active / 2, draw))))
        value = torch.isin(entry, fired, assume_unique=True).float()
    lists, _ = Lists.of(fired, entry, (batch_size, steps, n_in))
    spikes = Spikes((batch_size, steps, n_in), lists, value, unit_shape=shape)
    source = f"synthetic, {rate:.2%} spikes"
    return scaled(source, spikes, synapses, activity, draw, pool)


def scaled(
    source: str,
    spikes: Spikes,
    synapses: AnySynapses,
    activity: float,
    draw: torch.Generator,
    pool: Pool | None = None,
) -> LayerInput:
    """Random weights for these spikes, so wide that the layer is as active as wanted.

    Args:
        source: where the spikes come from.
        spikes: (B, T, N_in).
        synapses: of the layer.
        activity: share of the layer's entries that lie within 0.2 of the threshold; beyond 5 %, about as many
            as a band of 0.2 can hold, the band is widened instead of the weights.
        draw: of the weights.
        pool: what the spikes go through first, or None.

    Raises:
        ValueError: if no gain gives the activity.
    """
    weight = torch.randn(_weight_shape(synapses), generator=draw)
    weight /= math.prod(weight.shape[1:]) ** 0.5
    neuron = LIF(tau_mem=10e-3, dt=1e-3)
    part = head(spikes, TUNED_SAMPLES, TUNED_STEPS)
    part = part if pool is None else pool(part)
    gain = _gain(part, synapses, weight, neuron, min(activity, WIDEST))
    weight = weight * gain
    if activity > WIDEST:
        neuron = neuron.changed(b_th=_band(part, synapses, weight, neuron, activity))
    return LayerInput(source, spikes, synapses, weight, neuron)


def recordings(
    sizes: ConvSizes, steps: int, root: Path | None, batch_size: int, seed: int
) -> LayerInput:
    """The first layer of a network on real recordings, with random weights.

    Args:
        sizes: names the dataset and the convolution of its sensor.
        steps: T, of a millisecond each.
        root: folder of the datasets.
        batch_size: B.
        seed: of the choice of samples, and of the weights.

    Raises:
        ValueError: if the sensor is another one.
        ValueError, OSError: if the data cannot be had.
    """
    recipe, synapses = recorded(sizes, steps), sizes.synapses()
    dataset = load_or_sample(recipe, root)
    spikes, _ = batch(dataset, recipe, batch_size, seed)
    if spikes.unit_shape != synapses.in_shape:
        raise ValueError(
            f"shape: expected that of {dataset.name}, {spikes.unit_shape}, found {synapses.in_shape}"
        )
    draw = torch.Generator().manual_seed(seed)
    return scaled(f"{dataset.name}, random weights", spikes, synapses, sizes.activity, draw)


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
    return spikes[:n_sample, : min(n_step, spikes.shape[1])]


def _entries(total: int, share: float, draw: torch.Generator) -> Tensor:
    """About this share of the numbers below `total`, distinct, ascending; two at least are drawn."""
    n_drawn = max(2, round(-math.log1p(-share) * total))  # some come twice
    return torch.unique(torch.randint(total, (n_drawn,), generator=draw))


def _weight_shape(synapses: AnySynapses) -> tuple[int, ...]:
    if isinstance(synapses, SparseLinear):
        return (synapses.index.shape[1],)
    if isinstance(synapses, Conv):
        return synapses.weight_shape
    return synapses.n_out, synapses.n_in


def _second_layer(net: Network, spikes: Spikes, source: str) -> LayerInput:
    """The second layer's input, weights and neuron.

    Raises:
        ValueError: if it is not a spiking layer that the dense methods compute as well.
    """
    second = layers(net)[1]
    neuron = second.neuron
    if not isinstance(neuron, LIF) or neuron.reset != "subtract":
        raise ValueError(f'layer 2: expected an LIF with reset "subtract", found {neuron}')
    below = spikes
    with torch.no_grad():
        for module in net:
            if module is second:
                break
            below = module(below)
        synapses = second.connection(below).terms[0].connection
    return LayerInput(source, below, synapses, second.connection.weight.detach(), neuron)


def _activity(spikes: Spikes, synapses: AnySynapses, weight: Tensor, neuron: LIF) -> float:
    """The share of the layer's entries that are active."""
    layer = Layer(module_of(synapses, weight.dtype), neuron)
    with torch.no_grad():
        layer.connection.weight.copy_(weight)
        fired = layer(spikes)
    assert isinstance(fired, Spikes)
    return fired.activity()


def _gain(
    spikes: Spikes, synapses: AnySynapses, weight: Tensor, neuron: LIF, wanted: float
) -> float:
    """The smallest factor of the weights that gives this activity, within 5 %, by bisection."""
    neuron = neuron.changed(b_th=ACTIVITY_BAND)
    low, high = 0.0, 0.5
    while _activity(spikes, synapses, weight * high, neuron) < wanted:
        low, high = high, high * 1.25
        if high > 1e3:
            raise ValueError(
                f"rate: expected enough input for {wanted:.1%} activity, found no gain for it"
            )
    for _ in range(40):
        middle = (low + high) / 2
        reached = _activity(spikes, synapses, weight * middle, neuron)
        if abs(reached / wanted - 1) < 0.05:
            return middle
        low, high = (middle, high) if reached < wanted else (low, middle)
    return high


def _band(
    spikes: Spikes, synapses: AnySynapses, weight: Tensor, neuron: LIF, wanted: float
) -> float:
    """The half-width that gives this activity, within 2 %, by bisection; the weights stay."""
    low, high = 0.0, 0.5
    while _activity(spikes, synapses, weight, neuron.changed(b_th=high)) < wanted:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        reached = _activity(spikes, synapses, weight, neuron.changed(b_th=middle))
        if abs(reached / wanted - 1) < 0.02:
            return middle
        low, high = (middle, high) if reached < wanted else (low, middle)
    return high
