"""Figure 4: time and memory of the second layer, by data set, over training and against its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sparsespike.bench.trial import OURS
from sparsespike.pages.figure import COLOURS, Drawing, legend_above, panels, plain_numbers, style
from sparsespike.pages.page import Section, Table
from sparsespike.reproduce.cell import Cell
from sparsespike.reproduce.claim import Claim
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Material, Scope
from sparsespike.reproduce.timed import CLEAN, EVERY, TrainedLayer
from sparsespike.reproduce.trained import Training

NAME, TITLE = "fig4", "Figure 4: speed and memory"
BATCH = 256
AFTER = (0.1, 0.2, 0.5, 1.0)  # of the run, when times over training are taken
SIZES = (100, 200, 400, 700, 1000)
# Backward of layer 2 on an RTX 6000, N = 200, B = 256: milliseconds, original and sparse (figure 4B), and how
# many times faster forward and backward are together (figure 4C).
PAPER_MS = {"F-MNIST": (30, 4.9), "N-MNIST": (236, 6.6), "SHD": (644, 14.7)}
PAPER_OVERALL = {"F-MNIST": 1.45, "N-MNIST": 2.1, "SHD": 2.8}
LABELS = {
    OURS: "sparsespike",
    "paper-loop": "the paper's loop, O(T²)",
    "clean-dense": "clean dense",
    "fused-dense": "dense, fused by hand",
    "spikingjelly": "SpikingJelly 2",
}
COLOUR_OF = {
    "paper-loop": "grey",
    "clean-dense": "blue",
    "fused-dense": "green",
    "spikingjelly": "purple",
}
OF_DATA = ("blue", "orange", "green")


def cells(scope: Scope) -> list[Cell]:
    """Layers after training, with every dense method; over training and by size with the clean one."""
    found: list[Cell] = []
    for material in scope.materials:
        found += [
            _by_method(material, scope),
            *_over_training(material, scope),
            *_by_size(material, scope),
        ]
    return found


def section(scope: Scope, records: Records) -> Section:
    """Tables and panels."""
    parts: list[Any] = []
    measured = [
        (material, found)
        for material in scope.materials
        if (found := records.find(_by_method(material, scope))) is not None
    ]
    if measured:
        parts += [_table(measured), _drawn_methods(measured)]
    for draw in (_drawn_over_training, _drawn_by_size):
        drawing = draw(scope, records)
        if drawing is not None:
            parts.append(drawing)
    return Section(TITLE, parts or ["Not measured yet."])


def claims(scope: Scope, records: Records) -> list[Claim]:
    """Backward speed-up, overall speed-up and memory per data set."""
    made = []
    for material in scope.materials:
        found = records.find(_by_method(material, scope))
        if found is None:
            continue
        original, sparse = PAPER_MS[material.paper]
        loop, clean = _times(found, "paper-loop"), _times(found, "clean-dense")
        where = f"one CPU core, {material.dataset}; the paper: a GPU, against its O(T²) loop"
        made.append(
            Claim(
                f"{material.paper}: backward of layer 2 is faster",
                "fig. 4A, B",
                f"{original / sparse:.0f}× ({original:g} to {sparse:g} ms)",
                _against(loop, clean, "backward"),
                _above(loop, clean, "backward", original / sparse),
                where,
            )
        )
        made.append(
            Claim(
                f"{material.paper}: forward and backward of layer 2 together are faster",
                "fig. 4C",
                f"{PAPER_OVERALL[material.paper]:g}×",
                _against(loop, clean, "total"),
                _above(loop, clean, "total", PAPER_OVERALL[material.paper]),
                where,
            )
        )
        saved = clean.get("memory_saved_percent")
        if material.paper == "SHD" and saved is not None:
            made.append(
                Claim(
                    "Memory of layer 2 is saved (eq. 14)",
                    "fig. 4A",
                    "35 %",
                    f"{saved:.1f} %",
                    "reproduced" if saved > 35 else "not reproduced",
                    "saved tensors counted as well, against the clean loop",
                )
            )
    return made


def _against(loop: dict[str, Any], clean: dict[str, Any], phase: str) -> str:
    ours, theirs = _ratio(loop, phase), _ratio(clean, phase)
    if math.isnan(ours):
        return f"{_shown(theirs)}× the clean loop; the O(T²) loop did not run"
    return f"{_shown(ours)}× ({_shown(theirs)}× the clean loop)"


def _above(loop: dict[str, Any], clean: dict[str, Any], phase: str, paper: float) -> Any:
    """By the paper's own loop; where it did not run, by the clean one, which is no slower."""
    ours = _ratio(loop, phase)
    if math.isnan(ours):
        return "reproduced" if _ratio(clean, phase) >= paper else "not comparable"
    return "reproduced" if ours >= paper else "not reproduced"


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _by_method(material: Material, scope: Scope) -> TrainedLayer:
    training = material.training(0)
    batch = BATCH if not scope.quick else 64
    methods = EVERY if not scope.quick else EVERY[:3]
    return TrainedLayer(training, batch, 0.0, methods, 2 if scope.quick else 7)


def _over_training(material: Material, scope: Scope) -> list[TrainedLayer]:
    if scope.quick:
        return []
    epochs = [round(part * material.epochs) for part in AFTER]
    return [TrainedLayer(material.training(0, epochs=n), BATCH, 0.0, CLEAN, 5) for n in epochs]


def _by_size(material: Material, scope: Scope) -> list[TrainedLayer]:
    batch = BATCH if not scope.quick else 64
    sizes = SIZES[1::2] if scope.quick else SIZES
    if scope.quick and material is not scope.images:
        return []
    epochs = max(1, min(10, material.epochs) * (material.epochs // 100 or 1))
    return [
        TrainedLayer(
            Training(
                material.recipe,
                material.dataset,
                0,
                epochs if not scope.quick else 1,
                hidden=(n, n),
                epoch_s=material.epoch_s * n / 200,
            ),
            batch,
            0.0,
            CLEAN,
            2 if scope.quick else 5,
        )
        for n in sizes
    ]


def _times(found: dict[str, Any], method: str) -> dict[str, Any]:
    return next((row for row in found["rows"] if row["method"] == method), {})


def _ratio(row: dict[str, Any], phase: str) -> float:
    return row.get("ratio", {}).get(phase, math.nan)


def _ms(found: dict[str, Any], method: str, phase: str) -> float:
    taken = _times(found, method).get("ms") or {}
    return taken[phase]["median"] if phase in taken else math.nan


def _table(measured: Sequence[tuple[Material, dict[str, Any]]]) -> Table:
    rows = []
    for material, found in measured:
        for row in found["rows"]:
            ours = row["method"] == OURS
            times = [
                f"{_ms(found, row['method'], phase):.3g}"
                + ("" if ours else f" ({_shown(_ratio(row, phase))}×)")
                if row["ms"]
                else "-"
                for phase in ("forward", "backward")
            ]
            saved = row["memory_saved_percent"]
            rows.append(
                [
                    f"{material.title}, T = {found['case']['steps']}" if ours else "",
                    LABELS[row["method"]] + (f": {row['reason']}" if row["reason"] else ""),
                    *times,
                    row["peak_mib"],
                    "" if saved is None or ours else f"{saved:.1f} %",
                ]
            )
    header = ("data", "method", "forward, ms", "backward, ms", "peak, MiB", "memory saved (eq. 14)")
    case = measured[0][1]["case"]
    caption = (
        f"Second hidden layer, N = {case['neurons']}, B = {case['batch_size']}, float32, one core, "
        "on a batch of training samples of the trained network; in brackets how many times "
        "sparsespike's time."
    )
    return Table(header, rows, caption)


def _drawn_methods(measured: Sequence[tuple[Material, dict[str, Any]]]) -> Drawing:
    methods = [
        method for method in COLOUR_OF if any(_times(f, method).get("ms") for _, f in measured)
    ]
    with style():
        figure, axes = panels(1, 2, height=3.4, widths=[2, 1])
        width = 0.8 / len(methods)
        for i, method in enumerate(methods):
            at = [x + (i - (len(methods) - 1) / 2) * width for x in range(len(measured))]
            speed = [_ratio(_times(found, method), "backward") for _, found in measured]
            bars = axes[0].bar(
                at, speed, 0.92 * width, color=COLOURS[COLOUR_OF[method]], label=LABELS[method]
            )
            axes[0].bar_label(bars, [_shown(value) for value in speed], fontsize=7, padding=1)
        for x, (material, _) in enumerate(measured):
            original, sparse = PAPER_MS[material.paper]
            axes[0].plot([x - 0.42, x + 0.42], [original / sparse] * 2, ":", color=COLOURS["vermilion"],
                         label="the paper, on its GPU" if x == 0 else "")  # fmt: skip
            saved = _times(measured[x][1], "clean-dense").get("memory_saved_percent") or math.nan
            bars = axes[1].bar(x, saved, 0.6, color=COLOURS["blue"])
            axes[1].bar_label(bars, [f"{saved:.0f}"], fontsize=8, padding=1)
        names = [material.title.replace(" (", "\n(") for material, _ in measured]
        for ax in axes:
            ax.set_xticks(range(len(measured)), names, fontsize=8)
        axes[0].set(ylabel="backward time / sparsespike's", yscale="log", ylim=(1, None))
        axes[0].set_xlim(-0.5, len(measured) - 0.5)
        plain_numbers(axes[0].yaxis)
        legend_above(figure, axes[0], columns=3)
        axes[1].set(ylabel="memory saved, eq. 14 (%)", ylim=(0, 112))
    return Drawing(
        "fig4a",
        figure,
        "How many times longer the dense methods take for the backward pass of the second layer "
        "(left), and the memory saved against the clean dense loop (right). The paper's own "
        "baseline, O(T²) in time, grows faster than any method needs; a claim should rest on the "
        "clean loop. Where a bar is missing, the table says why.",
        "Bars of backward speed-up by data set and dense method, and of memory saved.",
    )


def _drawn_over_training(scope: Scope, records: Records) -> Drawing | None:
    lines = {
        material: [
            (cell.training.epochs, one)
            for cell in _over_training(material, scope)
            if (one := records.find(cell)) is not None
        ]
        for material in scope.materials
    }
    lines = {material: points for material, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    with style():
        figure, axes = panels(1, len(lines), height=3.0, sharey=True)
        for ax, (material, points) in zip(axes, lines.items(), strict=True):
            epoch = [n for n, _ in points]
            for method, colour in (("clean-dense", "blue"), (OURS, "orange")):
                ax.plot(epoch, [_ms(one, method, "backward") for _, one in points], "o-",
                        color=COLOURS[colour], label=LABELS[method])  # fmt: skip
            ax.set(yscale="log", xlabel="epochs trained", title=material.title)
            plain_numbers(ax.yaxis)
        axes[0].set_ylabel("backward of layer 2 (ms)")
        legend_above(figure, axes[0])
    return Drawing(
        "fig4b",
        figure,
        "Backward time of the second layer as training goes on. Dense time depends on sizes alone, "
        "sparse time on activity as well.",
        "Backward time over training, dense and sparse, a panel per data set.",
    )


def _drawn_by_size(scope: Scope, records: Records) -> Drawing | None:
    lines = {
        material: [
            (cell.training.hidden[0], one)
            for cell in _by_size(material, scope)
            if (one := records.find(cell)) is not None
        ]
        for material in scope.materials
    }
    lines = {material: points for material, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    with style():
        figure, axes = panels(1, 3, height=3.1)
        for (material, points), colour in zip(lines.items(), OF_DATA, strict=False):
            n = [size for size, _ in points]
            clean = [_times(one, "clean-dense") for _, one in points]
            for ax, of in (
                (axes[0], [_ratio(row, "backward") for row in clean]),
                (axes[1], [_ratio(row, "total") for row in clean]),
                (axes[2], [row.get("memory_saved_percent") or math.nan for row in clean]),
            ):
                ax.plot(n, of, "o-", color=COLOURS[colour], label=material.title)
        axes[0].set(ylabel="backward speed-up", ylim=(0, None))
        axes[1].set(ylabel="forward + backward speed-up", ylim=(0, None))
        axes[2].set(ylabel="memory saved, eq. 14 (%)", ylim=(0, 103))
        for ax in axes:
            ax.set_xlabel("hidden neurons $N$")
        legend_above(figure, axes[0])
    return Drawing(
        "fig4c",
        figure,
        "Speed-up and memory saved in the second layer against the clean dense loop, as both "
        "hidden layers grow.",
        "Backward speed-up, overall speed-up and memory saved against hidden size.",
    )
