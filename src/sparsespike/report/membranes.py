"""Membrane potentials of chosen neurons around the threshold, with the band in which entries are active.

Layers keep no potential over time, so it is computed here from a layer's input by the neuron's own equations:
what the dense backend, the oracle, does, of the chosen neurons only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparsespike.connections.relay import Relay
from sparsespike.network import Layer, Network
from sparsespike.neurons.lif import LIF
from sparsespike.pages.figure import COLOURS, INK, Drawing, panels, style
from sparsespike.report.inputs import ACTIVE, SPIKE
from sparsespike.report.rasters import Inside
from sparsespike.spikes.spikes import Spikes
from sparsespike.training.recipe import Recipe

STEPS_SHOWN = 500  # of a longer recording, where most is active
KINDS = ("busiest", "of middling rate", "silent, yet active")


@dataclass(frozen=True)
class Trace:
    """One neuron of one sample.

    Attributes:
        layer: its number among the spiking layers, from 0.
        unit: its number in the layer.
        kind: why it was chosen.
        potential: (T,) V.
        spike, active: (T,) bool.
    """

    layer: int
    unit: int
    kind: str
    potential: Tensor
    spike: Tensor
    active: Tensor


def traces(net: Network, inside: Inside, sample: int = 0) -> list[Trace]:
    """Up to three neurons of each layer, for one of the samples.

    Args:
        net: the network, on the CPU.
        inside: the samples on their way through it.
        sample: which of them.

    Raises:
        RuntimeError: if the potential crosses the threshold elsewhere than where the layer's spikes are, by
            more than rounding.
    """
    found, n = [], 0
    signal = inside.input[sample]
    for module in net:
        if isinstance(module, Relay):
            with torch.no_grad():
                signal = module(signal)
        elif isinstance(module, Layer) and isinstance(module.neuron, LIF):
            fired = inside.hidden[n][sample]
            chosen = choose(fired)
            if chosen:
                units = list(chosen.values())
                potential, spike = run(module, signal, units)
                _check(fired, potential, spike, units, module.neuron)
                active = module.neuron.active(potential)
                active[0] = False  # V[0] is a constant
                columns = (potential.T, spike.T, active.T)
                found += [
                    Trace(n, unit, kind, *parts)
                    for kind, unit, *parts in zip(chosen, units, *columns, strict=True)
                ]
            signal, n = fired, n + 1
    return found


def choose(fired: Spikes) -> dict[str, int]:
    """Neurons worth a look, by kind: of most spikes, of their median, and active without a spike."""
    n_unit = fired.shape[2]
    spikes = torch.bincount(fired.unit.long(), minlength=n_unit)
    active = torch.bincount(fired.active_unit.long(), minlength=n_unit)
    by_rate = spikes.argsort(descending=True, stable=True)
    n_firing = int((spikes > 0).sum())
    near = torch.where(spikes == 0, active, 0)
    chosen = {}
    if n_firing:
        chosen[KINDS[0]] = int(by_rate[0])
    if n_firing > 1:
        chosen[KINDS[1]] = int(by_rate[n_firing // 2])
    if int(near.max()):
        chosen[KINDS[2]] = int(near.argmax())
    return chosen


def run(layer: Layer, signal: Spikes, units: list[int]) -> tuple[Tensor, Tensor]:
    """Potential (T, k) and spikes (T, k), bool, of k neurons of a layer whose input is (1, T, N)."""
    with torch.no_grad():
        current = layer.connection(signal).to_dense()[0][:, units]
        states = [layer.neuron.initial(current[0])]
        for now in current[:-1]:  # the input of the last step reaches nothing
            states.append(layer.neuron.step(states[-1], now))
    potential, spike = (torch.stack([state[i] for state in states]) for i in (0, 1))
    return potential, spike.bool()


def drawing(found: list[Trace], recipe: Recipe, sample: int, names: list[str]) -> Drawing:
    """A row per layer, a panel per neuron.

    Args:
        found: at least one.
        recipe: gives v_th, b_th, dt.
        sample: its number in the dataset, to be named.
        names: of the layers.
    """
    layers = sorted({trace.layer for trace in found})
    rows, window = len(layers), _window(found)
    with style():
        figure, axes = panels(rows, 3, height=1.85 * rows + 0.45)
        for place in axes:
            place.set_axis_off()
        for trace in found:
            place = axes[3 * layers.index(trace.layer) + KINDS.index(trace.kind)]
            place.set_axis_on()
            _draw(place, trace, recipe, window)
            place.set_title(f"{names[trace.layer]}, neuron {trace.unit}: {trace.kind}", size=8.5)
        for i in range(rows):
            axes[3 * i].set_ylabel("V")
        for place in axes[-3:]:
            place.set_xlabel("time (ms)")
        figure.legend(handles=_key(), loc="outside lower center", ncols=4)
    n_spike = sum(int(trace.spike.sum()) for trace in found)
    n_active = sum(int(trace.active.sum()) for trace in found)
    band = "everywhere" if math.isinf(recipe.b_th) else f"within `b_th` = {recipe.b_th:g} of it"
    n_step = len(found[0].potential)
    after = "" if recipe.reset == "none" else ", which takes the potential down at the next step"
    says = (
        f"Potentials V of neurons for sample {sample}; the threshold is {recipe.v_th:g}. A step is active "
        f"{band}, on either side, and only there can a gradient change what the neuron does: here "
        f"{n_active:,} of {len(found) * n_step:,} steps. A neuron spikes above the threshold{after}: "
        f"{n_spike:,} spikes. What is farther than {_reach(recipe):g} from the threshold is cut off, and "
        "what comes long after the last active step."
    )
    alt = f"Traces of {len(found)} neurons, with {n_spike} spikes and {n_active} active steps."
    return Drawing("membranes", figure, says, alt)


def _draw(axes: Any, trace: Trace, recipe: Recipe, window: slice) -> None:
    potential, spike, active = (x[window] for x in (trace.potential, trace.spike, trace.active))
    time = torch.arange(window.start, window.start + len(potential)) * recipe.dt * 1e3
    v_th, near = recipe.v_th, _reach(recipe)
    low = max(float(potential.min()), v_th - near)
    high = min(max(float(potential.max()), v_th + near / 3), v_th + near)
    edge = 0.1 * (high - low)
    bottom, top = low - edge, high + 1.6 * edge
    band = max(v_th - recipe.b_th, bottom), min(v_th + recipe.b_th, top)
    axes.axhspan(*band, color=ACTIVE, alpha=0.18, lw=0)
    axes.axhline(v_th, color=COLOURS["vermilion"], lw=0.8)
    axes.plot(time, potential, color=INK, lw=0.7)
    if active.any():
        look = {"s": 9, "color": ACTIVE, "linewidths": 0, "zorder": 3}
        axes.scatter(time[active], potential[active], **look)
    if spike.any():
        at = torch.full((int(spike.sum()),), high + 0.9 * edge)
        look = {"s": 30, "marker": "|", "color": SPIKE, "linewidths": 1.2, "zorder": 4}
        axes.scatter(time[spike], at, **look)
    axes.set(xlim=(float(time[0]), float(time[-1])), ylim=(bottom, top))


def _reach(recipe: Recipe) -> float:
    """How far from the threshold potentials are drawn: what is farther does not matter."""
    return max(2.0 * recipe.v_th, 3 * recipe.b_th if math.isfinite(recipe.b_th) else 0)


def _window(found: list[Trace]) -> slice:
    """The steps to be drawn: where most neurons are busy, and not long after that."""
    busy = torch.stack([trace.spike | trace.active for trace in found]).any(0)
    n_step = len(busy)
    if n_step > STEPS_SHOWN:
        total = torch.cat([torch.zeros(1, dtype=torch.int64), busy.long().cumsum(0)])
        first = int((total[STEPS_SHOWN:] - total[:-STEPS_SHOWN]).argmax())
        return slice(first, first + STEPS_SHOWN)
    last = int(busy.nonzero().max()) if busy.any() else n_step
    return slice(0, min(n_step, max(20, round(1.3 * last))))


def _check(fired: Spikes, potential: Tensor, spike: Tensor, units: list[int], neuron: LIF) -> None:
    """Compares with the spikes that the layer gave; kernels add in another order, and round another "
    "way."""
    given = fired.to_dense().flatten(2)[0][:, units].bool()
    differ = given != spike
    if not differ.any():
        return
    # After a spike too few or too many the two go apart: only the first difference of a neuron can be told.
    first = differ.int().argmax(0)
    worst = (potential[first, range(len(units))] - neuron.v_th).abs()[differ.any(0)].max()
    if worst > 1e-3 * max(1.0, abs(float(neuron.v_th))):
        raise RuntimeError(
            "potential: expected to cross the threshold where the layer spikes, found it "
            f"{float(worst):.3g} away"
        )


def _key() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Line2D(
            [],
            [],
            ls="none",
            marker="|",
            ms=7,
            mew=1.2,
            color=SPIKE,
            label="spike, V > threshold",
        ),
        Line2D(
            [],
            [],
            ls="none",
            marker="o",
            ms=3.5,
            mew=0,
            color=ACTIVE,
            label="active step",
        ),
        Line2D([], [], color=COLOURS["vermilion"], lw=0.8, label="threshold"),
        Patch(color=ACTIVE, alpha=0.18, lw=0, label="band |V − threshold| < b_th"),
    ]
