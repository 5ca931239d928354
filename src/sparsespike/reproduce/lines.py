"""Panels of lines: a column per data set, a row per quantity, a line per method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sparsespike.pages.figure import legend_above, panels, plain_numbers, style
from sparsespike.reproduce.scope import Material
from sparsespike.reproduce.times import COLOUR_OF, LABELS, Taken, draw, row_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What a data set's lines go through: x, and the record of the cell there.
Points = Sequence[tuple[int, dict[str, Any]]]


class Row(NamedTuple):
    """What a row of panels shows, a panel per data set."""

    label: str
    of: Callable[[dict[str, Any], str], Taken]
    methods: Sequence[str]
    scale: Literal["log", "linear"] = "log"


def drawn(
    lines: Mapping[Material, Points], xlabel: str, rows: Sequence[Row]
) -> tuple[Figure, list[Axes]]:
    """A column of panels per data set, whose y-axes are those of the row."""
    columns = len(lines)
    with style():
        figure, axes = panels(len(rows), columns, height=0.9 + 1.95 * len(rows))
        for i, row in enumerate(rows):
            first = axes[i * columns]
            for ax, (material, points) in zip(axes[i * columns :], lines.items(), strict=False):
                for method in row.methods:
                    if any(row_of(found, method) for _, found in points):
                        taken = [row.of(found, method) for _, found in points]
                        at = [n for n, _ in points]
                        draw(ax, at, taken, "o-", COLOUR_OF[method], LABELS[method])
                if ax is not first:
                    ax.sharey(first)
                    ax.tick_params(labelleft=False)
                ax.set(yscale=row.scale, title="" if i else material.title)
                ax.set_xlabel(xlabel if i == len(rows) - 1 else "")
                ax.locator_params(axis="x", integer=True)
                ax.xaxis.set_major_formatter("{x:,.0f}")
                ax.grid(axis="y")
            first.set_ylabel(row.label)
            if row.scale == "log":
                plain_numbers(first.yaxis)
        legend_above(figure, axes[0], columns=3)
    return figure, axes


def not_timed(lines: Mapping[Material, Points], what: str) -> list[str]:
    """A sentence on the points that are missing, and why the first of each line is."""
    said = []
    for material, points in lines.items():
        for method in LABELS:
            rows = [(n, row_of(found, method)) for n, found in points]
            without = [(n, row["reason"]) for n, row in rows if row and not row["ms"]]
            if without:
                at = ", ".join(f"{n:,}" for n, _ in without)
                said.append(
                    f"{LABELS[method]} on {material.title} at {at} {what} (at {without[0][0]:,}: "
                    f"{without[0][1]})"
                )
    return [f"Not timed: {'; '.join(said)}."] if said else []
