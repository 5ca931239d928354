"""What a backend is told of connections."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Linear:
    """A fully connected layer's synapses.

    Attributes:
        n_in: units of the layer below.
        n_out: units of this layer.
    """

    n_in: int
    n_out: int

    @property
    def unit_shape(self) -> tuple[int, ...]:
        """(n_out,)."""
        return (self.n_out,)

    def current(self, dense: Tensor, parameter: tuple[Tensor, ...]) -> Tensor:
        """(B, T, n_in) spikes -> (B, T, n_out) currents: the definition, in plain PyTorch."""
        return functional.linear(dense, *parameter)

    def check(self, parameter: tuple[Tensor, ...]) -> None:
        """Raises a ValueError that names the parameter whose shape a kernel would not expect."""
        if parameter[0].shape != (self.n_out, self.n_in):
            raise ValueError(
                f"weight: expected ({self.n_out}, {self.n_in}), found {tuple(parameter[0].shape)}"
            )
        if len(parameter) > 1 and parameter[1].shape != (self.n_out,):
            found = tuple(parameter[1].shape)
            raise ValueError(f"bias: expected ({self.n_out},), one per neuron, found {found}")


@dataclass(frozen=True)
class Conv:
    """A convolution's synapses; one of one dimension has rows of height 1.

    Attributes:
        in_shape: (C_in, H, W) of the layer below.
        n_channel: C_out.
        kernel: (kH, kW).
        stride: of the rows and of the columns.
        padding: zeros (above, below) and (left, right).
        dilation: of the rows and of the columns.
        groups: into which channels are divided.
        n_dim: 1 or 2, of the shape that people see.
    """

    in_shape: tuple[int, int, int]
    n_channel: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    n_dim: int = 2

    @property
    def n_in(self) -> int:
        """Units of the layer below."""
        return math.prod(self.in_shape)

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(C_out, H, W) of this layer; a size < 1 if the kernel does not fit."""
        height, width = (
            (size + sum(pad) - d * (k - 1) - 1) // step + 1
            for size, pad, d, k, step in zip(
                self.in_shape[1:],
                self.padding,
                self.dilation,
                self.kernel,
                self.stride,
                strict=True,
            )
        )
        return self.n_channel, height, width

    @property
    def n_out(self) -> int:
        """Units of this layer."""
        return math.prod(self.out_shape)

    @property
    def unit_shape(self) -> tuple[int, ...]:
        """(C_out, H, W), or (C_out, L)."""
        channels, *sizes = self.out_shape
        return channels, *sizes[2 - self.n_dim :]

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(C_out, C_in / groups, kH, kW)."""
        return self.n_channel, self.in_shape[0] // self.groups, *self.kernel

    def current(self, dense: Tensor, parameter: tuple[Tensor, ...]) -> Tensor:
        """(B, T, n_in) spikes -> (B, T, n_out) currents: the definition, in plain PyTorch."""
        (above, below), (left, right) = self.padding
        image = dense.reshape(-1, *self.in_shape)
        image = functional.pad(image, (left, right, above, below))
        out = functional.conv2d(
            image,
            *parameter,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
        )
        return out.reshape(*dense.shape[:2], self.n_out)

    def check(self, parameter: tuple[Tensor, ...]) -> None:
        """Raises a ValueError that names the parameter whose shape a kernel would not expect."""
        if parameter[0].shape != self.weight_shape:
            raise ValueError(
                f"weight: expected {self.weight_shape}, found {tuple(parameter[0].shape)}"
            )
        if len(parameter) > 1 and parameter[1].shape != (self.n_channel,):
            found = tuple(parameter[1].shape)
            raise ValueError(f"bias: expected ({self.n_channel},), one per channel, found {found}")


@dataclass(frozen=True, eq=False)
class SparseLinear:
    """A fixed set of synapses; each description is one of its own, and so are the kernels' forms of it.

    Attributes:
        n_in: units of the layer below.
        n_out: units of this layer.
        index: (2, n_synapses) integers, output neurons over input units: kept as a copy in int32, checked.
    """

    n_in: int
    n_out: int
    index: Tensor

    def __post_init__(self) -> None:
        check_index(self.index, self.n_in, self.n_out)
        # A copy: the backward pass goes by what the forward pass went by, and nobody writes to it.
        object.__setattr__(self, "index", self.index.to(torch.int32, copy=True).contiguous())

    @property
    def unit_shape(self) -> tuple[int, ...]:
        """(n_out,)."""
        return (self.n_out,)

    def current(self, dense: Tensor, parameter: tuple[Tensor, ...]) -> Tensor:
        """(B, T, n_in) spikes -> (B, T, n_out) currents: the definition, in plain PyTorch."""
        weight, *bias = parameter
        neuron, unit = self.index.long()
        brought = dense.index_select(2, unit) * weight
        out = brought.new_zeros(*dense.shape[:2], self.n_out).index_add(2, neuron, brought)
        return out + bias[0] if bias else out

    def check(self, parameter: tuple[Tensor, ...]) -> None:
        """Raises a ValueError that names the parameter whose shape a kernel would not expect."""
        weight, n_synapses = parameter[0], self.index.shape[1]
        if weight.shape != (n_synapses,):
            found = tuple(weight.shape)
            raise ValueError(f"weight: expected ({n_synapses},), one per synapse, found {found}")
        if len(parameter) > 1 and parameter[1].shape != (self.n_out,):
            found = tuple(parameter[1].shape)
            raise ValueError(f"bias: expected ({self.n_out},), one per neuron, found {found}")
        if self.index.device != weight.device:
            where = f"{self.index.device}, as the index is"
            raise ValueError(f"weight: expected it on {where}, found {weight.device}")


def check_index(index: Tensor, n_in: int, n_out: int) -> None:
    """Raises a ValueError unless these are synapses, (output neuron, input unit), and none comes twice."""
    kind = index.dtype
    if kind.is_floating_point or kind.is_complex or kind is torch.bool:
        raise ValueError(f"index: expected integers, found {kind}")
    if index.dim() != 2 or index.shape[0] != 2:
        raise ValueError(f"index: expected (2, n_synapses), found {tuple(index.shape)}")
    if not index.numel() or index.is_meta:
        return
    neuron, unit = index.long()
    for row, name, n in (
        (neuron, "output neurons (row 0)", n_out),
        (unit, "input units (row 1)", n_in),
    ):
        low, high = (int(end) for end in row.aminmax())
        if low < 0 or high >= n:
            found = low if low < 0 else high
            raise ValueError(f"index: expected {name} in [0, {n}), found {found}")
    key = neuron * n_in + unit
    if not bool((key[1:] > key[:-1]).all()):  # they seldom come out of order: then sorting is saved
        key = key.sort().values
        twice = key[1:][key[1:] == key[:-1]]
        if len(twice):
            pair = divmod(int(twice[0]), n_in)
            raise ValueError(
                f"index: expected no synapse twice, found (neuron, input) {pair} again"
            )
