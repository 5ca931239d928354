"""Histograms of the weights of each layer, as trained and as they were at first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsespike.network import Layer, Network
from sparsespike.pages.figure import COLOURS, Drawing, panels, style
from sparsespike.pages.page import Table

BINS, IN_A_ROW = 60, 3


@dataclass(frozen=True)
class Weights:
    """The weights of one layer.

    Attributes:
        name: of the layer.
        now: (n,) as trained.
        before: (n,) as the recipe's seed drew them.
    """

    name: str
    now: NDArray[np.float64]
    before: NDArray[np.float64]


def weights(net: Network, initial: Network, names: list[str]) -> list[Weights]:
    """Those of every layer with a connection.

    Args:
        net: as trained.
        initial: the same network as it was at first.
        names: of these layers, the readout's as well.
    """
    pairs = [
        (_flat(now), _flat(before))
        for now, before in zip(net, initial, strict=True)
        if isinstance(now, Layer) and isinstance(before, Layer)
    ]
    return [Weights(name, *pair) for name, pair in zip(names, pairs, strict=True)]


def _flat(layer: Layer) -> NDArray[np.float64]:
    return layer.connection.weight.detach().cpu().double().numpy().ravel()


def drawing(layers: list[Weights]) -> Drawing:
    """A histogram per layer."""
    rows = math.ceil(len(layers) / IN_A_ROW)
    with style():
        figure, axes = panels(rows, IN_A_ROW, height=2.2 * rows + 0.35)
        for place, layer in zip(axes, layers, strict=False):
            both = np.concatenate([layer.now, layer.before])
            # A few far-out weights would squeeze all others into one bin; they are in the table.
            reach = float(np.quantile(np.abs(both), 0.999)) or 1.0
            edges = np.linspace(-reach, reach, BINS + 1).tolist()
            for values, look in (
                (
                    layer.before,
                    {"histtype": "step", "color": COLOURS["grey"], "lw": 1.2, "label": "at first"},
                ),
                (layer.now, {"color": COLOURS["blue"], "alpha": 0.75, "label": "trained"}),
            ):
                place.hist(values, edges, weights=np.full(len(values), 100 / len(values)), **look)
            place.set(
                title=f"{layer.name}: {len(layer.now):,} weights",
                xlabel="weight",
                xlim=(-reach, reach),
            )
        for i in range(rows):
            axes[IN_A_ROW * i].set_ylabel("share (%)")
        for place in axes[len(layers) :]:
            place.set_axis_off()
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    says = (
        f"Shares of each layer's weights in {BINS} bins, as trained, and as the seed drew them; the "
        "largest tenth of a per cent lies outside. A weight is what one spike adds to a neuron's current."
    )
    return Drawing("weights", figure, says, f"Histograms of the weights of {len(layers)} layers.")


def table(layers: list[Weights]) -> Table:
    """Their numbers."""
    header = ["layer", "weights", "mean", "deviation", "at first", "smallest", "largest"]
    rows = [
        [
            layer.name,
            len(layer.now),
            float(layer.now.mean()),
            float(layer.now.std()),
            float(layer.before.std()),
            float(layer.now.min()),
            float(layer.now.max()),
        ]
        for layer in layers
    ]
    return Table(header, rows, "Standard deviation now and at first; smallest and largest now.")
