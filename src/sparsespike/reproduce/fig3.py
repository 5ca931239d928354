"""Figure 3, B to D: the gradient inside the band beside the uncut one, and what each learns."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np

from sparsespike.pages.figure import COLOURS, Drawing, legend_above, panels, style
from sparsespike.pages.page import Section, Table
from sparsespike.reproduce.cell import Cell
from sparsespike.reproduce.claim import Claim, spread
from sparsespike.reproduce.gradients import GradientMaps
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Material, Scope
from sparsespike.reproduce.trained import Training

NAME, TITLE = "fig3", "Figure 3, B-D: sparse and original gradients learn alike"
# Final test accuracy of the sparse runs, mean of 5 seeds (section 3.2, figure 3D).
PAPER = {"F-MNIST": 0.822, "N-MNIST": 0.927, "SHD": 0.775}


def cells(scope: Scope) -> list[Cell]:
    """The paper's runs with and without a band, and the two gradients of one of them."""
    found: list[Cell] = [_maps(scope)]
    for material in scope.materials:
        found += [*material.cut(), *material.uncut(), *material.cut_as_long()]
    return found


def section(scope: Scope, records: Records) -> Section:
    """Gradient maps, loss curves, accuracies."""
    parts: list[Any] = []
    maps = records.find(_maps(scope))
    if maps is not None:
        parts.append(_drawn_maps(maps, _maps(scope)))
    compared = [m for m in scope.materials if _lines(m.uncut(), records)]
    if compared:
        parts.append(_drawn_losses(compared, records))
    rows = [row for material in scope.materials for row in _rows(material, records)]
    if rows:
        parts.append(_drawn_accuracies(scope, records))
        parts.append(
            Table(
                ("data", "gradient", "epochs", "test accuracy", "last loss", "paper"),
                rows,
                "Test accuracy after training, mean ± standard error over seeds. Sparse: "
                "half-width 0.2. Original: the uncut surrogate, on the same kernels with every "
                "entry active.",
            )
        )
    return Section(TITLE, parts or ["Not measured yet."])


def claims(scope: Scope, records: Records) -> list[Claim]:
    """Accuracy per data set; sparse against original; the cosine of the two gradients."""
    made = []
    maps = records.find(_maps(scope))
    if maps is not None:
        made.append(
            Claim(
                "∇W of the sparse rule is nearly identical to the original one",
                "fig. 3B",
                "by eye",
                f"cosine {maps['cosine']:.3f}",
                "reproduced" if maps["cosine"] > 0.9 else "partly",
                f"first layer, on {maps['dataset']}",
            )
        )
    for material in scope.materials:
        cut = spread(_accuracies(material.cut(), records))
        if cut is None:
            continue
        paper = PAPER[material.paper]
        other = material.stands_in
        made.append(
            Claim(
                f"{material.paper}: test accuracy with sparse gradients",
                "3.2, fig. 3D",
                f"{paper:.1%}",
                cut.percent(),
                "not comparable"
                if other
                else "reproduced"
                if cut.mean > paper - 0.005
                else "not reproduced",
                _where(material, scope),
            )
        )
        as_long = spread(_accuracies(material.cut_as_long(), records))
        uncut = spread(_accuracies(material.uncut(), records))
        if as_long is not None and uncut is not None:
            apart = as_long.mean - uncut.mean
            near = apart > -max(0.01, 2 * (as_long.error**2 + uncut.error**2) ** 0.5)
            made.append(
                Claim(
                    f"{material.paper}: sparse gradients reach what the original ones reach",
                    "fig. 3C, D",
                    "practically identical",
                    f"{as_long.percent()} against {uncut.percent()}",
                    "reproduced" if near else "not reproduced",
                    f"after {material.uncut_epochs} epochs each, on {material.dataset}"
                    + ("" if near else _late(material, records)),
                )
            )
    return made


def _late(material: Material, records: Records) -> str:
    """What holds sparse gradients up: a second layer without active neurons, to which none goes."""
    epochs = _lines(material.cut_as_long(), records)[0]["epochs"]
    early = next((i for i, one in enumerate(epochs) if one["activity"][1] >= 1e-3), len(epochs))
    if early < len(epochs) // 20:
        return ""
    return (
        f"; in the first {early} epochs less than 0.1 % of layer 2 was active: the original "
        "gradient goes through neurons far from threshold as well and starts them sooner"
    )


def _where(material: Material, scope: Scope) -> str:
    parts = [f"on {material.dataset}"] if material.stands_in else []
    return ", ".join(parts + ([f"quick, {material.epochs} epochs"] if scope.quick else []))


def _maps(scope: Scope) -> GradientMaps:
    return GradientMaps(scope.sounds.training(0), 64, inputs=100, units=50, steps=150)


def _lines(runs: list[Training], records: Records) -> list[dict[str, Any]]:
    return [one for run in runs if (one := records.find(run)) is not None]


def _accuracies(runs: list[Training], records: Records) -> list[float]:
    return [one["result"]["test"]["accuracy"] for one in _lines(runs, records)]


def _rows(material: Material, records: Records) -> list[list[Any]]:
    rows = []
    for label, runs in (
        ("sparse", material.cut()),
        ("sparse, as long as original", material.cut_as_long()),
        ("original", material.uncut()),
    ):
        found = _lines(runs, records)
        accuracy = spread(_accuracies(runs, records))
        if accuracy is None:
            continue
        loss = statistics.fmean(one["epochs"][-1]["loss"] for one in found)
        paper = f"{PAPER[material.paper]:.1%}" if label == "sparse" else ""
        rows.append(
            [material.title, label, runs[0].epochs, accuracy.percent(), f"{loss:.3f}", paper]
        )
    return rows


def _drawn_maps(found: dict[str, Any], cell: GradientMaps) -> Drawing:
    with style():
        figure, axes = panels(2, 2, height=5.2)
        for column, (name, title) in enumerate((("uncut", "original"), ("cut", "sparse"))):
            for row, (part, what) in enumerate((("weight", "∇W"), ("spike", "∇S"))):
                ax = axes[2 * row + column]
                kept = found[name][part]
                values = np.array(kept["values"], float).T
                # One scale for both, so that the eye compares them.
                largest = np.abs(np.array(found["uncut"][part]["values"])).max() * (
                    found["uncut"][part]["scale"] / kept["scale"]
                )
                shown = np.ma.masked_equal(values, 0)
                ax.set_facecolor("none")
                ax.patch.set(hatch="////", edgecolor=COLOURS["grey"], alpha=0.4)
                limit = 0.25 * largest
                ax.imshow(
                    shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto",
                    interpolation="nearest", origin="lower",
                )  # fmt: skip
                ax.set(title=f"{what}, {title}", ylabel="neuron")
                ax.set_xlabel("input unit" if part == "weight" else "step")
    share = found["cut"]["spike_zeros"]
    return Drawing(
        "fig3b",
        figure,
        f"Gradients of one batch of {cell.batch_size} samples of {found['dataset']} by the first "
        "layer's weights (above, some units) and by its spikes (below, one sample), red positive, "
        f"blue negative, zero hatched. The sparse rule leaves out {share:.1%} of ∇S, and the "
        f"cosine of its ∇W with the original one is {found['cosine']:.3f}.",
        "Four maps: weight and spike gradients, original and sparse, zeros hatched.",
    )


def _drawn_losses(materials: list[Material], records: Records) -> Drawing:
    with style():
        figure, axes = panels(1, len(materials), height=2.9)
        for ax, material in zip(axes, materials, strict=True):
            for runs, colour, label in (
                (material.uncut(), "blue", "original"),
                (material.cut_as_long(), "orange", "sparse"),
            ):
                lines = [[e["loss"] for e in one["epochs"]] for one in _lines(runs, records)]
                for i, line in enumerate(lines):
                    ax.plot(
                        range(1, len(line) + 1), line, color=COLOURS[colour],
                        label="" if i else label, marker="o" if len(line) < 5 else "",
                    )  # fmt: skip
            ax.set(title=material.title, xlabel="epoch", ylim=(0, None))
            ax.locator_params(axis="x", integer=True)
        axes[0].set_ylabel("training loss (nats)")
        legend_above(figure, axes[0])
    return Drawing(
        "fig3c",
        figure,
        "Training loss, regularisers included, with the original gradient and inside the band of "
        "0.2, the same seeds: one line a seed. The closer the lines, the better the band stands "
        "for the whole surrogate.",
        "Loss per epoch of sparse and original runs, a panel per data set.",
    )


def _drawn_accuracies(scope: Scope, records: Records) -> Drawing:
    kinds = (
        ("sparse, whole run", "orange", "o", Material.cut),
        ("sparse, as long as original", "orange", "D", Material.cut_as_long),
        ("original", "blue", "s", Material.uncut),
    )
    lowest = 100.0
    with style():
        figure, (ax,) = panels(1, 1, height=3.1)
        for i, material in enumerate(scope.materials):
            for k, (label, colour, marker, runs) in enumerate(kinds):
                accuracy = [100 * value for value in _accuracies(runs(material), records)]
                lowest = min([lowest, *accuracy])
                middle, last = i + 0.2 * (k - 1), len(accuracy) - 1
                ax.plot(
                    [middle + 0.025 * (j - last / 2) for j in range(len(accuracy))],
                    accuracy,
                    marker,
                    color=COLOURS[colour],
                    markerfacecolor="none" if k else COLOURS[colour],
                    label="" if i else label,
                )
            paper = 100 * PAPER[material.paper]
            ax.plot(
                [i - 0.32, i + 0.32],
                [paper, paper],
                ":",
                color=COLOURS["vermilion"],
                label="" if i else "the paper, sparse",
            )
        ax.set_xticks(range(len(scope.materials)), [each.title for each in scope.materials])
        start = 10 * max(0, math.floor(lowest / 10 - 0.5))
        said = f"test accuracy (%), axis from {start}" if start else "test accuracy (%)"
        ax.set(ylabel=said, ylim=(start, 100), xlim=(-0.5, len(scope.materials) - 0.5))
        ax.grid(axis="y")
        legend_above(figure, ax)
    return Drawing(
        "fig3d",
        figure,
        "Test accuracy after training, a mark per seed. Open marks are the pair to compare: the "
        "same seeds and epochs with the sparse and the original gradient.",
        "Test accuracy by data set and gradient, with the paper's as dotted lines.",
    )
