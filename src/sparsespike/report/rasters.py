"""What happens inside: rasters of some samples through all layers, and the readout's potential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparsespike import losses
from sparsespike.backends import use_backend
from sparsespike.data import EventDataset
from sparsespike.network import Network
from sparsespike.pages.figure import COLOURS, Drawing, panels, style
from sparsespike.report import inputs
from sparsespike.report.inputs import ACTIVE, SPIKE
from sparsespike.report.scores import Scores
from sparsespike.spikes.spikes import Spikes
from sparsespike.training.recipe import Recipe

MANY_STEPS = 2000  # from which on a line is drawn in pixels
CROWDED = 0.3  # activity, beyond which a panel is tinted: dots would cover the spikes


@dataclass(frozen=True)
class Inside:
    """Some samples on their way through the network.

    Attributes:
        index: (b,) their numbers in the dataset.
        input: (b, T, N_in).
        hidden: of each spiking layer, (b, T, N) with its active entries.
        potential: (b, T, C) of the readout.
        logit: (b, C).
    """

    index: tuple[int, ...]
    input: Spikes
    hidden: list[Spikes]
    potential: Tensor
    logit: Tensor


def look(net: Network, dataset: EventDataset, recipe: Recipe, index: Sequence[int]) -> Inside:
    """Runs some samples, on the CPU whatever the recipe's backend; the network stays there."""
    net.cpu().eval()
    spikes, _ = dataset.batch(list(index), recipe.steps, recipe.dt)
    backend = "cpu" if recipe.backend == "gpu" else recipe.backend
    with torch.no_grad(), use_backend(backend):
        potential, hidden = net(spikes, return_spikes=True)
    return Inside(tuple(index), spikes, hidden, potential, losses.logits(potential, recipe.reduce))


def rasters(inside: Inside, scores: Scores, recipe: Recipe, names: Sequence[str]) -> Drawing:
    """A column per sample: input, each layer, readout.

    Args:
        inside: the samples.
        scores: of all samples.
        recipe: gives dt.
        names: of the spiking layers.
    """
    n_layer, n_sample = len(inside.hidden), len(inside.index)
    rows = n_layer + 2
    label, prediction, sure = scores.label, scores.prediction, scores.sure
    end = inside.input.shape[1] * recipe.dt * 1e3
    signals = [inside.input, *inside.hidden]
    with style():
        figure, axes = panels(
            rows,
            n_sample,
            height=1.3 * rows + 0.5,
            sharex=True,
            heights=[1.0] * (rows - 1) + [1.25],
        )
        for column, i in enumerate(inside.index):
            mine = axes[column::n_sample]
            for row, (place, signal) in enumerate(zip(mine, signals, strict=False)):
                _raster(place, signal[column], recipe.dt)
                if column == 0:
                    what = ["input", *names][row]
                    units = "×".join(map(str, signal.unit_shape))
                    place.set_ylabel(f"{what}\n({units})")
                else:
                    place.tick_params(labelleft=False)
            _readout(mine[-1], inside, column, int(label[i]), int(prediction[i]), recipe.dt)
            if column == 0:
                mine[-1].set_ylabel("readout\npotential")
            shown = f"sample {i}: {scores.classes[int(label[i])]}"
            right = (
                "right" if label[i] == prediction[i] else f"→ {scores.classes[int(prediction[i])]}"
            )
            mine[0].set_title(f"{shown}\n{right}, {sure[i]:.0%}")
            mine[-1].set(xlim=(0, end), xlabel="time (ms)")
        figure.legend(handles=_key(), loc="outside lower center", ncols=5, markerscale=1.0)
    pieces = "; ".join(
        f"{name} {signal.rate():.2%} spikes and {signal.activity():.2%} active"
        for name, signal in zip(names, inside.hidden, strict=True)
    )
    crowded = any(signal.activity() > CROWDED for signal in inside.hidden)
    tinted = f"; where they are more than {CROWDED:.0%}, the panel is tinted" if crowded else ""
    says = (
        "A sample that is right as surely as most, one that is just right, and the worst mistake, where "
        f"there are such. Spikes in blue, active entries, through which gradients flow, in orange{tinted}; "
        f"below, what each class's readout neuron integrates, of which the `{recipe.reduce}` over time is "
        f"the logit. Here: {pieces}."
    )
    return Drawing(
        "rasters",
        figure,
        says,
        f"Rasters of {n_sample} samples through {n_layer} layers: {pieces}.",
    )


def _raster(axes: Any, signal: Spikes, dt: float) -> None:
    size = 2.6 if signal.shape[2] <= 300 else 1.6 if signal.shape[2] <= 2000 else 1.0
    ms = dt * 1e3
    if signal.activity() > CROWDED:
        axes.axhspan(-0.5, signal.shape[2] - 0.5, color=ACTIVE, alpha=0.25, lw=0)
    elif signal.n_active:
        active, unit = signal.active_row().numpy() * ms, signal.active_unit.numpy()
        inputs.dots(axes, active, unit, ACTIVE, 2.2 * size)
    inputs.dots(axes, signal.row().numpy() * ms, signal.unit.numpy(), SPIKE, size)
    axes.set_ylim(-0.5, signal.shape[2] - 0.5)
    if not signal.n_spikes:
        axes.text(0.5, 0.5, "no spike", transform=axes.transAxes, ha="center", va="center")


def _readout(
    axes: Any, inside: Inside, column: int, label: int, prediction: int, dt: float
) -> None:
    potential = inside.potential[column].double()
    time = torch.arange(len(potential)) * dt * 1e3
    looks = {
        c: {"color": COLOURS["grey"], "lw": 0.6, "alpha": 0.7} for c in range(potential.shape[1])
    }
    looks[prediction] = {"color": COLOURS["vermilion"], "lw": 1.5, "zorder": 3}
    looks[label] = {"color": COLOURS["green"], "lw": 1.5, "zorder": 4}
    for c, how in looks.items():
        axes.plot(time, potential[:, c], rasterized=len(time) > MANY_STEPS, **how)
    axes.grid(axis="y")


def _key() -> list[Any]:
    from matplotlib.lines import Line2D

    dot = {"ls": "none", "marker": "o", "mew": 0}
    return [
        Line2D([], [], color=SPIKE, ms=3.5, label="spike", **dot),
        Line2D([], [], color=ACTIVE, ms=4.5, label="active entry", **dot),
        Line2D([], [], color=COLOURS["green"], label="label's class"),
        Line2D([], [], color=COLOURS["vermilion"], label="predicted, if another"),
        Line2D([], [], color=COLOURS["grey"], lw=0.8, label="other classes"),
    ]
