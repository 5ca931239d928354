"""Cases of pooling: an image of spikes and the windows over it, generated from a few numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

import sparsespike as ss


@dataclass(frozen=True)
class Pool:
    """Spikes over an image and the windows that pool them, reproducible from the numbers."""

    batch: int = 2
    steps: int = 5
    channels: int = 3
    height: int = 7
    width: int = 6
    kernel: tuple[int, int] = (2, 2)
    stride: tuple[int, int] | None = None
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil_mode: bool = False
    rate: float = 0.2
    active: float = 0.5
    dtype: torch.dtype = torch.float64
    kind: str = "lists"
    seed: int = 0

    def module(self) -> ss.MaxPool2d:
        return ss.MaxPool2d(self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)

    def spikes(self) -> tuple[ss.Spikes, Tensor, Tensor]:
        """The input, its dense leaf and its active set."""
        draw = torch.Generator().manual_seed(self.seed)
        shape = self.batch, self.steps, self.channels, self.height, self.width
        dense = (torch.rand(shape, generator=draw) < self.rate).to(self.dtype)
        active = torch.rand(shape, generator=draw) < self.active
        dense.requires_grad_()
        spikes = ss.Spikes.from_dense(dense, active=active)
        return spikes.to_words() if self.kind == "words" else spikes, dense, active

    def reference(self, dense: Tensor) -> tuple[Tensor, Tensor]:
        """PyTorch's output, (B, T, C, H', W'), and the position in the plane that each window takes."""
        out, peak = functional.max_pool2d(
            dense.flatten(0, 1),
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            return_indices=True,
        )
        return out.unflatten(0, dense.shape[:2]), peak.unflatten(0, dense.shape[:2])


BASE = Pool()
LIVELY = {
    "base": BASE,
    "overlapping": replace(BASE, kernel=(3, 3), stride=(1, 2), active=0.9),
    "padded": replace(BASE, kernel=(3, 2), stride=(2, 1), padding=(1, 1)),
    "dilated": replace(BASE, kernel=(2, 3), stride=(1, 1), dilation=(3, 2), padding=(0, 1)),
    "dilation_and_stride": replace(
        BASE, height=13, kernel=(3, 2), stride=(4, 2), dilation=(2, 2), padding=(1, 1)
    ),
    "gaps": replace(BASE, kernel=(2, 1), stride=(3, 4)),
    "ceil_mode": replace(BASE, kernel=(3, 4), stride=(2, 3), padding=(1, 1), ceil_mode=True),
    "whole_image": replace(BASE, kernel=(7, 6), rate=0.05),
    "identity": replace(BASE, kernel=(1, 1)),
    "all_active": replace(BASE, active=1.0, rate=0.05),
    "crowded": replace(BASE, kernel=(3, 3), stride=(1, 1), rate=0.9),
    "one_column": replace(BASE, channels=1, width=1, kernel=(3, 1), stride=(2, 1)),
    "many_steps": replace(BASE, steps=70, batch=3, channels=1, kernel=(3, 3), stride=(2, 2)),
    "many_units": replace(BASE, channels=5, height=9, width=11, kernel=(2, 2), stride=(1, 1)),
}


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    def two(*among: int) -> Any:
        return st.tuples(st.sampled_from(among), st.sampled_from(among))

    kernel = draw(two(2, 3, 4, 1))
    return Pool(
        batch=draw(st.sampled_from([2, 1, 0])),
        steps=draw(st.sampled_from([1, 3, 33])),
        channels=draw(st.integers(1, 3)),
        height=draw(st.sampled_from([7, 10, 5, 3, 2, 1])),
        width=draw(st.sampled_from([8, 9, 6, 4, 2, 1])),
        kernel=kernel,
        stride=draw(st.one_of(two(1, 2, 3, 4, 6), st.none())),
        padding=draw(st.tuples(*(st.integers(0, size // 2) for size in kernel))),
        dilation=draw(two(1, 1, 2, 3, 4)),
        ceil_mode=draw(st.booleans()),
        rate=draw(st.sampled_from([0.3, 0.05, 0.0, 1.0])),
        active=draw(st.sampled_from([0.3, 1.0, 0.0])),
        dtype=draw(st.sampled_from([torch.float32, torch.float64])),
        kind=draw(st.sampled_from(["lists", "words"])),
        seed=draw(st.integers(0, 2**31)),
    )


def has_a_place(case: Pool) -> bool:
    """Whether PyTorch takes it, and no window lies outside the image, where its maximum is -inf."""
    try:
        out, _ = replace(case, batch=1).reference(torch.zeros(1, 1, 1, case.height, case.width))
    except RuntimeError:
        return False
    return bool(out.isfinite().all())
