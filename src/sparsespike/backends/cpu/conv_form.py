"""A convolution's parameters as kernels take them, and its gradient as PyTorch takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.borrowed import borrowed
from sparsespike.backends.cpu.conv import Axis, ConvWeight
from sparsespike.backends.cpu.linear_form import summed
from sparsespike.backends.cpu.simd import aligned, lanes_of
from sparsespike.backends.cpu.sites import GROUP, Layout
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
            bias[: self.layout.channels] = borrowed(parameter[1])
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
        place = torch.from_numpy(np.argsort(tap_order(self.connection)))
        by_tap = turned.view(len(index), inputs, *kernel, -1).index_select(3, place)
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
        """(groups, C_in / groups * taps, C_out / groups), the taps of a row in their order."""
        groups, order = self.connection.groups, torch.from_numpy(tap_order(self.connection))
        weight = weight.index_select(3, order)
        by_group = weight.reshape(groups, -1, *weight.shape[1:]).permute(0, 2, 3, 4, 1)
        return by_group.reshape(groups, -1, weight.shape[0] // groups)

    def _form(self, weight: NDArray, bias: NDArray | None) -> ConvWeight:
        connection, size = self.connection, self.layout.size(self.dtype)
        _, height, width = connection.in_shape
        _, column, _ = columns(connection, self.dtype)
        along, positions = axes(connection, weight.shape[1], weight.shape[1] == size)
        return ConvWeight(
            weight,
            bias,
            column,
            positions,
            *along,
            n_position=np.uint64(height * width),
            n_tap=np.uint64(connection.kernel[0] * connection.kernel[1]),
            size=np.uint64(size),
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
def axes(connection: Conv, n: int, joined: bool) -> tuple[tuple[Axis, Axis], NDArray]:
    """What each input row and column reaches, and (row, column) of each input position.

    Args:
        connection: its sizes.
        n: numbers in a row of weights.
        joined: whether neighbouring output positions of a row may make one run.
    """
    _, height, width = connection.in_shape
    taps = np.arange(connection.kernel[0])
    rows = _axis(connection, 0, taps, 1)
    row, w_out = connection.kernel[1] * n, connection.out_shape[2]
    rows = rows._replace(weight=rows.weight * np.uint64(row), site=rows.site * np.uint64(w_out))
    along = _axis(connection, 1, tap_order(connection), int(GROUP) if joined else 1)
    along = along._replace(weight=along.weight * np.uint64(n))
    positions = np.stack(np.divmod(np.arange(height * width), width), 1)
    return (rows, along), np.ascontiguousarray(positions.astype(np.uint64))


def _axis(connection: Conv, dim: int, order: NDArray, longest: int) -> Axis:
    """The runs of each position along one axis, no longer than that; the taps lie in this order."""
    n, n_out = connection.in_shape[1 + dim], connection.out_shape[1 + dim]
    step, dilation = connection.stride[dim], connection.dilation[dim]
    at = np.arange(n)[:, None] + connection.padding[dim][0] - order * dilation
    out = at // step
    position, tap = np.nonzero((at % step == 0) & (out >= 0) & (out < n_out))
    out = out[position, tap]
    begins = np.ones(len(tap), bool)
    begins[1:] = (position[1:] > position[:-1]) | (np.diff(tap) != 1) | (np.diff(out) != 1)
    within = np.arange(len(tap)) - np.maximum.accumulate(np.where(begins, np.arange(len(tap)), 0))
    first = np.flatnonzero(within % longest == 0)
    length = np.diff(first, append=len(tap))
    bound = np.searchsorted(position[first], np.arange(n + 1))
    return Axis(*(a.astype(np.uint64) for a in (bound, tap[first], out[first], length)))


def tap_order(connection: Conv) -> NDArray:
    """Taps along a row such that, from one position, each leads one output further than the one before.

    That holds for all taps of which the stride lets the same positions through: they lie together, the
    last tap first. Where dilation sets outputs apart no order does, and every run is one tap long.
    """
    taps = np.arange(connection.kernel[1])
    return np.lexsort((-taps, taps * connection.dilation[1] % connection.stride[1]))
