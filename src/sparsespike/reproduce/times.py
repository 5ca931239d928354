"""Times of the methods of a cell, with their spread, and as multiples of sparsespike's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sparsespike.bench.trial import OURS
from sparsespike.pages.figure import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = {
    OURS: "sparsespike",
    "paper-loop": "the paper's loop, O(T²)",
    "clean-dense": "clean dense",
    "fused-dense": "dense, fused by hand",
    "spikingjelly": "SpikingJelly 2",
}
COLOUR_OF = {
    OURS: "orange",
    "paper-loop": "grey",
    "clean-dense": "blue",
    "fused-dense": "green",
    "spikingjelly": "purple",
}
OF_TIMES = "Error bars of a time: its 20th to its 80th percentile over the turns of the methods."
OF_RATIOS = (
    "Error bars of a ratio: from the dense time's 20th percentile over sparsespike's 80th to the "
    "dense time's 80th over sparsespike's 20th."
)


class Taken(NamedTuple):
    """A time or a ratio of times; all nan where it was not taken."""

    value: float  # of medians
    low: float
    high: float


NOT_TAKEN = Taken(math.nan, math.nan, math.nan)


def row_of(found: dict[str, Any], method: str) -> dict[str, Any]:
    """A method's row of a cell's record; {} where the method is not in it."""
    return next((row for row in found["rows"] if row["method"] == method), {})


def time_of(found: dict[str, Any], method: str, phase: str) -> Taken:
    """Milliseconds of a phase ("forward", "backward", "total"): median, 20th and 80th percentile."""
    ms = row_of(found, method).get("ms", {}).get(phase)
    return NOT_TAKEN if ms is None else Taken(ms["median"], ms["p20"], ms["p80"])


def ratio_of(found: dict[str, Any], method: str, phase: str) -> Taken:
    """How many times sparsespike's time: of medians, and of the percentiles farthest apart."""
    theirs, ours = time_of(found, method, phase), time_of(found, OURS, phase)
    return Taken(theirs.value / ours.value, theirs.low / ours.high, theirs.high / ours.low)


def bars(taken: Sequence[Taken]) -> list[list[float]]:
    """The error bars of these as Matplotlib wants them: lengths downwards, lengths upwards."""
    return [[one.value - one.low for one in taken], [one.high - one.value for one in taken]]


def draw(
    ax: Axes, x: Sequence[float], taken: Sequence[Taken], mark: str, colour: str, label: str
) -> None:
    """A line with error bars; what was not taken is left out.

    Args:
        ax: takes it.
        x: of each point.
        taken: as many.
        mark: Matplotlib's format, "o-" for instance.
        colour: of `COLOURS`.
        label: in the legend.
    """
    points = [(at, one) for at, one in zip(x, taken, strict=True) if not math.isnan(one.value)]
    ax.errorbar(
        [at for at, _ in points],
        [one.value for _, one in points],
        bars([one for _, one in points]),
        fmt=mark,
        color=COLOURS[colour],
        capsize=2.5,
        elinewidth=1.0,
        label=label,
    )
