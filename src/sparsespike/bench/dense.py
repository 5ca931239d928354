"""Dense spikes of the compared methods, and the currents that a connection makes of them.

All are tensors (B, T, *unit_shape), in memory with time first and channels last, (T, B, N) or
(T, B, H, W, C): what matrix products and oneDNN's convolutions read and write without a copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sparsespike.connections.connection import Connection
from sparsespike.connections.conv import Conv2d
from sparsespike.connections.linear import Linear
from sparsespike.connections.pool import AvgPool2d, MaxPool2d
from sparsespike.connections.sparse import SparseLinear
from sparsespike.descriptions import Conv
from sparsespike.descriptions import Linear as FullyConnected
from sparsespike.descriptions import SparseLinear as Listed
from sparsespike.spikes.spikes import Spikes

Synapses = FullyConnected | Conv
AnySynapses = Synapses | Listed  # without delays, which no dense method here has
Pool = MaxPool2d | AvgPool2d


def in_shape(synapses: AnySynapses) -> tuple[int, ...]:
    """How the dense methods lay out the input's units: (N_in,) or (C_in, H, W)."""
    return synapses.in_shape if isinstance(synapses, Conv) else (synapses.n_in,)


def pads(synapses: Conv) -> tuple[int, int]:
    """Zeros at both ends of the rows and of the columns.

    Raises:
        ValueError: if they differ from end to end.
    """
    if any(first != last for first, last in synapses.padding):
        raise ValueError(f"padding: expected as many zeros at both ends, found {synapses.padding}")
    return synapses.padding[0][0], synapses.padding[1][0]


def filled(weight: Tensor, synapses: AnySynapses) -> tuple[Tensor, Synapses]:
    """The weight as the dense methods take it, and what it means; differentiable.

    A fixed set of synapses is a matrix to them, zero where there is none.
    """
    if not isinstance(synapses, Listed):
        return weight, synapses
    matrix = weight.new_zeros(synapses.n_out, synapses.n_in)
    place = tuple(synapses.index.to(weight.device, torch.int64))
    return matrix.index_put(place, weight), FullyConnected(synapses.n_in, synapses.n_out)


def pooled(spikes: Tensor, pool: Pool) -> Tensor:
    """(B, T, C, H, W) -> (B, T, C, H', W'): one pooling of all steps."""
    n_batch, n_step = spikes.shape[:2]
    images = spikes.transpose(0, 1).flatten(0, 1)
    sizes = pool.kernel_size, pool.stride, pool.padding
    if isinstance(pool, MaxPool2d):
        made = functional.max_pool2d(images, *sizes, pool.dilation, pool.ceil_mode)
    else:
        rules = pool.ceil_mode, pool.count_include_pad, pool.divisor_override
        made = functional.avg_pool2d(images, *sizes, *rules)
    return made.unflatten(0, (n_step, n_batch)).transpose(0, 1)


def module_of(synapses: AnySynapses, dtype: torch.dtype) -> Connection:
    """The connection that describes itself so.

    Raises:
        ValueError: if zeros differ from end to end.
    """
    if isinstance(synapses, FullyConnected):
        return Linear(synapses.n_in, synapses.n_out, dtype=dtype)
    if isinstance(synapses, Listed):
        return SparseLinear(synapses.n_in, synapses.n_out, synapses.index, dtype=dtype)
    return Conv2d(
        synapses.in_shape[0],
        synapses.n_channel,
        synapses.kernel,
        synapses.stride,
        pads(synapses),
        synapses.dilation,
        synapses.groups,
        dtype=dtype,
    )


def arranged(flat: Tensor, shape: Sequence[int]) -> Tensor:
    """(..., N) -> (..., *shape), channels last in memory where the shape is (C, H, W)."""
    laid = flat.unflatten(-1, tuple(shape))
    return laid.movedim(-3, -1).contiguous().movedim(-1, -3) if len(shape) == 3 else laid


def rows(x: Tensor) -> Tensor:
    """(T, B, *unit_shape) -> (T, B * N) in the order of memory: a view, or a copy of another layout."""
    laid = x.movedim(2, -1) if x.dim() == 5 else x
    return laid.contiguous().flatten(1)


def dense(spikes: Spikes, shape: Sequence[int], dtype: torch.dtype, device: str = "cpu") -> Tensor:
    """(B, T, *shape) of 0 and 1, or of the numbers of graded spikes.

    Args:
        spikes: (B, T, N).
        shape: (N,) or (C, H, W).
        dtype: of the result.
        device: of the result.
    """
    n_batch, n_step, n_unit = spikes.shape
    row, unit = spikes.row().to(device), spikes.unit.to(device)
    if len(shape) == 3:  # by site, then channel
        n_site = shape[1] * shape[2]
        unit = unit % n_site * shape[0] + torch.div(unit, n_site, rounding_mode="floor")
    made = torch.zeros(n_step, n_batch, n_unit, dtype=dtype, device=device)
    place = row % n_step, torch.div(row, n_step, rounding_mode="floor"), unit
    made.index_put_(place, made.new_ones(len(unit)), accumulate=spikes.graded).mul_(spikes.scale)
    if len(shape) == 3:
        made = made.unflatten(2, (*shape[1:], shape[0])).movedim(4, 2)
    return made.transpose(0, 1)


def current(spikes: Tensor, weight: Tensor, synapses: Synapses) -> Tensor:
    """(T, B, *in_shape) -> (T, B, *unit_shape), by one product or one convolution of all steps.

    A fully connected layer takes units of shape (C, H, W) too, flattened in that order.
    """
    n_step, n_batch = spikes.shape[:2]
    if isinstance(synapses, FullyConnected):
        return functional.linear(*flattened(spikes, weight))
    made = functional.conv2d(
        spikes.flatten(0, 1),
        channels_last(weight),
        stride=synapses.stride,
        padding=pads(synapses),
        dilation=synapses.dilation,
        groups=synapses.groups,
    )
    # A kernel of torch's own (float64) may lay channels first.
    laid = made.contiguous(memory_format=torch.channels_last)
    return laid.unflatten(0, (n_step, n_batch))


def flattened(spikes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(T, B, C, H, W) -> (T, B, N) in the order of memory, and the columns of the weight (N_out, N) likewise.

    The few weights are turned, not the many spikes.
    """
    if spikes.dim() == 3:
        return spikes, weight
    turned = weight.unflatten(1, tuple(spikes.shape[2:])).movedim(1, -1).flatten(1)
    return spikes.movedim(2, -1).flatten(2), turned


def channels_last(weight: Tensor) -> Tensor:
    """The same weights (C_out, C_in / groups, kH, kW), by whose strides torch knows what layout is meant.

    With one channel, spikes lie the same way either way, and torch would take channels first.
    """
    _, n_in, height, width = weight.shape
    laid = weight.contiguous(memory_format=torch.channels_last)
    return laid.as_strided(weight.shape, (n_in * height * width, 1, n_in * width, n_in))
