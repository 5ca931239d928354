"""Beyond the paper: how well the gradient inside the band points along the uncut one."""

from __future__ import annotations

from typing import Any

from sparsespike.pages.figure import COLOURS, Drawing, legend_above, panels, style
from sparsespike.pages.page import Section, Table
from sparsespike.reproduce.claim import Claim
from sparsespike.reproduce.gradients import Alignment
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Material, Scope

NAME, TITLE = "alignment", "Does the cut gradient point the same way?"
SURROGATES = ("FastSigmoid(100)", "FastSigmoid(10)", "ATan(2)", "Triangle(1)")
WIDTHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
BATCH = 64


def cells(scope: Scope) -> list[Alignment]:
    """A network of every data set under every surrogate."""
    return [
        _cell(material, surrogate, scope)
        for material in _materials(scope)
        for surrogate in _surrogates(scope)
    ]


def section(scope: Scope, records: Records) -> Section:
    """Cosine against half-width, by layer and surrogate."""
    materials = [
        material
        for material in _materials(scope)
        if all(records.find(_cell(material, s, scope)) is not None for s in _surrogates(scope))
    ]
    if not materials:
        return Section(TITLE, ["Not measured yet."])
    parts: list[Any] = [_drawing(material, scope, records) for material in materials]
    rows = []
    for material in materials:
        for surrogate in _surrogates(scope):
            points = _points(material, surrogate, scope, records)
            at = next(point for point in points if point["b_th"] == 0.2)
            cosine = " ".join(f"{value:.3f}" for value in at["cosine"])
            length = " ".join(f"{value:.2f}" for value in at["length"])
            rows.append([material.title, f"`{surrogate}`", cosine, length])
    header = ("data", "surrogate", "cosine by layer, half-width 0.2", "length, of the uncut one's")
    parts.append(Table(header, rows))
    return Section(TITLE, parts)


def claims(scope: Scope, records: Records) -> list[Claim]:
    """The approximation is good at the paper's surrogate and width."""
    made = []
    for material in _materials(scope):
        found = records.find(_cell(material, SURROGATES[0], scope))
        if found is None:
            continue
        at = next(point for point in found["points"] if point["b_th"] == 0.2)
        lowest = min(at["cosine"])
        made.append(
            Claim(
                "Sparse backpropagation approximates the gradient very well",
                "3.2",
                "by figure 3B",
                f"cosine {', '.join(f'{value:.3f}' for value in at['cosine'])} by layer",
                "reproduced" if lowest > 0.9 else "partly",
                f"{material.dataset}, half-width 0.2, FastSigmoid(100)",
            )
        )
    return made


def _materials(scope: Scope) -> tuple[Material, ...]:
    return scope.materials[-1:] if scope.quick else scope.materials


def _surrogates(scope: Scope) -> tuple[str, ...]:
    return SURROGATES[::2] if scope.quick else SURROGATES


def _cell(material: Material, surrogate: str, scope: Scope) -> Alignment:
    training = material.training(0)
    return Alignment(training, BATCH, surrogate, WIDTHS)


def _points(
    material: Material, surrogate: str, scope: Scope, records: Records
) -> list[dict[str, Any]]:
    found = records.find(_cell(material, surrogate, scope))
    assert found is not None
    return found["points"]


def _drawing(material: Material, scope: Scope, records: Records) -> Drawing:
    names = _surrogates(scope)
    with style():
        figure, axes = panels(1, len(names), height=2.8, sharey=True)
        for ax, surrogate in zip(axes, names, strict=True):
            points = _points(material, surrogate, scope, records)
            width = [point["b_th"] for point in points]
            layers = len(points[0]["cosine"])
            for layer, colour in zip(range(layers), ("blue", "orange", "grey"), strict=False):
                cosine = [point["cosine"][layer] for point in points]
                last = layer == layers - 1
                label, line = ("readout", "--") if last else (f"layer {layer + 1}", "o-")
                ax.plot(width, cosine, line, color=COLOURS[colour], label=label)
            ax.axvline(0.2, color=COLOURS["vermilion"], linestyle=":", linewidth=1)
            ax.set(xscale="log", xlabel="half-width $B_{th}$", title=surrogate, ylim=(-0.05, 1.05))
            ax.set_xticks([0.01, 0.1, 0.2, 0.8], ["0.01", "0.1", "0.2", "0.8"])
            ax.minorticks_off()
        axes[0].set_ylabel("cosine of ∇W, cut and uncut")
        legend_above(figure, axes[0])
    return Drawing(
        f"alignment-{material.dataset}",
        figure,
        f"{material.title}: cosine of the weight gradient inside the band with the uncut one, on a "
        f"batch of {BATCH} training samples of the trained network; dotted: the paper's "
        "half-width. A steep surrogate has its mass near the threshold, a gentle one beyond the "
        "band as well. The readout sees the same spikes, so its gradient is the same.",
        "Cosine against half-width by layer, a panel per surrogate.",
    )
