"""Figure 4: time and memory of the second layer, by data set, over training and against its size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sparsespike.bench.trial import OURS
from sparsespike.pages.figure import (
    COLOURS,
    INK,
    Drawing,
    legend_above,
    panels,
    plain_numbers,
    style,
)
from sparsespike.pages.page import Section, Table
from sparsespike.reproduce.cell import Cell
from sparsespike.reproduce.claim import Claim, Verdict
from sparsespike.reproduce.lines import Points, Row, drawn, not_timed
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Material, Scope
from sparsespike.reproduce.timed import EVERY, TrainedLayer
from sparsespike.reproduce.times import (
    COLOUR_OF,
    LABELS,
    NOT_TAKEN,
    OF_RATIOS,
    OF_TIMES,
    Taken,
    bars,
    ratio_of,
    row_of,
    time_of,
)
from sparsespike.reproduce.trained import Training

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME, TITLE = "fig4", "Figure 4: speed and memory"
BATCH = 256
AFTER = (0.1, 0.2, 0.5, 1.0)  # of the run, when times over training are taken
SIZES = (100, 200, 400, 700, 1000)
# Backward of layer 2 on an RTX 6000, N = 200, B = 256: milliseconds, original and sparse (figure 4B), and how
# many times faster forward and backward are together (figure 4C).
PAPER_MS = {"F-MNIST": (30, 4.9), "N-MNIST": (236, 6.6), "SHD": (644, 14.7)}
PAPER_OVERALL = {"F-MNIST": 1.45, "N-MNIST": 2.1, "SHD": 2.8}
DENSE = EVERY[1:]


def cells(scope: Scope) -> list[Cell]:
    """Layers after training, over training and by size, each by every method."""
    found: list[Cell] = []
    for material in scope.materials:
        found += [
            _by_method(material, scope),
            *(cell for _, cell in _over_training(material, scope)),
            *(cell for _, cell in _by_size(material, scope)),
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
    over = _lines({each: _over_training(each, scope) for each in scope.materials}, records)
    by_size = _lines({each: _by_size(each, scope) for each in scope.materials}, records)
    if measured:
        parts += [_table(measured, records.processor), _drawn_methods(measured)]
    if over:
        parts += [_drawn_over_training(over), *not_timed(over, "epochs")]
    if by_size:
        parts += [_drawn_by_size(by_size), *not_timed(by_size, "neurons")]
    if not parts:
        return Section(TITLE, ["Not measured yet."])
    missing = [what for what, lines in (("over training", over), ("by size", by_size)) if not lines]
    if missing:
        parts.append(f"Not measured: times {' and '.join(missing)}.")
    return Section(TITLE, parts)


def claims(scope: Scope, records: Records) -> list[Claim]:
    """Backward speed-up, overall speed-up and memory per data set."""
    made = []
    for material in scope.materials:
        found = records.find(_by_method(material, scope))
        if found is None:
            continue
        original, sparse = PAPER_MS[material.paper]
        where = f"{records.processor}, {material.dataset}; the paper: a GPU, against its O(T²) loop"
        made.append(
            Claim(
                f"{material.paper}: backward of layer 2 is faster",
                "fig. 4A, B",
                f"{original / sparse:.0f}× ({original:g} to {sparse:g} ms)",
                _against(found, "backward"),
                _above(found, "backward", original / sparse),
                where,
            )
        )
        made.append(
            Claim(
                f"{material.paper}: forward and backward of layer 2 together are faster",
                "fig. 4C",
                f"{PAPER_OVERALL[material.paper]:g}×",
                _against(found, "total"),
                _above(found, "total", PAPER_OVERALL[material.paper]),
                where,
            )
        )
        saved = row_of(found, "clean-dense").get("memory_saved_percent")
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


def _against(found: dict[str, Any], phase: str) -> str:
    loop, clean = (ratio_of(found, one, phase).value for one in ("paper-loop", "clean-dense"))
    if math.isnan(loop):
        return f"{_shown(clean)}× the clean loop; the O(T²) loop did not run"
    return f"{_shown(loop)}× ({_shown(clean)}× the clean loop)"


def _above(found: dict[str, Any], phase: str, paper: float) -> Verdict:
    """By the paper's own loop; where it did not run, by the clean one, which is no slower."""
    loop, clean = (ratio_of(found, one, phase).value for one in ("paper-loop", "clean-dense"))
    if math.isnan(loop):
        return "reproduced" if clean >= paper else "not comparable"
    return "reproduced" if loop >= paper else "not reproduced"


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _by_method(material: Material, scope: Scope) -> TrainedLayer:
    return _timed(material.training(0), scope, 7)


def _over_training(material: Material, scope: Scope) -> list[tuple[int, TrainedLayer]]:
    """By epochs; the last is that of `_by_method`."""
    if scope.quick and material is not scope.images:
        return []
    epochs = [round(part * material.epochs) for part in (AFTER[2:] if scope.quick else AFTER)]
    *before, last = epochs
    cells = [(n, _timed(material.training(0, epochs=n), scope)) for n in before]
    return [*cells, (last, _by_method(material, scope))]


def _by_size(material: Material, scope: Scope) -> list[tuple[int, TrainedLayer]]:
    """By neurons of either hidden layer."""
    if scope.quick and material is not scope.images:
        return []
    epochs = max(1, min(10, material.epochs) * (material.epochs // 100 or 1))
    return [
        (
            n,
            _timed(
                Training(
                    material.recipe,
                    material.dataset,
                    0,
                    1 if scope.quick else epochs,
                    hidden=(n, n),
                    epoch_s=material.epoch_s * n / 200,
                ),
                scope,
            ),
        )
        for n in (SIZES[1::2] if scope.quick else SIZES)
    ]


def _timed(training: Training, scope: Scope, repeats: int = 5) -> TrainedLayer:
    if scope.quick:
        return TrainedLayer(training, 64, 0.0, EVERY[:3], 2)
    return TrainedLayer(training, BATCH, 0.0, EVERY, repeats)


def _lines(
    cells: Mapping[Material, list[tuple[int, TrainedLayer]]], records: Records
) -> dict[Material, Points]:
    """The data sets of which two points at least are measured."""
    lines = {
        material: [(n, one) for n, cell in of if (one := records.find(cell)) is not None]
        for material, of in cells.items()
    }
    return {material: points for material, points in lines.items() if len(points) > 1}


def _saved(found: dict[str, Any], method: str) -> Taken:
    """Memory saved by equation 14, per cent; of one run, without a spread."""
    saved = row_of(found, method).get("memory_saved_percent")
    return NOT_TAKEN if saved is None else Taken(saved, saved, saved)


def _backward_ms(found: dict[str, Any], method: str) -> Taken:
    return time_of(found, method, "backward")


def _backward(found: dict[str, Any], method: str) -> Taken:
    return ratio_of(found, method, "backward")


def _overall(found: dict[str, Any], method: str) -> Taken:
    return ratio_of(found, method, "total")


def _table(measured: Sequence[tuple[Material, dict[str, Any]]], processor: str) -> Table:
    rows = []
    for material, found in measured:
        for row in found["rows"]:
            method, ours = row["method"], row["method"] == OURS
            times = [
                f"{time_of(found, method, phase).value:.3g}"
                + ("" if ours else f" ({_shown(ratio_of(found, method, phase).value)}×)")
                if row["ms"]
                else "-"
                for phase in ("forward", "backward")
            ]
            saved = row["memory_saved_percent"]
            rows.append(
                [
                    f"{material.title}, T = {found['case']['steps']}" if ours else "",
                    LABELS[method] + (f": {row['reason']}" if row["reason"] else ""),
                    *times,
                    row["peak_mib"],
                    "" if saved is None or ours else f"{saved:.1f} %",
                ]
            )
    header = ("data", "method", "forward, ms", "backward, ms", "peak, MiB", "memory saved (eq. 14)")
    case = measured[0][1]["case"]
    caption = (
        f"Second hidden layer, N = {case['neurons']}, B = {case['batch_size']}, float32, {processor}, "
        "on a batch of training samples of the trained network; in brackets how many times "
        "sparsespike's time."
    )
    return Table(header, rows, caption)


def _drawn_methods(measured: Sequence[tuple[Material, dict[str, Any]]]) -> Drawing:
    methods = [one for one in DENSE if any(row_of(found, one) for _, found in measured)]
    width = 0.86 / (1 + len(methods))
    with style():
        figure, (left, right) = panels(1, 2, height=3.4, widths=[1.9, 1])
        for i, method in enumerate(methods):
            colour, slot = COLOURS[COLOUR_OF[method]], (i + 1 - len(methods) / 2) * width
            for x, (_, found) in enumerate(measured):
                speed, saved = _backward(found, method), _saved(found, method)
                label = LABELS[method] if x == 0 else ""
                right.plot(x + slot, saved.value, "o", color=colour)
                if math.isnan(speed.value):
                    left.text(x + slot, 1.15, "not timed", rotation=90, ha="center", fontsize=7.5)
                    continue
                ends = {"capsize": 2.5, "elinewidth": 1.0, "ecolor": INK}
                bar = left.bar(x + slot, speed.value, 0.92 * width, color=colour, label=label,
                               yerr=bars([speed]), error_kw=ends)  # fmt: skip
                left.bar_label(bar, [_shown(speed.value)], fontsize=7.5, padding=1)
        for x, (material, _) in enumerate(measured):
            original, sparse = PAPER_MS[material.paper]
            bar = left.bar(x - len(methods) / 2 * width, original / sparse, 0.86 * width,
                           facecolor="none", edgecolor=COLOURS["vermilion"], hatch="////",
                           label="the paper: on its GPU, its loop" if x == 0 else "")  # fmt: skip
            left.bar_label(bar, [_shown(original / sparse)], fontsize=7.5, padding=1)
        names = [material.title.replace(" (", "\n(") for material, _ in measured]
        for ax in (left, right):
            ax.set_xticks(range(len(measured)), names, fontsize=8)
            ax.set_xlim(-0.5, len(measured) - 0.5)
        left.set(ylabel="backward time / sparsespike's", yscale="log")
        left.set_ylim(1, 1.3 * left.get_ylim()[1])  # room for the highest bar's number
        plain_numbers(left.yaxis)
        legend_above(figure, left, columns=3)
        _show_saved(right, [_saved(found, one).value for _, found in measured for one in methods])
    return Drawing(
        "fig4a",
        figure,
        "How many times longer the dense methods take for the backward pass of the second layer "
        "(left), and the memory saved against each (right, equation 14). The paper's own "
        "baseline, O(T²) in time, grows faster than any method needs; a claim should rest on the "
        f"clean loop. Why a bar is missing is in the table. {OF_RATIOS}",
        "Backward speed-up and memory saved by data set and dense method.",
    )


def _show_saved(ax: Axes, shown: Sequence[float]) -> None:
    """Names the axis of memory saved, which starts a little below the least of it."""
    start = 5 * math.floor(min(value for value in shown if not math.isnan(value)) / 5 - 0.1)
    ax.set(ylabel=f"memory saved (%),\naxis from {start}", ylim=(start, 100))
    ax.grid(axis="y")


def _drawn_over_training(lines: Mapping[Material, Points]) -> Drawing:
    rows = [
        Row("backward of layer 2\n(ms)", _backward_ms, EVERY),
        Row("backward time\n/ sparsespike's", _backward, DENSE),
    ]
    figure, _ = drawn(lines, "epochs trained", rows)
    return Drawing(
        "fig4b",
        figure,
        "Backward time of the second layer as training goes on (above), and how many times "
        "sparsespike's it is (below). Dense time depends on sizes alone, sparse time on activity "
        f"as well. {OF_TIMES} {OF_RATIOS}",
        "Backward time over training and its ratio, by method, a panel per data set.",
    )


def _drawn_by_size(lines: Mapping[Material, Points]) -> Drawing:
    rows = [
        Row("backward time\n/ sparsespike's", _backward, DENSE),
        Row("forward + backward\n/ sparsespike's", _overall, DENSE),
        Row("", _saved, DENSE, "linear"),
    ]
    figure, axes = drawn(lines, "hidden neurons $N$", rows)
    every = [found for points in lines.values() for _, found in points]
    _show_saved(axes[2 * len(lines)], [_saved(one, of).value for one in every for of in DENSE])
    return Drawing(
        "fig4c",
        figure,
        "How many times longer dense methods take in the second layer, and the memory saved "
        f"against each (equation 14), as both hidden layers grow. {OF_RATIOS}",
        "Backward ratio, overall ratio and memory saved against hidden size, by method and data set.",
    )
