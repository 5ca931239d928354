"""Cases of `SumPool2d` and `AvgPool2d`, and of layers that take the graded spikes they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import sparsespike as ss
from cases import EXACT_LIF, neurons
from compare import gradients, stored_for
from pools import BASE, Pool, pools


@dataclass(frozen=True)
class Sums:
    """Spikes over an image and the windows that sum them.

    Attributes:
        image: spikes and windows, without dilation.
        average: whether it is an `AvgPool2d`.
        count_include_pad, divisor: as of this.
    """

    image: Pool = BASE
    average: bool = True
    count_include_pad: bool = True
    divisor: int | None = None

    def module(self) -> ss.AvgPool2d | ss.SumPool2d:
        image = self.image
        given = image.kernel, image.stride, image.padding, image.ceil_mode
        if not self.average:
            return ss.SumPool2d(*given)
        return ss.AvgPool2d(*given, self.count_include_pad, self.divisor)

    def expected(self, dense: Tensor) -> Tensor:
        """What PyTorch makes of (B, T, C, H, W)."""
        return self._pooled(dense, self.divisor if self.average else 1)

    def divisors(self) -> Tensor:
        """(H', W') of PyTorch's windows, found from sums and averages of ones."""
        ones = torch.ones(1, 1, 1, self.image.height, self.image.width, dtype=torch.float64)
        return (self._pooled(ones, 1) / self.expected(ones))[0, 0, 0]

    def _pooled(self, dense: Tensor, divisor: int | None) -> Tensor:
        image = self.image
        out = functional.avg_pool2d(
            dense.flatten(0, 1),
            image.kernel,
            image.stride,
            image.padding,
            image.ceil_mode,
            self.count_include_pad,
            divisor,
        )
        return out.unflatten(0, dense.shape[:2])


@st.composite
def sums(draw: st.DrawFn) -> Sums:
    """Any windows that do not reach over the whole image, and more."""
    image = replace(draw(pools()), dilation=(1, 1), kind="lists")
    divisor = draw(st.sampled_from([None, None, 1, 3, 7]))
    return Sums(image, draw(st.booleans()), draw(st.booleans()), divisor)


Kind = Literal["Linear", "Conv2d", "SparseLinear"]


@dataclass(frozen=True)
class Layered:
    """A layer on pooled spikes, on the exact grid of `cases.py`: averages are of 1, 2, 4, 8 or 16 units.

    Attributes:
        sums: the pool.
        kind: of the connection.
        neuron: of the layer.
        bias: whether there is one.
        readout: whether the layer is one.
    """

    sums: Sums
    kind: Kind = "Linear"
    neuron: ss.LIF = EXACT_LIF
    bias: bool = False
    readout: bool = False

    def connection(self, unit_shape: tuple[int, ...]) -> nn.Module:
        image, n_in = self.sums.image, int(torch.Size(unit_shape).numel())
        draw = torch.Generator().manual_seed(image.seed)
        if self.kind == "Linear":
            built = ss.Linear(n_in, 9, self.bias, dtype=image.dtype)
        elif self.kind == "Conv2d":
            built = ss.Conv2d(unit_shape[0], 5, 3, 1, 1, bias=self.bias, dtype=image.dtype)
        else:
            index = (torch.rand(9, n_in, generator=draw) < 0.5).nonzero().t()
            built = ss.SparseLinear(n_in, 9, index, self.bias, dtype=image.dtype)
        on_grid(built, draw)
        return built

    def run(self, backend: str) -> tuple[Any, ss.Spikes, dict[str, Tensor | None]]:
        """Output, pooled spikes and every gradient, under random upstream gradients."""
        spikes, leaf, _ = self.sums.image.spikes()
        with ss.use_backend(backend):
            pooled = self.sums.module()(stored_for(spikes, backend))
            neuron = ss.Readout(4.0, 1.0) if self.readout else self.neuron
            connection = self.connection(pooled.unit_shape).to(pooled.device)
            layer = ss.Layer(connection, neuron)
            out = layer(pooled).to("cpu")
            value = out if self.readout else out.value
            draw = torch.Generator().manual_seed(self.sums.image.seed)
            upstream = torch.randn(value.shape, generator=draw, dtype=torch.float64)
            if value.requires_grad:
                (value * upstream.to(value.dtype)).sum().backward()
        return out, pooled, gradients(layer, leaf)


def on_grid(module: nn.Module, draw: torch.Generator, width: float = 0.4) -> None:
    """Parameters on the grid k/8, mostly positive."""
    with torch.no_grad():
        for parameter in module.parameters():
            drawn = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
            parameter.copy_((8 * (drawn * width + 0.1)).round() / 8)


@st.composite
def layered(draw: st.DrawFn) -> Layered:
    """Any layer without bias, whose reset is detached: so fewer sorts of kernels are compiled."""
    average = draw(st.booleans())
    two = st.sampled_from([1, 2, 2, 4] if average else [1, 2, 3])
    kernel = draw(two), draw(two)
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    image = Pool(
        batch=draw(st.integers(0, 3)),
        steps=draw(st.integers(1, 8)),
        channels=draw(st.integers(1, 3)),
        height=draw(st.integers(4, 7)),
        width=draw(st.integers(4, 6)),
        kernel=kernel,
        stride=draw(st.one_of(st.none(), st.tuples(st.integers(1, 3), st.integers(1, 3)))),
        padding=draw(st.tuples(*(st.integers(0, size // 2) for size in kernel))),
        rate=draw(st.sampled_from([0.0, 0.1, 0.4, 1.0])),
        active=draw(st.sampled_from([0.3, 1.0])),
        dtype=dtype,
        seed=draw(st.integers(0, 2**31)),
    )
    neuron = draw(neurons(True)).changed(detach_reset=True)
    kind: Any = draw(st.sampled_from(["Linear", "Conv2d", "SparseLinear"]))
    return Layered(Sums(image, average), kind, neuron, readout=draw(st.booleans()))


def most_times(spikes: ss.Spikes) -> int:
    """How often a row holds the unit that it holds most often."""
    entry = spikes.storage.entry(spikes.shape)
    return int(entry.bincount().max()) if len(entry) else 0
