"""Looking at a sample: `draw` makes a picture of it, `terminal` shows it where the command runs.

Both have a raster of units over time, the events over time, and for a camera, a sensor of shape
(P, H, W), the image they add up to: their number, and of two polarities ON minus OFF.
"""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from sparsespike.data.dataset import EventDataset
from sparsespike.data.recordings import Sensor
from sparsespike.data.whole import write

ON, OFF, INK = "#d1495b", "#00798c", "#2b2d42"
BINS = 100  # of the events over time
RASTER_ROWS = 16  # of the terminal, of four dots each
GUTTER = 8  # columns of the terminal left of the raster
GAP, HEADING = 4, 30  # columns between two images, and what the words above one take
# Colours of few to many events in a character or pixel of the terminal.
RAMP = ("#3b6fa0", "#2a9d8f", "#8ac926", "#ffd60a")
ON_RAMP = ("#8c3a46", "#b8434f", "#e05260", "#ff8a80")
OFF_RAMP = ("#1f5f7a", "#1f83a8", "#2fa8d5", "#7fd8ff")
BRAILLE = 0x2800
# Bits of the 4 x 2 dots of a Braille character, from U+2800.
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
BARS = " ▁▂▃▄▅▆▇█"


class _Image(NamedTuple):
    """An image of a camera's pixels."""

    name: str
    values: NDArray[np.int64]  # (H, W)
    signed: bool  # whether they may be negative


class _Sample(NamedTuple):
    """One recording and what is known of it."""

    unit: NDArray[np.int64]  # (n_events,)
    time: NDArray[np.int64]  # (n_events,), microseconds
    sensor: Sensor
    n_units: int
    title: str

    @property
    def end(self) -> int:
        """Microseconds after its last event; at least one."""
        return int(self.time.max(initial=0)) + 1

    @property
    def signed(self) -> bool:
        """Whether it has an ON and an OFF polarity, 1 and 0."""
        return len(self.sensor) == 3 and self.sensor[0] == 2

    @property
    def sign(self) -> NDArray[np.int64]:
        """(n_events,) +1, and -1 of what is OFF."""
        off = self.unit < self.n_units // 2
        return np.where(off & self.signed, -1, 1)

    def images(self) -> list[_Image]:
        """What a camera's events add up to; [] of anything else."""
        if len(self.sensor) != 3:
            return []
        _, height, width = self.sensor
        pixel = self.unit % (height * width)
        kinds = [("events", np.ones_like(self.sign), False), ("ON minus OFF", self.sign, True)]
        images = []
        for name, weight, signed in kinds[: 1 + self.signed]:
            image = np.zeros(height * width, np.int64)
            np.add.at(image, pixel, weight)
            images.append(_Image(name, image.reshape(height, width), signed))
        return images


# ---- a picture ---------------------------------------------------------------------------------


def draw(dataset: EventDataset, index: int, path: Path) -> None:
    """Writes a picture of one sample, atomically.

    Args:
        dataset: as it gives its samples: after its transforms.
        index: the sample, in [0, n).
        path: a PNG, replaced if it exists.

    Raises:
        ValueError: if the index is out of range, the name no PNG's, or the sample damaged.
        ModuleNotFoundError: without Matplotlib.
        OSError: if it cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise ValueError(f"path: expected a name that ends in .png, found {str(path)!r}")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a picture needs Matplotlib: pip install 'sparsespike[plot]'"
        ) from error
    sample = _sample(dataset, index)
    images = sample.images()
    # A figure of its own, not pyplot's: no window, no state left behind.
    figure = Figure(figsize=(10.5 if images else 8, 5), dpi=130, layout="constrained")
    figure.suptitle(sample.title, fontsize=11)
    left = figure
    if images:
        left, right = figure.subfigures(1, 2, width_ratios=(2, 1), squeeze=False)[0]
        _draw_images(right, images)
    raster, rate = left.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _draw_events(raster, rate, sample)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write(path, buffer.getvalue())


def _draw_events(raster: Any, rate: Any, sample: _Sample) -> None:
    """The raster, and beneath it the events over time."""
    end = sample.end / 1e3
    # The more events, the smaller and then the fainter, so that dense and less dense still differ.
    n_events = max(1, len(sample.unit))
    size, alpha = float(np.clip(8000 / n_events, 0.8, 12)), float(np.clip(6e4 / n_events, 0.05, 1))
    if sample.signed:
        groups = (("ON", ON, sample.sign > 0), ("OFF", OFF, sample.sign < 0))
    else:
        groups = (("", INK, sample.sign > 0),)
    times = [sample.time[mine] / 1e3 for _, _, mine in groups]
    for (name, colour, mine), at in zip(groups, times, strict=True):
        style = {"s": size, "color": colour, "alpha": alpha, "linewidths": 0, "label": name}
        raster.scatter(at, sample.unit[mine], **style)
    colours = [colour for _, colour, _ in groups]
    rate.hist(times, BINS, range=(0, end), stacked=True, color=colours)
    if sample.signed:
        legend = raster.legend(loc="upper right", markerscale=(20 / size) ** 0.5, framealpha=0.9)
        for handle in legend.legend_handles:
            handle.set_alpha(1)
    raster.set(ylabel="unit", ylim=(-0.5, sample.n_units - 0.5))
    rate.set(xlabel="time (ms)", xlim=(0, end), ylabel=f"events per\n{end / BINS:.3g} ms")
    for axes in (raster, rate):
        axes.spines[["top", "right"]].set_visible(False)


def _draw_images(panel: Any, images: list[_Image]) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    contrast = LinearSegmentedColormap.from_list("contrast", [OFF, "#f7f7f7", ON])
    places = panel.subplots(len(images), squeeze=False)[:, 0]
    for axes, image in zip(places, images, strict=True):
        peak = max(1, int(np.abs(image.values).max()))
        colours = contrast if image.signed else "magma"
        shown = axes.imshow(
            image.values, cmap=colours, vmin=-peak if image.signed else 0, vmax=peak
        )
        side = "right" if len(images) > 1 else "bottom"
        whole = MaxNLocator("auto", integer=True)
        panel.colorbar(shown, ax=axes, label=f"{image.name} of a pixel", location=side, ticks=whole)
        axes.set(ylabel="y (pixels)")
    places[-1].set(xlabel="x (pixels)")


# ---- the terminal ------------------------------------------------------------------------------


def terminal(dataset: EventDataset, index: int, width: int = 80) -> Text:
    """One sample in characters: dots where there are events, brighter where there are more.

    A dot of the raster stands for some units and some time; unit 0 is at the bottom. The pixels of
    the image are half a character each, added up in squares if they are too many.

    Args:
        dataset, index: see `draw`.
        width: columns, >= 40.

    Returns:
        Lines for a `rich.console.Console` to print, or `.plain`.

    Raises:
        ValueError: if the index or the width is out of range, or the sample damaged.
    """
    if width < 40:
        raise ValueError(f"width: expected at least 40 columns, found {width}")
    sample = _sample(dataset, index)
    columns = width - GUTTER
    lines = [Text(line, style="bold") for line in textwrap.wrap(sample.title, width)]
    lines += _raster_lines(sample, columns)
    at = sample.time * columns // sample.end
    n_of = np.bincount(at, minlength=columns)
    height = -(-n_of * (len(BARS) - 1) // max(1, n_of.max()))
    lines.append(_line("events", Text("".join(BARS[h] for h in height), style=RAMP[0])))
    lines.append(Text(" " * (GUTTER - 1) + "└" + "─" * columns))
    end = f"{(sample.end - 1) / 1e3:,.1f} ms"
    lines.append(Text(" " * GUTTER + f"0{end:>{columns - 1}}"))
    images = sample.images()
    beside = (columns - GAP) // 2 >= HEADING
    for shown in [images] if beside else [[image] for image in images]:
        drawn = [_image_lines(image, (columns - GAP) // len(shown)) for image in shown]
        rows = zip(*drawn, strict=True)
        lines += [Text(""), *(Text(" " * GUTTER) + Text(" " * GAP).join(row) for row in rows)]
    return Text("\n", no_wrap=True).join(lines)


def _raster_lines(sample: _Sample, columns: int) -> list[Text]:
    rows = RASTER_ROWS
    dots = np.zeros((4 * rows, 2 * columns), bool)
    x = sample.time * (2 * columns) // sample.end
    y = 4 * rows - 1 - sample.unit * (4 * rows) // sample.n_units
    dots[y, x] = True
    n_of = np.zeros((rows, columns), np.int64)
    np.add.at(n_of, (y // 4, x // 2), 1)
    signs = np.zeros_like(n_of)
    np.add.at(signs, (y // 4, x // 2), sample.sign)
    level = _levels(np.where(signs < 0, -n_of, n_of))
    bits = (dots.reshape(rows, 4, columns, 2) * DOTS[:, None, :]).sum((1, 3))
    names = {0: f"{sample.n_units - 1}", rows - 1: "0", rows // 2: "unit"}
    if sample.signed:
        names |= {rows // 4: "ON", rows * 3 // 4: "OFF"}
    lines = []
    for row in range(rows):
        cells = Text()
        for code, value in zip(bits[row], level[row], strict=True):
            cells.append(chr(BRAILLE + code) if code else " ", _colour(value, sample.signed))
        lines.append(_line(names.get(row, ""), cells))
    return lines


def _image_lines(image: _Image, columns: int) -> list[Text]:
    """Two pixels a character, the upper in its colour and the lower in that of its background."""
    height, width = image.values.shape
    square = -(-width // columns)
    # Rows to a multiple of two squares, the halves of a character, columns to one of one square.
    padded = np.pad(image.values, [(0, -height % (2 * square)), (0, -width % square)])
    height, width = padded.shape[0] // square, padded.shape[1] // square
    level = _levels(padded.reshape(height, square, width, square).sum((1, 3)))
    whose = "a pixel" if square == 1 else f"{square} x {square} pixels"
    lines = [Text(f"{image.name} of {whose}")]
    for upper, lower in zip(level[::2], level[1::2], strict=True):
        cells = Text()
        for top, bottom in zip(upper, lower, strict=True):
            above, below = _colour(top, image.signed), _colour(bottom, image.signed)
            if above == below:
                cells.append("█" if above else " ", above)
            elif above and below:
                cells.append("▀", f"{above} on {below}")
            else:
                cells.append("▀" if above else "▄", above or below)
        lines.append(cells)
    for line in lines:
        line.align("left", max(map(len, lines)))
    return lines


def _levels(n_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Signed levels 1 to 4 of numbers of events, by their square root; 0 of none."""
    peak = max(1, int(np.abs(n_of).max(initial=0)))
    return np.sign(n_of) * np.ceil(len(RAMP) * np.sqrt(np.abs(n_of) / peak)).astype(np.int64)


def _colour(level: int, signed: bool) -> str:
    if level == 0:
        return ""
    ramp = (ON_RAMP if level > 0 else OFF_RAMP) if signed else RAMP
    return ramp[abs(level) - 1]


def _line(name: str, cells: Text) -> Text:
    return Text(f"{name:>{GUTTER - 2}} │").append_text(cells)


def _sample(dataset: EventDataset, index: int) -> _Sample:
    recordings = dataset.recordings([index])
    about, label = dataset.about, int(recordings.label[0])
    sample = _Sample(
        recordings.unit.astype(np.int64),
        recordings.time.astype(np.int64),
        about.sensor,
        about.n_units,
        "",
    )
    named = f" ({about.classes[label]})" if about.classes else ""
    known = [f"{name} {value[0]}" for name, value in recordings.meta.items()]
    n_events = f"{len(sample.unit):,} events in {(sample.end - 1) / 1e3:,.1f} ms"
    parts = [f"{dataset.name}, sample {index}", f"class {label}{named}", *known, n_events]
    return sample._replace(title="  ·  ".join(parts))
