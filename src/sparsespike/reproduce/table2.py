"""Table 2 and figure 3A: how few neurons are active during training, and the energy saved at most."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from sparsespike.pages.figure import COLOURS, Drawing, legend_above, panels, style
from sparsespike.pages.page import Section, Table
from sparsespike.reproduce.cell import Cell
from sparsespike.reproduce.claim import Claim, Spread, spread
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Material, Scope
from sparsespike.reproduce.synops import SynapticOperations

NAME, TITLE = "table2", "Table 2, figure 3A: activity and energy"
# Mean activity of layers 1 and 2, per cent (Table 2).
PAPER = {"F-MNIST": (1.06, 0.87), "N-MNIST": (1.12, 0.77), "SHD": (1.70, 1.09)}


def cells(scope: Scope) -> list[Cell]:
    """The paper's runs, and the synaptic operations of the first of each."""
    found: list[Cell] = []
    for material in scope.materials:
        found += [*material.cut(), _operations(material)]
    return found


def activity(material: Material, records: Records) -> tuple[Spread, Spread] | None:
    """Mean activity of layers 1 and 2 over training, as shares; None where nothing was trained."""
    found = _found(material, records)
    if not found:
        return None
    means = [
        [statistics.fmean(epoch["activity"][layer] for epoch in one["epochs"]) for one in found]
        for layer in (0, 1)
    ]
    first, second = (spread(numbers) for numbers in means)
    assert first is not None
    assert second is not None
    return first, second


def section(scope: Scope, records: Records) -> Section:
    """The table, and activity over training."""
    rows, drawn = [], []
    for material in scope.materials:
        found = activity(material, records)
        if found is None:
            continue
        drawn.append(material)
        first, second = found
        paper = PAPER[material.paper]
        rows.append(
            [
                material.title,
                f"{first.mean:.2%} ({paper[0]:g} %)",
                f"{second.mean:.2%} ({paper[1]:g} %)",
                f"{1 - second.mean:.2%} ({100 - paper[1]:g} %)",
                f"{1 - first.mean:.2%} ({100 - paper[0]:g} %)",
                first.n,
            ]
        )
    if not drawn:
        return Section(TITLE, ["Not measured yet."])
    header = ("data", "layer 1 (paper)", "layer 2", "energy saved in ∇W", "in ∇S", "seeds")
    caption = (
        "Activity of the hidden layers, mean over training (eq. 13), and the upper bound to the "
        "energy saved: the share of factors that need not be computed, 1 − ρ of layer 2 for ∇W "
        "and of layer 1 for ∇S."
    )
    parts: list[Any] = [Table(header, rows, caption), _drawing(drawn, records)]
    counts = [
        [
            material.title,
            f"{one['effective']:,.0f}",
            f"{one['dense']:,.0f}",
            one["effective"] / one["dense"],
        ]
        for material in drawn
        if (one := records.find(_operations(material))) is not None
    ]
    if counts:
        said = (
            "Synaptic operations of a forward pass per sample, as NeuroBench counts them: "
            "effective ones, all of them accumulations, and dense ones, every weight at every "
            "step."
        )
        parts.append(Table(("data", "effective", "dense", "share"), counts, said))
    return Section(TITLE, parts)


def claims(scope: Scope, records: Records) -> list[Claim]:
    """One per data set."""
    made = []
    for material in scope.materials:
        found = activity(material, records)
        if found is None:
            continue
        paper = PAPER[material.paper]
        near = all(
            0.5 <= 100 * one.mean / number <= 2 for one, number in zip(found, paper, strict=True)
        )
        made.append(
            Claim(
                f"{material.paper}: on average so few neurons are active in layers 1 and 2",
                "Table 2, fig. 3A",
                f"{paper[0]:g}, {paper[1]:g} %",
                f"{found[0].mean:.2%}, {found[1].mean:.2%} ({found[0].n} seeds)",
                "reproduced" if near else "not reproduced",
                _where(material, scope, "within a factor of 2" if near else ""),
            )
        )
    return made


def _operations(material: Material) -> SynapticOperations:
    return SynapticOperations(material.training(0), 256)


def _where(material: Material, scope: Scope, remark: str) -> str:
    """What a reader must know of the data."""
    parts = [remark] if remark else []
    if material.stands_in:
        parts.append(f"on {material.dataset}")
    if scope.quick:
        parts.append(f"quick, {material.epochs} epochs")
    return ", ".join(parts)


def _found(material: Material, records: Records) -> list[dict[str, Any]]:
    return [one for run in material.cut() if (one := records.find(run)) is not None]


def _drawing(materials: Sequence[Material], records: Records) -> Drawing:
    with style():
        figure, axes = panels(1, len(materials), height=2.9, sharey=True)
        for ax, material in zip(axes, materials, strict=True):
            found = _found(material, records)
            for layer, colour in ((0, "blue"), (1, "orange")):
                lines = [[100 * e["activity"][layer] for e in one["epochs"]] for one in found]
                n = min(map(len, lines))
                epoch = range(1, n + 1)
                mean = [statistics.fmean(line[i] for line in lines) for i in range(n)]
                low = [min(line[i] for line in lines) for i in range(n)]
                high = [max(line[i] for line in lines) for i in range(n)]
                ax.fill_between(epoch, low, high, color=COLOURS[colour], alpha=0.25, linewidth=0)
                ax.plot(epoch, mean, color=COLOURS[colour], label=f"layer {layer + 1}")
                paper = PAPER[material.paper][layer]
                said = f"the paper's mean, layer {layer + 1}"
                ax.axhline(paper, color=COLOURS[colour], linestyle=":", linewidth=1, label=said)
            ax.set(title=material.title, xlabel="epoch")
        axes[0].set(ylabel="active entries (%)", ylim=(0, None))
        legend_above(figure, axes[0])
    return Drawing(
        "fig3a",
        figure,
        "Active entries in the two hidden layers during training: the mean over seeds, the range "
        "of the seeds (shaded) and the paper's mean over training (dotted).",
        "Activity per epoch in two hidden layers, a panel per data set.",
    )
