"""Sizes of the convolutional layers that `sparsespike bench layer --connection conv2d` times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsespike import descriptions
from sparsespike.training.recipe import Recipe

Preset = Literal["14x14-k3", "14x14-k5", "first", "nmnist"]


@dataclass(frozen=True)
class ConvSizes:
    """One convolution of stride 1, and how much happens in it.

    Attributes:
        shape: (C_in, H, W) of the input.
        channels: C_out, >= 1.
        kernel: taps along each axis, >= 1.
        padding: zeros on every side, >= 0.
        rate: share of the synthetic input's entries that hold a spike.
        active: share of them that are active; 0: the input is data, whose gradient nobody wants.
        activity: share of the layer's entries that the weights are scaled to, see `inputs.scaled`.
        recordings: instead of synthetic input, that of this dataset.
    """

    shape: tuple[int, ...]
    channels: int
    kernel: int
    padding: int
    rate: float
    active: float
    activity: float
    recordings: str | None = None

    def synapses(self) -> descriptions.Conv:
        """The convolution.

        Raises:
            ValueError: if a size is out of range, or the kernel does not fit.
        """
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"shape: expected C_in, H, W, each >= 1, found {self.shape}")
        for name, least in (("channels", 1), ("kernel", 1), ("padding", 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name}: expected an integer >= {least}, found {getattr(self, name)}"
                )
        channels, height, width = self.shape
        pad = (self.padding, self.padding)
        conv = descriptions.Conv(
            (channels, height, width), self.channels, (self.kernel, self.kernel), padding=(pad, pad)
        )
        if min(conv.out_shape) < 1:
            raise ValueError(
                f"kernel: expected at most {min(height, width) + 2 * self.padding} taps, "
                f"found {self.kernel}"
            )
        return conv


PRESETS: dict[str, ConvSizes] = {
    "14x14-k3": ConvSizes((32, 14, 14), 64, 3, 1, rate=0.01, active=0.01, activity=0.01),
    "14x14-k5": ConvSizes((32, 14, 14), 64, 5, 2, rate=0.02, active=0.02, activity=0.02),
    "first": ConvSizes((1, 28, 28), 64, 3, 1, rate=0.005, active=0.0, activity=0.005),
    "nmnist": ConvSizes(
        (2, 34, 34), 32, 3, 1, rate=0.0, active=0.0, activity=0.006, recordings="nmnist-small"
    ),
}


def recorded(sizes: ConvSizes, steps: int) -> Recipe:
    """How the recordings of a preset become a batch: both polarities, steps of a millisecond."""
    return Recipe(dataset=sizes.recordings or "", steps=steps, dt=1e-3)
