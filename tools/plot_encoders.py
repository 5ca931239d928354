"""Draws what the encoders make of data that is no events: python tools/plot_encoders.py docs/encoders.png"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import SubFigure
from numpy.typing import NDArray

from sparsespike import data
from sparsespike.data import encoders, idx

ON, OFF, INK = "#d1495b", "#00798c", "#222222"
IMAGES = "t10k-images-idx3-ubyte.gz"  # of the sample of Fashion-MNIST
IMAGE = 88  # of those: a shoe, its upper bright and its sole dark
MAP, DARK = "magma", "#000004"  # of pixels, and its darkest colour


def main() -> None:
    """Draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", type=Path, help="PNG to write")
    given = parser.parse_args()
    plt.rcParams.update({"font.size": 8.5, "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(11.5, 7), layout="constrained")
    rows: Any = figure.subfigures(2, 2, wspace=0.04, hspace=0.05, height_ratios=(0.72, 1))
    panels = rows.ravel()
    image = idx.read_images(Path(data.__file__).parent / "sample" / IMAGES)[IMAGE]
    draw_latency(panels[0], image)
    draw_rate(panels[1], image)
    draw_delta(panels[2])
    draw_population(panels[3])
    figure.savefig(given.figure, dpi=140)


def draw_latency(panel: SubFigure, image: NDArray[np.uint8]) -> None:
    """An image, and the one spike of each of its pixels."""
    unit, time, _ = encoders.latency_events(image[None])
    text = "First-spike latency: one spike a pixel, the brighter the sooner"
    title(panel, text, "latency_events; a pixel of 51 or less is silent")
    draw_raster(panel, image, unit, time, 82)


def draw_rate(panel: SubFigure, image: NDArray[np.uint8]) -> None:
    """The same image as rates."""
    unit, time, _ = encoders.poisson_events(image[None] / 255, max_rate=100.0, duration=0.1, seed=0)
    text = "Rate: spikes at random, the brighter the more"
    title(panel, text, "poisson_events; 100 Hz at 255")
    draw_raster(panel, image, unit, time, 100)


def draw_delta(panel: SubFigure) -> None:
    """A signal with its levels, and the two units below it."""
    title(
        panel,
        "Send-on-delta: an event per threshold of change, none at rest",
        "delta_events; threshold 0.15, 500 samples a second",
    )
    at = np.arange(0, 1, 1 / 500)
    x = np.where(at < 0.72, np.sin(2 * np.pi * 2.2 * at) * np.exp(-2 * at) + 0.9 * (at > 0.3), 0)
    x = np.where(at < 0.72, x, x[at < 0.72][-1])
    unit, time, _ = encoders.delta_events(x[None, :, None], sample_rate=500.0, threshold=0.15)
    above, below = panel.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    level = x[0] + 0.15 * np.cumsum(np.where(unit == 1, 1, -1))
    above.plot(at * 1e3, x, color=INK, lw=1.3, label="signal")
    steps = np.concatenate([[0], time / 1e3, [1000]]), np.concatenate([[x[0]], level, level[-1:]])
    above.step(*steps, where="post", color="0.6", lw=0.9, label="level: what the events tell of it")
    for u, colour in ((1, ON), (0, OFF)):
        mine = unit == u
        above.scatter(time[mine] / 1e3, level[mine], s=11, color=colour, zorder=3)
        below.eventplot(time[mine] / 1e3, lineoffsets=u, linelengths=0.8, colors=colour, lw=1)
    above.set(ylabel="signal (its own unit)")
    above.legend(frameon=False, loc="lower right", handlelength=1.4)
    below.set(xlabel="time (ms)", xlim=(0, 1000), ylim=(-0.6, 1.6), yticks=(0, 1))
    below.set_yticklabels(["OFF", "ON"])
    below.set_ylabel("unit")


def draw_population(panel: SubFigure) -> None:
    """The fields of two numbers' range, and the spikes of two numbers."""
    title(
        panel,
        "Population: Gaussian fields, the closer the sooner",
        "population_events; 8 fields, beta = 1.5, 100 ms",
    )
    fields, spikes = panel.subplots(1, 2, sharey=True, width_ratios=(1, 1.25))
    low, high, m = 0.0, 10.0, 8
    mu = low + (2 * np.arange(1, m + 1) - 3) / 2 * (high - low) / (m - 2)
    sigma = (high - low) / (m - 2) / 1.5
    y = np.linspace(mu[0] - 1, mu[-1] + 1, 400)
    colours = plt.colormaps["viridis"](np.linspace(0, 0.9, m))
    for i in range(m):
        fields.plot(np.exp(-((y - mu[i]) ** 2) / 2 / sigma**2), y, color=colours[i], lw=1.3)
    for number, marker, colour in ((3.1, "o", ON), (8.0, "s", OFF)):
        unit, time, _ = encoders.population_events(
            np.array([number]), low, high, n_fields=m, duration=0.1
        )
        response = np.exp(-((number - mu[unit]) ** 2) / 2 / sigma**2)
        for axes in (fields, spikes):
            axes.axhline(number, color=colour, lw=0.9, ls="--")
        fields.scatter(
            response, np.full(len(unit), number), color=colour, marker=marker, s=18, zorder=3
        )
        spikes.scatter(time / 1e3, mu[unit], color=colour, marker=marker, s=30, zorder=3)
        spikes.text(99, number + 0.12, f"x = {number:g}", ha="right", color=colour)
    fields.axvline(encoders.POPULATION_SILENT, color="0.5", lw=0.8, ls=":")
    fields.set(
        xlabel="response g (silent left of 0.1)", ylabel="number x; range 0 to 10", xlim=(0, 1.05)
    )
    spikes.set(xlabel="time (ms) = (1 - g) 100", xlim=(0, 100))
    names = spikes.secondary_yaxis("right")
    names.set_yticks(mu, [str(i) for i in range(m)])
    names.set_ylabel("unit, at the centre of its field")


def draw_raster(panel: SubFigure, image: NDArray[np.uint8], unit, time, end: float) -> None:
    """The image on the left, on the right its spikes at the height of their row."""
    left, right = panel.subplots(1, 2, width_ratios=(1, 1.5))
    left.set_box_aspect(1)
    right.set_box_aspect(1 / 1.5)
    shown = left.imshow(image, cmap=MAP, extent=(0, 28, 28, 0), aspect="auto")
    left.set(
        xlabel="column (pixels)", ylabel="row (pixels)", xticks=(0, 14, 28), yticks=(0, 14, 28)
    )
    value = image.ravel()[unit]
    style = {"cmap": MAP, "vmin": 0, "vmax": 255, "marker": "|", "linewidths": 1.2, "s": 14}
    right.scatter(time / 1e3, unit / 28, c=value, **style)
    right.set(facecolor=DARK, xlim=(0, end), ylim=(28, 0), yticks=(0, 14, 28))
    right.set(xlabel="time (ms)", ylabel="unit / 28 (the row)")
    bar = right.inset_axes((1.03, 0, 0.03, 1))
    panel.colorbar(shown, cax=bar, label="pixel value", ticks=(0, 51, 128, 255))


def title(panel: SubFigure, text: str, function: str) -> None:
    """What to see, and which function does it."""
    panel.suptitle(f"{text}\n", fontsize=10.5, fontweight="bold", x=0.02, ha="left")
    height = (
        panel.bbox.height / panel.figure.dpi
    )  # inches, so that the second line keeps its distance
    panel.text(0.02, 1 - 0.33 / height, function, fontsize=8.5, family="monospace", color="0.4")


if __name__ == "__main__":
    main()
