"""Drawings: Matplotlib's figures in one style, as SVG inside a page and as files beside a text.

    with style():
        figure, (left, right) = panels(1, 2, height=3.0)
        left.plot(epoch, loss, color=COLOURS["blue"])
        left.set(xlabel="epoch", ylabel="loss (nats)")
    drawing = Drawing("loss", figure, says="The loss falls.", alt="Loss over 9 epochs, from 2.3 to 0.4.")

Inside a page, what is drawn in `INK` takes the text's colour, what is white takes the paper's, and each of
`COLOURS` has a shade of its own on a dark page (`page.css`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsespike.data.whole import write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's colours (2008, https://jfly.uni-koeln.de/color/), which colour-blind readers tell apart, and
# a grey.
COLOURS = {
    "blue": "#0072b2",
    "orange": "#e69f00",
    "green": "#009e73",
    "vermilion": "#d55e00",
    "purple": "#cc79a7",
    "sky": "#56b4e9",
    "yellow": "#f0e442",
    "grey": "#8a8d91",
}
INK, PAPER = "#1f2328", "#ffffff"
WIDTH = 8.75  # inches, of a figure as wide as a page: 840 pixels at the 96 per inch of CSS
FONT = "DejaVu Sans"  # comes with Matplotlib
# Marks of a scatter or raster from which on it is drawn in pixels: each costs some 60 bytes of SVG.
MANY = 2000
_PIXELS_PER_INCH = 192
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLOURS["grey"],
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.6,
    "axes.prop_cycle": None,  # set where Matplotlib is at hand
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "font.family": FONT,
    "font.size": 9.5,
    "grid.alpha": 0.35,
    "grid.color": COLOURS["grey"],
    "grid.linewidth": 0.4,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "mathtext.fontset": "dejavusans",
    "text.color": INK,
    "xtick.color": COLOURS["grey"],
    "xtick.labelcolor": INK,
    "xtick.labelsize": 9,
    "xtick.major.size": 3,
    "xtick.major.width": 0.6,
    "ytick.color": COLOURS["grey"],
    "ytick.labelcolor": INK,
    "ytick.labelsize": 9,
    "ytick.major.size": 3,
    "ytick.major.width": 0.6,
}


@dataclass(frozen=True)
class Drawing:
    """A figure and the words that go with it.

    Attributes:
        name: stem of its files, and of its anchor in a page, figure-NAME: lower-case letters, digits and
            hyphens.
        figure: Matplotlib's, of `panels`.
        says: the sentence under it: what to see. Markup as in `page.Section`.
        alt: what it shows, in plain words, for who cannot see it.

    Raises:
        ValueError: if the name is of other characters, or a text is empty.
    """

    name: str
    figure: Figure
    says: str
    alt: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise ValueError(
                f"name: expected lower-case letters, digits and hyphens, found {self.name!r}"
            )
        for name in ("says", "alt"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name}: expected a text, found none, in drawing {self.name}")


@contextmanager
def style() -> Iterator[None]:
    """Everything drawn inside has the one style; nothing is changed outside.

    Raises:
        ModuleNotFoundError: without Matplotlib.
    """
    matplotlib = _matplotlib()
    cycle = matplotlib.cycler(color=list(COLOURS.values()))
    with matplotlib.rc_context({**_STYLE, "axes.prop_cycle": cycle}):
        yield


def panels(
    rows: int = 1,
    columns: int = 1,
    *,
    height: float,
    width: float = WIDTH,
    sharex: bool = False,
    sharey: bool = False,
    widths: list[float] | None = None,
    heights: list[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """A figure and its axes, row by row; inside `style()`.

    Args:
        rows, columns: of axes, >= 1.
        height, width: inches, > 0; a page shows 96 pixels of each.
        sharex, sharey: whether all axes have one scale.
        widths, heights: ratios of the columns and rows.
    """
    from matplotlib.figure import Figure

    # A figure of its own, not pyplot's: no window, no state left behind.
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(
        rows,
        columns,
        squeeze=False,
        sharex=sharex,
        sharey=sharey,
        width_ratios=widths,
        height_ratios=heights,
    )
    return figure, list(axes.flat)


def plain_numbers(*axes: Axis) -> None:
    """Marks log scales by plain numbers, not powers of ten; call it when everything is drawn.

    Args:
        axes: `ax.xaxis` or `ax.yaxis`, of a log scale; over less than two decades it is marked at 1, 2, 5,
            10, else at 1, 10, 100.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for axis in axes:
        low, high = sorted(axis.get_view_interval())
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        axis.set_minor_locator(NullLocator())


def legend_above(figure: Figure, ax: Axes, columns: int = 4) -> None:
    """One legend for all panels, above them, of what is labelled in one."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, handlelength=2.8)


def svg(figure: Figure, prefix: str = "") -> str:
    """The figure as an <svg> to stand inside a page, transparent, in the page's colours and fonts.

    The same figure gives the same text. Text stays text. An artist that is `rasterized` becomes pixels.

    Args:
        figure: drawn inside `style()`.
        prefix: goes before every id, so that those of two figures in one page differ.
    """
    text = _saved(figure, "svg", transparent=True, fonttype="none").decode()
    text = text[text.index("<svg") :]
    for waste in (
        r"<metadata>.*?</metadata>",
        r"<!--.*?-->",
        r"<style.*?</style>",
        r"<defs>\s*</defs>",
    ):
        text = re.sub(waste, "", text, flags=re.DOTALL)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(
        r'<svg [^>]*?(width="[^"]*pt" height="[^"]*pt"[^>]*|viewBox[^>]*)>', _opened, text
    )
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", text)
    text = re.sub(r' (d|x|y|transform|width|height)="[^"]*"', _rounded, text)
    text = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", f"'{FONT}', Verdana, sans-serif", text)
    text = text.replace(INK, "currentColor").replace(PAPER, "var(--paper)")
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    return re.sub(r">\s+<", "><", re.sub(r"[ \n]*\n *", "\n", text)).strip()


def save(drawing: Drawing, folder: Path) -> list[Path]:
    """Writes NAME.svg and NAME.png on white, the latter at twice a page's pixels, each written whole.

    The same figure gives the same bytes.

    Args:
        drawing: what to write.
        folder: of the files; made if missing.

    Returns:
        The two paths.

    Raises:
        OSError: if one cannot be written; the previous file is intact.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind in ("svg", "png"):
        path = folder / f"{drawing.name}.{kind}"
        # Glyphs as outlines: a file by itself must look alike where the font is missing.
        write(path, _saved(drawing.figure, kind, transparent=False, fonttype="path"))
        paths.append(path)
    return paths


def _saved(figure: Figure, kind: str, *, transparent: bool, fonttype: str) -> bytes:
    matplotlib = _matplotlib()
    # No date, no version: the same figure is the same file.
    nothing = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    settings = {**_STYLE, "svg.fonttype": fonttype, "svg.hashsalt": "sparsespike"}
    del settings["axes.prop_cycle"]
    buffer = io.BytesIO()
    with matplotlib.rc_context(settings):
        figure.savefig(
            buffer,
            format=kind,
            dpi=_PIXELS_PER_INCH,
            metadata=nothing,
            transparent=transparent,
            facecolor="none" if transparent else PAPER,
        )
    # Once and for all: laid out again, axes would move by a fraction of a point.
    figure.set_layout_engine("none")
    return buffer.getvalue()


def _opened(found: re.Match[str]) -> str:
    """The opening tag: as wide as drawn where there is room, else as the page has it."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', found[0])
    assert box is not None
    # Points to CSS pixels; a page's style scrolls rather than shrinks below what can be read.
    wide, high = float(box[1]) * 4 / 3, float(box[2]) * 4 / 3
    return (
        f'<svg viewBox="0 0 {box[1]} {box[2]}" style="width:{wide:.0f}px;aspect-ratio:{wide:.0f}/{high:.0f};'
        f"min-width:min({wide:.0f}px,var(--narrowest));"
        'stroke-linejoin:round;stroke-linecap:butt" aria-hidden="true">'
    )


def _rounded(found: re.Match[str]) -> str:
    """An attribute with its numbers to a hundredth of a point."""
    short = re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), found[0])
    return re.sub(r"\s*\n\s*", " ", short)


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a figure needs Matplotlib: pip install 'sparsespike[plot]'"
        ) from error
    return matplotlib
