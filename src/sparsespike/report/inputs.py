"""One sample of the input, drawn small: what a camera or an image adds up to, or a raster."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsespike.pages.figure import MANY
from sparsespike.spikes.spikes import Spikes

# Seen on white and on near-black alike, as pixels do not change with the page: of spikes (and of more ON
# events), of more OFF events, and of active entries.
SPIKE, OFF, ACTIVE = "#2f8fd0", "#d8602a", "#e8a417"


def picture(spikes: Spikes) -> NDArray[np.float32] | None:
    """One sample as an image, RGBA (H, W, 4), transparent where nothing was; None unless its units are one.

    Where no pixel has several events, as in images coded by latency, the earlier the stronger; else the more
    the stronger, and of two polarities orange where OFF outweighs ON.

    Args:
        spikes: (1, T, N).
    """
    if len(spikes.unit_shape) != 3:
        return None
    n_channel, height, width = spikes.unit_shape
    channel, pixel = np.divmod(spikes.unit.numpy().astype(np.int64), height * width)
    number = np.bincount(pixel, minlength=height * width)
    sign = np.where((channel == 0) & (n_channel == 2), -1.0, 1.0)  # 0 is OFF
    balance = np.bincount(pixel, weights=sign, minlength=height * width)
    if number.max(initial=0) <= 1:
        # By rank: latencies crowd together where pixels are bright, and would all look alike.
        _, rank = np.unique(spikes.row().numpy(), return_inverse=True)
        early = 1 - 0.9 * rank / max(1, rank.max(initial=0))
        number = np.bincount(pixel, weights=early, minlength=height * width)
    shade = number / (number.max(initial=0) or 1)
    image = np.zeros((height * width, 4), np.float32)
    image[:, :3] = np.where(balance[:, None] < 0, _rgb(OFF), _rgb(SPIKE))
    image[:, 3] = shade**0.7  # the eye sees little of a faint shade
    return image.reshape(height, width, 4)


def draw(axes: Any, spikes: Spikes, dt: float) -> None:
    """One sample on axes of its own: its image, without ticks, or its raster over milliseconds."""
    image = picture(spikes)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(True)
    if image is not None:
        axes.imshow(image, interpolation="none")
        return
    dots(axes, spikes.row().numpy() * dt * 1e3, spikes.unit.numpy(), SPIKE, 1.2)
    axes.set(xlim=(0, spikes.shape[1] * dt * 1e3), ylim=(-0.5, spikes.shape[2] - 0.5))


def dots(
    axes: Any, x: NDArray[Any], y: NDArray[Any], colour: str, size: float, label: str = ""
) -> None:
    """Marks, in pixels where there are many."""
    look = {"s": size, "color": colour, "linewidths": 0, "label": label or None}
    axes.scatter(x, y, rasterized=len(x) > MANY // 4, **look)


def _rgb(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
