"""What finite bands cut off the gradients of a converted network, and the time that they save."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsespike.interop.cell import Cell
from sparsespike.neurons.surrogates import Surrogate
from sparsespike.spikes.arguments import integer
from sparsespike.spikes.spikes import Spikes

BODY = "body"  # where a `Converted` has its layers


@dataclass(frozen=True)
class Band:
    """The active band of one layer.

    Attributes:
        layer: its name.
        surrogate: whose mass is meant.
        b_th: half-width, unit of potential.
        cut: share of the mass that it cuts off, in [0, 1].
    """

    layer: str
    surrogate: Surrogate
    b_th: float
    cut: float


@dataclass(frozen=True)
class InUse:
    """A band on a recording.

    Attributes:
        band: the band.
        active: share of the layer's entries (sample, step, neuron) inside of it: those that a step visits.
        lost: share of the sum of the surrogate's values over all entries that lies outside.
    """

    band: Band
    active: float
    lost: float

    def __str__(self) -> str:
        band = self.band
        return (
            f"{band.layer}: |V - v_th| < {band.b_th:.3g} cuts {band.cut:.1%} of the mass of "
            f"{band.surrogate}; {self.active:.1%} of the entries are inside, with "
            f"{1 - self.lost:.1%} of the sum of its values"
        )


@dataclass(frozen=True)
class Report:
    """What the bands of a network do on a recording; `print` tells it in words.

    Attributes:
        layers: one for each layer of neurons whose spikes come out of it.
        cosine: between the gradients of all parameters with the bands and without, under a random gradient
            of the output.
        exact: seconds of a step without bands, forward and backward, the median.
        banded: the same with them.
    """

    layers: list[InUse]
    cosine: float
    exact: float
    banded: float

    @property
    def speed(self) -> float:
        """How many times as fast a step is with the bands."""
        return self.exact / self.banded

    def __str__(self) -> str:
        step = (
            f"a step, forward and backward: {1e3 * self.banded:.3g} ms, without bands "
            f"{1e3 * self.exact:.3g} ms, {self.speed:.2g} times as long"
        )
        kept = f"gradient of the parameters: cosine {self.cosine:.4f} with the one without bands"
        return "\n".join([*map(str, self.layers), step, kept])


def bands_of(net: nn.Module) -> list[Band]:
    """The band of every layer of spiking neurons, in their order."""
    found = []
    for name, cell in net.named_modules():
        if isinstance(cell, Cell) and cell.neuron.spiking:
            surrogate, b_th = cell.neuron.surrogate, cell.neuron.b_th
            found.append(
                Band(name, surrogate, b_th, 0.0 if math.isinf(b_th) else surrogate.cut(b_th))
            )
    return found


def report(net: nn.Module, x: Any, repeats: int) -> Report:
    """Runs copies of a network with its bands and without, see `Converted.report`.

    Args:
        net: a `Converted`.
        x: a recording, as it takes.
        repeats: steps that count of each, >= 1; one before them does not.

    Raises:
        ValueError: if there is no band, no parameter to learn, or `repeats` is out of range.
    """
    repeats = integer("repeats", repeats, 1)
    bands = {
        band.layer: band for band in bands_of(net.get_submodule(BODY)) if not math.isinf(band.b_th)
    }
    if not bands:
        raise ValueError("b_th: expected a finite one, as mass=0.95 sets it, found none")
    if not any(each.requires_grad for each in net.parameters()):
        raise ValueError("parameters: expected some that are learned, found none")
    banded, exact = copy.deepcopy(net), copy.deepcopy(net)
    for cell in exact.modules():
        if isinstance(cell, Cell) and cell.neuron.spiking:
            cell.neuron.b_th = math.inf
    taken: list[list[float]] = [[], []]
    gradients: list[Tensor] = []
    for _ in range(repeats + 1):
        gradients = []
        for one, seconds in zip((exact, banded), taken, strict=True):
            before = time.perf_counter()
            gradients.append(_step(one, x))
            seconds.append(time.perf_counter() - before)
    return Report(
        _in_use(exact, x, bands),
        float(functional.cosine_similarity(gradients[0], gradients[1], dim=0)),
        *(statistics.median(seconds[1:]) for seconds in taken),
    )


def _step(net: nn.Module, x: Any) -> Tensor:
    """Forward and backward; the gradient of all parameters, in a row."""
    parameters = [each for each in net.parameters() if each.requires_grad]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)  # what drops out, and the gradient from above, are the same for both
        outputs = _tensors(net(x))
        above = [torch.randn(each.shape).to(each) for each in outputs]
        found = torch.autograd.grad(outputs, parameters, above, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def _in_use(exact: nn.Module, x: Any, bands: dict[str, Band]) -> list[InUse]:
    """Reads the potentials of all entries."""
    found: list[InUse] = []

    def reader(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def read(cell: Any, given: Any, gave: Any) -> None:
            out = gave[0] if isinstance(gave, tuple) else gave
            if not isinstance(out, Spikes) or out.potential is None:
                return  # only its potential is used
            v_th = torch.as_tensor(cell.neuron.v_th).detach().to(out.potential)
            if v_th.numel() > 1:
                v_th = v_th.flatten()[out.to_lists().storage.active_unit.long()]  # pyright: ignore
            distance = out.potential - v_th
            inside = distance.abs() < bands[name].b_th
            slope = cell.neuron.surrogate.slope(distance).double()
            lost = 1.0 - float(slope[inside].sum()) / max(float(slope.sum()), 1e-300)
            found.append(InUse(bands[name], float(inside.double().mean()), lost))

        return read

    cells = {
        name: cell for name, cell in exact.get_submodule(BODY).named_modules() if name in bands
    }
    hooks = [cell.register_forward_hook(reader(name)) for name, cell in cells.items()]
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            exact(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _tensors(out: Any) -> list[Tensor]:
    """The tensors that a network gave, as far as gradients go through them."""
    if isinstance(out, Spikes):
        return _tensors(out.to_dense())
    if isinstance(out, Tensor):
        return [out] if out.requires_grad else []
    parts = out.values() if isinstance(out, dict) else out
    return [each for part in parts if part is not None for each in _tensors(part)]
