"""A convolution's parameters as kernels take them, and its gradient as PyTorch takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.conv import Axis, ConvWeight
from sparsespike.backends.cpu.linear_form import summed
from sparsespike.backends.cpu.simd import aligned, lanes_of
from sparsespike.backends.cpu.sites import Layout
from sparsespike.descriptions import Conv


@dataclass(frozen=True)
class ConvForm:
    """The forms of one convolution.

    Attributes:
        connection: its sizes.
        layout: of the neurons: a site per output position.
        dtype: of the parameters.
    """

    connection: Conv
    layout: Layout
    dtype: np.dtype

    def fan_outs(self, weight: Tensor) -> Tensor:
        """(C_in * taps, n): of each input channel and tap the output channels side by side."""
        n, _, index = columns(self.connection, self.dtype)
        rows = self._by_group(aligned(self._shape(n), self.dtype))
        rows.scatter_(2, index.expand(-1, rows.shape[1], -1), self._turned(weight.detach()))
        return rows.view(self._shape(n))

    def kernel(self, fan_out: Tensor, parameter: Sequence[Tensor]) -> ConvWeight:
        """The connection, from what `fan_outs` made of its weight."""
        bias = None
        if len(parameter) > 1:
            bias = aligned((self.layout.size(self.dtype),), self.dtype)
            bias[: self.layout.channels] = parameter[1].detach().numpy()
        return self._form(fan_out.numpy(), bias)

    def room(self, *, biased: bool) -> ConvWeight:
        """Zeros in the form of the connection, for its gradient."""
        n, _, _ = columns(self.connection, self.dtype)
        bias = aligned((self.layout.size(self.dtype),), self.dtype) if biased else None
        return self._form(aligned(self._shape(n), self.dtype), bias)

    def total(self, gradients: list[ConvWeight], parameter: Sequence[Tensor]) -> list[Tensor]:
        """The sum over ranges of samples, in the shapes of the parameters, contiguous."""
        _, _, index = columns(self.connection, self.dtype)
        rows = self._by_group(summed([gradient.weight for gradient in gradients]))
        turned = rows.gather(2, index.expand(-1, rows.shape[1], -1))
        outputs, inputs, *kernel = self.connection.weight_shape
        by_tap = turned.view(len(index), inputs, *kernel, -1)
        found = [by_tap.permute(0, 4, 1, 2, 3).reshape(outputs, inputs, *kernel).contiguous()]
        if len(parameter) > 1:
            biases = [gradient.bias for gradient in gradients if gradient.bias is not None]
            found.append(torch.from_numpy(summed(biases)[:outputs]).clone())
        return found

    def _shape(self, n: int) -> tuple[int, int]:
        taps = self.connection.kernel[0] * self.connection.kernel[1]
        return self.connection.in_shape[0] * taps, n

    def _by_group(self, rows: NDArray) -> Tensor:
        """(groups, rows of each, n)."""
        return torch.from_numpy(rows).view(self.connection.groups, -1, rows.shape[1])

    def _turned(self, weight: Tensor) -> Tensor:
        """(groups, C_in / groups * taps, C_out / groups)."""
        groups = self.connection.groups
        by_group = weight.reshape(groups, -1, *weight.shape[1:]).permute(0, 2, 3, 4, 1)
        return by_group.reshape(groups, -1, weight.shape[0] // groups)

    def _form(self, weight: NDArray, bias: NDArray | None) -> ConvWeight:
        connection = self.connection
        _, height, width = connection.in_shape
        _, column, _ = columns(connection, self.dtype)
        rows, positions = axes(connection)
        return ConvWeight(
            weight,
            bias,
            column,
            positions,
            *rows,
            n_position=np.uint64(height * width),
            n_tap=np.uint64(connection.kernel[0] * connection.kernel[1]),
            k_x=np.uint64(connection.kernel[1]),
            w_out=np.uint64(connection.out_shape[2]),
            size=np.uint64(self.layout.size(self.dtype)),
        )


@lru_cache(maxsize=64)
def columns(connection: Conv, dtype: np.dtype) -> tuple[int, NDArray, Tensor]:
    """Where the output channels of a group lie within a site, in whole blocks.

    Returns:
        n: entries of a row of weights.
        column: (C_in,) uint64, where the rows of each input channel begin.
        index: (groups, 1, C_out / groups), which entries of its rows hold a group's outputs.
    """
    own, lanes = connection.n_channel // connection.groups, lanes_of(dtype)
    first = np.arange(connection.groups) * own
    begin = first // lanes * lanes
    n = int((-(-(first + own) // lanes) * lanes - begin).max())
    size = -(-connection.n_channel // lanes) * lanes
    begin = np.minimum(begin, size - n)
    index = torch.from_numpy(first - begin)[:, None, None] + torch.arange(own)
    per_group = connection.in_shape[0] // connection.groups
    return n, np.repeat(begin, per_group).astype(np.uint64), index


@lru_cache(maxsize=64)
def axes(connection: Conv) -> tuple[tuple[Axis, Axis], NDArray]:
    """What each input row and column reaches, and (row, column) of each input position."""
    _, *sizes = connection.in_shape
    _, *outs = connection.out_shape
    both = []
    for dim in range(2):
        step, dilation = connection.stride[dim], connection.dilation[dim]
        taps = np.arange(connection.kernel[dim])
        at = np.arange(sizes[dim])[:, None] + connection.padding[dim][0] - taps * dilation
        out = at // step
        position, tap = np.nonzero((at % step == 0) & (out >= 0) & (out < outs[dim]))
        bound = np.searchsorted(position, np.arange(sizes[dim] + 1))
        both.append(Axis(*(a.astype(np.uint64) for a in (bound, tap, out[position, tap]))))
    positions = np.stack(np.divmod(np.arange(sizes[0] * sizes[1]), sizes[1]), 1)
    return (both[0], both[1]), np.ascontiguousarray(positions.astype(np.uint64))
