"""Beyond the paper: cost against the number of steps, when the number of events stays the same."""

from __future__ import annotations

import math
from typing import Any

from sparsespike.bench.trial import OURS
from sparsespike.pages.figure import COLOURS, Drawing, panels, plain_numbers, style
from sparsespike.pages.page import Section
from sparsespike.reproduce.claim import Claim
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Scope
from sparsespike.reproduce.timed import CLEAN, SyntheticLayer

NAME, TITLE = "horizon", "Long recordings"
NEURONS, BATCH, EVENTS = 200, 8, 10  # events of an input unit of a sample
STEPS = (300, 1000, 3000, 10_000, 30_000, 100_000)


def cells(scope: Scope) -> list[SyntheticLayer]:
    """A layer per length, every one with as many events."""
    steps = STEPS[1:3] if scope.quick else STEPS
    repeats = 2 if scope.quick else 5
    return [SyntheticLayer(NEURONS, BATCH, n, EVENTS / n, CLEAN, repeats) for n in steps]


def section(scope: Scope, records: Records) -> Section:
    """Time and memory against T."""
    points = [(cell.steps, one) for cell in cells(scope) if (one := records.find(cell)) is not None]
    if len(points) < 2:
        return Section(TITLE, ["Not measured yet."])
    with style():
        figure, axes = panels(1, 2, height=3.0)
        steps = [n for n, _ in points]
        for method, colour, label in (
            ("clean-dense", "blue", "clean dense"),
            (OURS, "orange", "sparsespike"),
        ):
            rows = [_row(one, method) for _, one in points]
            time = [row["ms"]["total"]["median"] if row["ms"] else math.nan for row in rows]
            memory = [row["peak_mib"] or math.nan for row in rows]
            axes[0].plot(steps, time, "o-", color=COLOURS[colour], label=label)
            axes[1].plot(steps, memory, "o-", color=COLOURS[colour], label=label)
        axes[0].set(ylabel="forward + backward (ms)")
        axes[1].set(ylabel="peak memory (MiB)")
        for ax in axes:
            ax.set(xscale="log", yscale="log", xlabel="steps $T$")
            plain_numbers(ax.xaxis, ax.yaxis)
        axes[0].legend()
    first, last = points[0], points[-1]
    grew = [
        _row(last[1], method)["peak_mib"] / _row(first[1], method)["peak_mib"]
        for method in (OURS, "clean-dense")
        if _row(last[1], method)["peak_mib"] and _row(first[1], method)["peak_mib"]
    ]
    said = f" From T = {first[0]:,} to {last[0]:,} memory grows {grew[0]:.3g} times"
    said += f", dense {grew[1]:.3g} times." if len(grew) == 2 else "."
    drawing = Drawing(
        "horizon",
        figure,
        f"Time and peak memory of one layer, N = {NEURONS}, B = {BATCH}, {EVENTS} events per input "
        "unit and sample however long the recording. What happened stays the same: the sparse "
        f"cost grows only by the steps walked, the dense cost with T.{said}",
        "Time and memory against the number of steps for sparse and dense.",
    )
    return Section(TITLE, [drawing])


def claims(scope: Scope, records: Records) -> list[Claim]:
    """One: long recordings fit."""
    longest = records.find(cells(scope)[-1])
    if longest is None:
        return []
    ours, clean = _row(longest, OURS), _row(longest, "clean-dense")
    dense = f"{clean['peak_mib']:,.0f} MiB" if clean["peak_mib"] else clean["reason"]
    less = clean["peak_mib"] is None or clean["peak_mib"] > 10 * ours["peak_mib"]
    return [
        Claim(
            "Sparse backpropagation trains on longer data, where dense methods stop at some 2,000 steps",
            "3.1, F.8",
            "out of memory, dense",
            f"{ours['peak_mib']:,.0f} MiB at T = {cells(scope)[-1].steps:,}; dense {dense}",
            "reproduced" if ours["ms"] and less else "not reproduced",
            "one layer; a tenth of the dense method's memory or less counts",
        )
    ]


def _row(found: dict[str, Any], method: str) -> dict[str, Any]:
    return next(row for row in found["rows"] if row["method"] == method)
