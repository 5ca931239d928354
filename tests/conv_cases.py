"""Layers of convolutions: generated, run on a backend, and compared with the dense oracle."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

import sparsespike as ss
from cases import EXACT_LIF, GENERAL_LIF, device_of, neurons
from checks import assert_close, assert_same_lists, assert_well_formed
from compare import compare, gradients, stored_for


@dataclass(frozen=True)
class ConvCase:
    """One input and one layer of one convolution, reproducible from its numbers.

    Attributes:
        sizes: (C_in, H, W), or (C_in, L).
        channels: C_out.
        kernel: taps along each axis.
        stride, padding, dilation, groups: of the convolution.
        bias: whether there is one.
        neuron: of the layer.
        batch: B.
        steps: T.
        rate: share of input entries that hold a spike.
        active: share that take a gradient; 0: the input has no active set at all.
        dtype: of weights and values.
        exact: whether weights are on the grid k/8.
        seed: of input and weights.
    """

    sizes: tuple[int, ...] = (2, 5, 6)
    channels: int = 3
    kernel: tuple[int, ...] = (3, 3)
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] | str = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1
    bias: bool = False
    neuron: ss.LIF = EXACT_LIF
    batch: int = 3
    steps: int = 9
    rate: float = 0.3
    active: float = 0.5
    dtype: torch.dtype = torch.float64
    exact: bool = True
    seed: int = 0

    def generator(self) -> torch.Generator:
        """A fresh generator, seeded."""
        return torch.Generator().manual_seed(self.seed)

    def dense(self) -> tuple[Tensor, Tensor]:
        """Input of 0 and 1 and its active set (bool), each (B, T, *sizes)."""
        draw = self.generator()
        shape = (self.batch, self.steps, *self.sizes)
        fired = torch.rand(shape, generator=draw) < self.rate
        return fired.to(self.dtype), torch.rand(shape, generator=draw) < self.active

    def spikes(self) -> tuple[ss.Spikes, Tensor | None]:
        """The input, and the leaf that takes its gradient (None without active set)."""
        dense, active = self.dense()
        if not self.active:
            return ss.Spikes.from_dense(dense), None
        dense.requires_grad_()
        return ss.Spikes.from_dense(dense, active=active), dense

    def connection(self) -> ss.Conv2d | ss.Conv1d:
        """The convolution, with its weights."""
        kind = ss.Conv2d if len(self.sizes) == 3 else ss.Conv1d
        conv = kind(
            self.sizes[0],
            self.channels,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.bias,
            dtype=self.dtype,
        )
        draw = self.generator()
        gain = 1.0 / math.sqrt(1.0 + self.rate * conv.fan_in)
        with torch.no_grad():
            for parameter, width in zip(conv.parameters(), (gain, 0.125), strict=False):
                drawn = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
                drawn = drawn * width + (gain / 4 if parameter is conv.weight else 0.0)
                parameter.copy_((8 * drawn).round() / 8 if self.exact else drawn)
        return conv

    def run(self, backend: str, *, readout: bool = False) -> tuple[Any, dict[str, Tensor | None]]:
        """Output and every gradient, under random upstream gradients."""
        neuron = ss.Readout(4 * self.neuron.dt, self.neuron.dt) if readout else self.neuron
        layer = ss.Layer(self.connection(), neuron, backend=backend).to(device_of(backend))
        spikes, leaf = self.spikes()
        out = layer(stored_for(spikes, backend)).to("cpu")
        value = out if readout else out.value
        upstream = torch.randn(value.shape, generator=self.generator(), dtype=torch.float64)
        if value.requires_grad:
            (value * upstream.to(self.dtype)).sum().backward()
        return out, gradients(layer, leaf)

    def is_decided(self) -> bool:
        """Whether no spike and no active entry hangs on rounding, as far as the oracle's potentials tell."""
        if self.exact:
            return True
        neuron, current = self.neuron, self.connection()(self.spikes()[0]).to_dense().detach()
        states = [neuron.initial(current[:, 0])]
        for step in range(self.steps - 1):
            states.append(neuron.step(states[-1], current[:, step]))
        distance = torch.stack([state[0] for state in states[1:]] or [current]) - neuron.v_th
        surrogate = neuron.surrogate
        box = surrogate.width if isinstance(surrogate, ss.Boxcar) else math.inf
        edges = [edge for edge in (0.0, neuron.b_th, box) if math.isfinite(edge)]
        gaps = [(distance.abs() - edge).abs().min().item() for edge in edges if distance.numel()]
        return min(gaps, default=math.inf) > 1e-9


def compare_conv(case: ConvCase, backend: str, *, readout: bool = False) -> Counter:
    """The layer on a backend against the oracle; returns what happened."""
    out, found = case.run(backend, readout=readout)
    expected_out, expected = case.run("dense", readout=readout)
    if readout:
        assert_close(out.detach(), expected_out.detach(), "potential")
        return compare(found, expected)
    assert out.unit_shape == expected_out.unit_shape
    assert_well_formed(out)
    assert_same_lists(out, expected_out)
    seen = compare(found, expected)
    seen.update(spiking=out.n_spikes > 0, in_band=out.n_active > 0)
    return seen


@st.composite
def conv_cases(draw: st.DrawFn, *, exact: bool, n_dim: int = 2) -> ConvCase:
    """A case of any stride, padding, dilation and groups whose kernel fits."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    per_group = draw(st.integers(1, 3))
    axes = []
    for _ in range(n_dim):
        kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 2))
        padding = draw(st.integers(0, 2))
        least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
        size = draw(st.integers(least, least + 5))
        axes.append((size, kernel, draw(st.integers(1, 3)), padding, dilation))
    size, kernel, stride, padding, dilation = map(tuple, zip(*axes, strict=True))
    if stride == (1,) * n_dim and draw(st.booleans()):
        padding = "same"
    channels = draw(st.sampled_from([1, 3, 16, 17, 64])) if groups == 1 else 7 * groups
    if groups > 1 and draw(st.booleans()):
        channels = groups  # depthwise, or nearly
    dtype = draw(st.sampled_from([torch.float32, torch.float64])) if exact else torch.float64
    return ConvCase(
        (groups * per_group, *size),
        channels,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        draw(st.booleans()) and dtype == torch.float64,  # fewer sorts of kernels to compile
        draw(neurons(exact)) if exact else GENERAL_LIF,
        draw(st.integers(0, 3)),
        draw(st.integers(1, 9)),
        draw(st.sampled_from([0.0, 0.1, 0.4, 1.0])),
        draw(st.sampled_from([0.0, 0.3, 1.0])),
        dtype,
        exact,
        draw(st.integers(0, 2**31)),
    )
