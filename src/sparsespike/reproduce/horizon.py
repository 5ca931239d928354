"""Beyond the paper: cost against the number of steps, when the number of events stays the same."""

from __future__ import annotations

import math

from sparsespike.bench.trial import OURS
from sparsespike.pages.figure import COLOURS, Drawing, panels, plain_numbers, style
from sparsespike.pages.page import Section
from sparsespike.reproduce.claim import Claim
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Scope
from sparsespike.reproduce.timed import CLEAN, SyntheticLayer
from sparsespike.reproduce.times import COLOUR_OF, LABELS, OF_TIMES, draw, row_of, time_of

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
        for method in ("clean-dense", OURS):
            colour, label = COLOUR_OF[method], LABELS[method]
            time = [time_of(one, method, "total") for _, one in points]
            memory = [row_of(one, method)["peak_mib"] or math.nan for _, one in points]
            draw(axes[0], steps, time, "o-", colour, label)
            axes[1].plot(steps, memory, "o-", color=COLOURS[colour])
        axes[0].set(ylabel="forward + backward (ms)")
        axes[1].set(ylabel="peak memory (MiB)")
        for ax in axes:
            ax.set(xscale="log", yscale="log", xlabel="steps $T$")
            plain_numbers(ax.xaxis, ax.yaxis)
        axes[0].legend()
    first, last = points[0], points[-1]
    grew = [
        row_of(last[1], method)["peak_mib"] / row_of(first[1], method)["peak_mib"]
        for method in (OURS, "clean-dense")
        if row_of(last[1], method)["peak_mib"] and row_of(first[1], method)["peak_mib"]
    ]
    said = f" From T = {first[0]:,} to {last[0]:,} memory grows {grew[0]:.3g} times"
    said += f", dense {grew[1]:.3g} times." if len(grew) == 2 else "."
    drawing = Drawing(
        "horizon",
        figure,
        f"Time and peak memory of one layer, N = {NEURONS}, B = {BATCH}, {EVENTS} events per input "
        "unit and sample however long the recording. What happened stays the same: the sparse "
        f"cost grows only by the steps walked, the dense cost with T.{said} {OF_TIMES}",
        "Time and memory against the number of steps for sparse and dense.",
    )
    return Section(TITLE, [drawing])


def claims(scope: Scope, records: Records) -> list[Claim]:
    """One: long recordings fit."""
    longest = records.find(cells(scope)[-1])
    if longest is None:
        return []
    ours, clean = row_of(longest, OURS), row_of(longest, "clean-dense")
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
