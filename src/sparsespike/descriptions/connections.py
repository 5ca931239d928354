"""What a backend is told of connections, and of the spikes that go through them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsespike.spikes.spikes import Spikes

Precision = Literal["full", "tf32", "bfloat16", "float16"]


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
class DelayedLinear:
    """A fully connected layer's synapses, each with a delay.

    A delay of d = k + f steps, k whole, brings the share 1 - f of the weight k steps later and f one step
    after.

    Attributes:
        n_in: units of the layer below.
        n_out: units of this layer.
        max_steps: no delay is longer.
    """

    n_in: int
    n_out: int
    max_steps: int

    @property
    def unit_shape(self) -> tuple[int, ...]:
        """(n_out,)."""
        return (self.n_out,)

    def current(self, dense: Tensor, parameter: tuple[Tensor, ...]) -> Tensor:
        """(B, T, n_in) spikes -> (B, T, n_out) currents: the definition, in plain PyTorch."""
        weight, *bias, delay = parameter
        whole = delay.detach().floor()
        part = delay - whole
        total = dense.new_zeros(*dense.shape[:2], self.n_out)
        for k in range(min(self.max_steps + 2, dense.shape[1])):
            share = torch.where(whole == k, 1.0 - part, 0.0) + torch.where(
                whole == k - 1, part, 0.0
            )
            late = functional.pad(dense, (0, 0, k, 0))[:, : dense.shape[1]]
            total = total + functional.linear(late, weight * share)
        return total + bias[0] if bias else total

    def check(self, parameter: tuple[Tensor, ...]) -> None:
        """Raises a ValueError that names the parameter whose shape or value a kernel would not expect."""
        Linear(self.n_in, self.n_out).check(parameter[:-1])
        delay = parameter[-1]
        if delay.shape != (self.n_out, self.n_in):
            found = tuple(delay.shape)
            raise ValueError(f"delay: expected ({self.n_out}, {self.n_in}), found {found}")
        if delay.numel() and not delay.is_meta:
            low, high = (float(end) for end in delay.detach().aminmax())
            if not 0 <= low <= high <= self.max_steps:  # NaN is neither
                raise ValueError(
                    f"delay: expected steps in [0, {self.max_steps}], found {low} to {high}"
                )


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


Connection = Linear | DelayedLinear | Conv | SparseLinear


class Term(NamedTuple):
    """What one connection brings to a layer: some spikes, through some parameters.

    Attributes:
        spikes: (B, T, n_in), of scale 1: a connection takes theirs into its weight.
        connection: how they become currents.
        parameter: the connection's tensors, in the order that its kernels know: weight, bias if any.
    """

    spikes: Spikes
    connection: Connection
    parameter: tuple[Tensor, ...]

    def check(self) -> None:
        """Compares all that kernels read: lengths of lists, shapes, dtypes, devices; in 2 to 4 microseconds.

        Raises:
            ValueError: naming what does not fit.
        """
        spikes, connection, parameter = self
        weight = parameter[0]
        dtype, device = weight.dtype, weight.device
        if spikes.shape[2] != connection.n_in:
            raise ValueError(f"spikes: expected {connection.n_in} units, found {spikes.shape[2]}")
        if dtype is not torch.float32 and dtype is not torch.float64:
            raise ValueError(f"weight: expected float32 or float64, found {dtype}")
        for i, tensor in enumerate(parameter):
            if type(tensor) not in PLAIN or tensor.layout is not torch.strided:
                found = f"{type(tensor).__name__} of layout {tensor.layout}"
                raise ValueError(f"{_named(self, i)}: expected a plain dense tensor, found {found}")
            if i and (tensor.dtype is not dtype or tensor.device != device):
                found = f"{tensor.dtype} on {tensor.device}"
                raise ValueError(f"{_named(self, i)}: expected {dtype} on {device}, found {found}")
        connection.check(parameter)
        if spikes.storage[0].device != device:
            raise ValueError(f"spikes: expected them on {device}, found {spikes.device}")
        value = spikes.value
        n_value = value.numel()
        if n_value and value.dtype is not dtype:
            raise ValueError(
                f"spikes: expected values in the weights' {dtype}, found {value.dtype}"
            )
        if spikes.scale != 1.0:
            raise ValueError(
                f"spikes: expected their scale in the weight, and 1 here, found {spikes.scale:g}"
            )
        spikes.storage.check(spikes.shape, n_value)


# A tensor of another class has memory of its own making, or none.
PLAIN = frozenset({Tensor, nn.Parameter, nn.Buffer})
NAMES = "weight", "bias"


def _named(term: Term, i: int) -> str:
    """What people call the i-th tensor of a term."""
    delayed = isinstance(term.connection, DelayedLinear)
    return "delay" if delayed and i == len(term.parameter) - 1 else NAMES[i]
