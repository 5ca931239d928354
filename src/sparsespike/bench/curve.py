"""`sparsespike bench layer --curve`: one layer from 0.1 % to 30 % of spikes and active entries.

Every share goes through the runner of the other benchmarks; where the ratio to a dense method passes 1 is
interpolated between the shares, straight in logarithms (`crossing.py`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from sparsespike.bench.crossing import crossing
from sparsespike.bench.layer import LayerBench
from sparsespike.bench.runner import Row
from sparsespike.bench.trial import OURS

SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
DENSE = ("clean-dense", "fused-dense")
PHASES = ("forward", "backward", "total")


class Point(NamedTuple):
    """What was found at one share.

    Attributes:
        share: of entries that spike, and that are active, in input and layer.
        case: what the case is, activity reached among it.
        rows: the results.
    """

    share: float
    case: dict[str, Any]
    rows: list[Row]


def benches(bench: LayerBench) -> list[tuple[float, LayerBench]]:
    """The benchmark of every share; a layer whose input needs no gradient stays one.

    Raises:
        ValueError: if neither dense method is among its methods, or sparsespike is not.
    """
    methods = tuple(method for method in bench.methods if method in (OURS, *DENSE))
    if OURS not in methods or len(methods) < 2:
        raise ValueError(
            f"methods: expected {OURS}, and {' or '.join(DENSE)}, for a curve, found {bench.methods}"
        )
    learning = bench.sizes().active > 0 if bench.connection == "conv2d" else bench.active != 0
    return [
        (
            share,
            dataclasses.replace(
                bench,
                curve=False,
                methods=methods,
                rate=share,
                active=share if learning else 0.0,
                activity=share,
            ),
        )
        for share in SHARES
    ]


def break_even(points: list[Point]) -> dict[str, dict[str, float]]:
    """For each dense method and phase the share below which sparsespike is faster, see `crossing`."""
    found: dict[str, dict[str, float]] = {}
    for method in DENSE:
        timed = [(point.share, _ms(point, OURS), _ms(point, method)) for point in points]
        both = [(share, ours, dense) for share, ours, dense in timed if ours and dense]
        if both:
            share = [share for share, _, _ in both]
            found[method] = {
                phase: crossing(share, [ours[phase] / dense[phase] for _, ours, dense in both])
                for phase in PHASES
            }
    return found


def table(title: str, caption: str, points: list[Point]) -> Table:
    """Medians in milliseconds, and how many times longer the dense methods take."""
    # Seven columns in 80 characters: what lies between them is the box's own.
    shown = Table(title=title, caption=caption, box=SIMPLE_HEAD, pad_edge=False, padding=0)
    shown.title_justify = shown.caption_justify = "left"
    shown.add_column("share\nactive", justify="right", no_wrap=True)
    for method in (OURS, *DENSE):
        for phase in PHASES[:2]:
            shown.add_column(f"{method}\n{phase} ms", justify="right", no_wrap=True)
    for point in points:
        ours = _ms(point, OURS)
        cells = [f"{point.share:.1%}\n{point.case['activity']:.2%}"]
        for method in (OURS, *DENSE):
            ms = _ms(point, method)
            for phase in PHASES[:2]:
                times = f"\n{ms[phase] / ours[phase]:.3g}×" if ms and ours else ""
                cells.append(f"{ms[phase]:.3g}{times}" if ms else "-")
        shown.add_row(*cells)
    return shown


def told(points: list[Point]) -> list[str]:
    """The break-even points in words, one line per dense method."""
    return [
        f"{method}: {OURS} is faster below "
        + ", ".join(f"{_share(at, points)} {phase}" for phase, at in phases.items())
        for method, phases in break_even(points).items()
    ]


def _share(at: float, points: list[Point]) -> str:
    if at == 0:
        return f"{points[0].share:.1%} or less"
    if at >= points[-1].share:
        return f"{points[-1].share:.0%} or more"
    return f"{at:.2%}"


def _ms(point: Point, method: str) -> dict[str, float]:
    """Median of every phase; empty if the method was not timed."""
    row = next((row for row in point.rows if row.method == method), None)
    return {} if row is None else {phase: taken["median"] for phase, taken in row.ms.items()}
