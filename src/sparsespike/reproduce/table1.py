"""Table 1: how the two gradient sums grow with batch, time, neurons and activity, counted and timed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sparsespike.bench.trial import OURS
from sparsespike.pages.figure import COLOURS, Drawing, legend_above, panels, plain_numbers, style
from sparsespike.pages.page import Section, Table
from sparsespike.reproduce.claim import Claim
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Scope
from sparsespike.reproduce.timed import CLEAN, SyntheticLayer
from sparsespike.reproduce.times import COLOUR_OF, OF_TIMES, draw, time_of

NAME, TITLE = "table1", "Table 1: complexity"
NEURONS, BATCH, STEPS, SHARE = 400, 128, 100, 0.01
# Of each quantity: the values of the full reproduction, every second of which the quick one takes.
SWEEPS: dict[str, tuple[float, ...]] = {
    "neurons": (100, 200, 400, 800, 1600),
    "batch_size": (16, 32, 64, 128, 256),
    "steps": (50, 100, 200, 400, 800),
    "share": (0.0025, 0.005, 0.01, 0.02, 0.04),
}
SHOWN = {
    "neurons": "neurons $N$",
    "batch_size": "samples $B$",
    "steps": "steps $T$",
    "share": "active share $ρ$ (%)",
}
# Exponents of Table 1: of the original sums, and of the sparse ones.
PAPER = {"neurons": (2, 2), "batch_size": (1, 1), "steps": (1, 1), "share": (0, 1)}


class Exponent(NamedTuple):
    """Of a power law fitted by least squares to logarithms."""

    value: float
    error: float  # standard error of the slope; nan of two points

    def __str__(self) -> str:
        spread = "" if math.isnan(self.error) else f" ± {self.error:.2f}"
        return f"{self.value:.2f}{spread}"


def exponent(x: Sequence[float], y: Sequence[float]) -> Exponent:
    """Slope of log y over log x."""
    left, right = np.log(x), np.log(y)
    slope, offset = np.polyfit(left, right, 1)
    free = len(x) - 2
    if free < 1:
        return Exponent(float(slope), math.nan)
    residual = right - slope * left - offset
    error = math.sqrt(residual @ residual / free / ((left - left.mean()) ** 2).sum())
    return Exponent(float(slope), error)


def cells(scope: Scope) -> list[SyntheticLayer]:
    """A layer per value of each quantity, the others held."""
    return [cell for name in SWEEPS for cell in _sweep(name, scope)]


def section(scope: Scope, records: Records) -> Section:
    """Operations and times against each quantity, and the exponents fitted to them."""
    found = {name: _found(name, scope, records) for name in SWEEPS}
    if any(len(points) < 2 for points in found.values()):
        return Section(TITLE, ["Not measured yet."])
    drawing = _drawing(found)
    rows = [_row(name, points) for name, points in found.items()]
    header = ("grows with", "paper, original", "paper, sparse", "terms taken", "backward", "dense")
    forms = sorted({one["operations"]["form"] for points in found.values() for _, one in points})
    return Section(
        TITLE,
        [
            "Exponents of each quantity. **Terms taken** counts the terms of the forms of ∇W and "
            "∇S that the kernels of the CPU choose for the events at hand (`plan.py`), **backward** "
            "and **dense** are measured times of the event-driven and of the clean dense backward "
            f"pass, {records.processor}.",
            Table(header, rows),
            drawing,
            f"Forms taken: {'; '.join(forms)}. All are equal; the cheapest is picked per call.",
        ],
    )


def claims(scope: Scope, records: Records) -> list[Claim]:
    """One per sum: the terms are ρ times the original's."""
    points = [one for name in SWEEPS for _, one in _found(name, scope, records)]
    if not points:
        return []
    ratio = [
        (one["operations"]["taken_weight"] + one["operations"]["taken_input"])
        / (2 * one["operations"]["dense"])
        / one["case"]["activity"]
        for one in points
    ]
    worst = max(ratio)
    return [
        Claim(
            "∇W takes O(ρ_{l+1} B T N²) terms, ∇S O(ρ_l B T N²), in place of O(B T N²)",
            "Table 1",
            "ρ",
            f"{min(ratio):.2f} to {worst:.2f} times ρ, {len(points)} sizes",
            "reproduced" if worst < 1.3 else "partly",
            "terms of the forms taken, over those of the dense sums",
        )
    ]


def _drawing(found: dict[str, list[tuple[float, dict[str, Any]]]]) -> Drawing:
    with style():
        figure, axes = panels(2, len(SWEEPS), height=5.0)
        for column, (name, points) in enumerate(found.items()):
            x = [value * (100 if name == "share" else 1) for value, _ in points]
            counted, timed = axes[column], axes[len(SWEEPS) + column]
            for label, colour, mark, of in COUNTED:
                millions = [one["operations"][of] / 1e6 for _, one in points]
                counted.plot(x, millions, mark, color=COLOURS[colour], label=label)
            for label, method in TIMED.items():
                time = [time_of(one, method, "backward") for _, one in points]
                draw(timed, x, time, "o-", COLOUR_OF[method], label)
            for ax in (counted, timed):
                ax.set(xscale="log", yscale="log", xlabel=SHOWN[name])
                plain_numbers(ax.yaxis)
                ax.set_xticks(x, [f"{value:,g}" for value in x])
                ax.xaxis.minorticks_off()
        axes[0].set_ylabel("terms of a sum (millions)")
        axes[len(SWEEPS)].set_ylabel("backward pass (ms)")
        legend_above(figure, axes[0])
        handles, labels = axes[len(SWEEPS)].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, handlelength=2.8)
    return Drawing(
        "table1",
        figure,
        "Terms of the sums (above, counted) and backward time (below, measured) of one layer "
        "against each quantity, both axes logarithmic; the others at "
        f"N = {NEURONS}, B = {BATCH}, T = {STEPS}, ρ = 1 %. Lines that are parallel grow alike; "
        f"the sums of ∇W and ∇S have as good as equally many terms. {OF_TIMES}",
        "Eight log-log panels: terms and backward time of sparse and dense sums against N, B, T and ρ.",
    )


# In the legend, colour, mark, and name among the operations of a cell.
COUNTED = (
    ("of either gradient, dense", "blue", "o-", "dense"),
    ("of ∇W, sparse", "green", "o-", "taken_weight"),
    ("of ∇S, sparse", "vermilion", "s--", "taken_input"),
)
TIMED = {"of both gradients, clean dense": "clean-dense", "of both gradients, sparsespike": OURS}


def _row(name: str, points: list[tuple[float, dict[str, Any]]]) -> list[str]:
    # Against the activity that was reached, which is near the one asked for.
    x = [one["case"]["activity"] if name == "share" else value for value, one in points]
    taken = [
        one["operations"]["taken_weight"] + one["operations"]["taken_input"] for _, one in points
    ]
    fitted = [exponent(x, taken)]
    for method in (OURS, "clean-dense"):
        fitted.append(exponent(x, [time_of(one, method, "backward").value for _, one in points]))
    original, sparse = PAPER[name]
    label = {"neurons": "N", "batch_size": "B", "steps": "T", "share": "ρ"}[name]
    return [label, str(original), str(sparse), *map(str, fitted)]


def _sweep(name: str, scope: Scope) -> list[SyntheticLayer]:
    values = SWEEPS[name][1:4:2] if scope.quick else SWEEPS[name]
    sizes = {"neurons": NEURONS, "batch_size": BATCH, "steps": STEPS, "share": SHARE}
    return [
        SyntheticLayer(**{**sizes, name: value}, methods=CLEAN, repeats=2 if scope.quick else 7)
        for value in values
    ]


def _found(name: str, scope: Scope, records: Records) -> list[tuple[float, dict[str, Any]]]:
    found = [(getattr(cell, name), records.find(cell)) for cell in _sweep(name, scope)]
    return [(value, one) for value, one in found if one is not None]
