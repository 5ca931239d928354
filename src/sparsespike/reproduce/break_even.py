"""Beyond the paper: the share of active entries from which on dense methods are faster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sparsespike.bench.crossing import crossing
from sparsespike.bench.layer import LayerBench
from sparsespike.bench.trial import Method
from sparsespike.pages.figure import COLOURS, Drawing, legend_above, panels, plain_numbers, style
from sparsespike.pages.page import Section, Table
from sparsespike.reproduce.cell import Cell, Place
from sparsespike.reproduce.claim import Claim
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Scope
from sparsespike.reproduce.timed import START_S, SyntheticLayer, measured
from sparsespike.reproduce.times import COLOUR_OF, LABELS, OF_RATIOS, draw, ratio_of

NAME, TITLE = "break-even", "Where sparse stops paying"
METHODS: tuple[Method, ...] = ("sparsespike", "clean-dense", "fused-dense")
SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
PHASES = ("forward", "backward")


@dataclass(frozen=True)
class ConvLayer(Cell):
    """Times of a convolution, 14 × 14, 32 to 64 channels by 3 × 3, on synthetic spikes.

    Attributes:
        share: of entries that spike and that are active, in input and layer.
        methods: what is compared.
        repeats: timed turns of each.
    """

    share: float
    methods: tuple[Method, ...]
    repeats: int
    alone: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """See `Cell`."""
        return f"time a convolution, {self.share:.1%}"

    @property
    def seconds(self) -> float:
        """See `Cell`."""
        return len(self.methods) * (START_S + 2.0 * self.repeats)

    def compute(self, place: Place) -> dict[str, Any]:
        """The case, and a row per method."""
        return measured(
            LayerBench(
                connection="conv2d",
                preset="14x14-k3",
                rate=self.share,
                active=self.share,
                activity=self.share,
                methods=self.methods,
                repeats=self.repeats,
                device=place.device,
            )
        )


def cells(scope: Scope) -> list[Cell]:
    """Both layers at every share."""
    return [cell for line in _lines(scope).values() for cell in line]


def section(scope: Scope, records: Records) -> Section:
    """Speed-up against the share of active entries, with the crossings."""
    found = {
        label: [(cell.share, one) for cell in line if (one := records.find(cell)) is not None]
        for label, line in _lines(scope).items()
    }
    if any(len(points) < 2 for points in found.values()):
        return Section(TITLE, ["Not measured yet."])
    rows = []
    with style():
        figure, axes = panels(1, 2, height=3.4, sharey=True)
        for ax, (label, points) in zip(axes, found.items(), strict=True):
            for method in METHODS[1:]:
                for phase, mark in zip(PHASES, ("o--", "o-"), strict=True):
                    known = [(share, ratio_of(one, method, phase)) for share, one in points]
                    known = [(share, ratio) for share, ratio in known if ratio.value > 0]
                    if not known:
                        continue
                    share, ratio = zip(*known, strict=True)
                    named = f"{LABELS[method]}: {phase}"
                    draw(ax, [100 * x for x in share], ratio, mark, COLOUR_OF[method], named)
                    at = crossing(list(share), [1 / one.value for one in ratio])
                    rows.append([label, LABELS[method], phase, _share(at, share)])
            ax.axhline(1, color=COLOURS["grey"], linewidth=1)
            ax.set(xscale="log", yscale="log", xlabel="spikes and active entries (%)", title=label)
        for ax in axes:
            plain_numbers(ax.xaxis, ax.yaxis)
        axes[0].set_ylabel("dense time / sparsespike's")
        legend_above(figure, axes[0], columns=2)
    drawing = Drawing(
        "break-even",
        figure,
        "How many times longer dense methods take, against the share of entries that spike and "
        "that are active; below the grey line dense is faster. Trained layers of the paper have "
        f"0.8 to 1.7 %. {OF_RATIOS}",
        "Speed-up against the share of active entries, for a linear layer and a convolution.",
    )
    header = ("layer", "against", "phase", "sparse is faster below")
    return Section(TITLE, [drawing, Table(header, rows)])


def claims(scope: Scope, records: Records) -> list[Claim]:
    """None: the paper does not look there."""
    return []


def _lines(scope: Scope) -> dict[str, list[Any]]:
    shares = SHARES[::2] if scope.quick else SHARES
    repeats = 2 if scope.quick else 5
    methods = METHODS[:2] if scope.quick else METHODS
    batch = 64 if scope.quick else 256
    return {
        f"Linear 200 to 200, B = {batch}": [
            SyntheticLayer(200, batch, 100, share, methods, repeats) for share in shares
        ],
        "Conv2d 32 to 64 by 3 × 3, B = 32": [
            ConvLayer(share, methods, repeats) for share in shares
        ],
    }


def _share(at: float, shares: tuple[float, ...]) -> str:
    if at == 0:
        return f"{shares[0]:.1%} or less"
    return f"{shares[-1]:.0%} or more" if at >= shares[-1] else f"{at:.1%}"
