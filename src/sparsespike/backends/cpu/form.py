"""Tensors and descriptions as the kernels take them, and gradients as PyTorch takes them back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.lif import NONE, SUBTRACT, ZERO, LIFConstants
from sparsespike.backends.cpu.linear import LinearWeight, TiledWeight
from sparsespike.backends.cpu.simd import FOUR, aligned, lanes_of, padded
from sparsespike.backends.cpu.terms import Inflow
from sparsespike.backends.cpu.transpose import transpose
from sparsespike.descriptions import LIF, Readout, Term
from sparsespike.spikes.lists import check_ends

# A neuron without memory leaks by this: what is left of its potential is below any rounding.
SMALLEST_ALPHA = 2.0**-64
RESET = {"subtract": SUBTRACT, "zero": ZERO, "none": NONE}


def rows(unit: Tensor, offset: Tensor) -> tuple[NDArray, NDArray]:
    """A list's units and bounds for kernels: unsigned, so that indexing needs no test for negative ones.

    Raises:
        ValueError: if the bounds end elsewhere than the units.
    """
    bounds = offset.numpy().view(np.uint64)
    units = unit.numpy().view(np.uint32)
    check_ends(len(units), int(bounds[-1]))
    return units, bounds


def fan_outs(weight: Tensor) -> Tensor:
    """(n_in, n): each input's weights side by side, as events read them; n is n_out padded with zeros."""
    array = weight.detach().contiguous().numpy()
    fan_out = aligned((array.shape[1], padded(array.shape[0], array.dtype)), array.dtype, None)
    transpose(array, fan_out)
    return torch.from_numpy(fan_out)


def connection(fan_out: Tensor, parameter: Sequence[Tensor]) -> LinearWeight:
    """The parameters of a connection, from what `fan_outs` made of its weight."""
    weight = fan_out.numpy()
    if len(parameter) == 1:
        return LinearWeight(weight, None)
    bias = aligned(weight.shape[1:], weight.dtype)
    bias[: parameter[1].shape[0]] = parameter[1].detach().numpy()
    return LinearWeight(weight, bias)


def inflow(term: Term, fan_out: Tensor) -> Inflow:
    """A term, from what `fan_outs` made of its weight."""
    spikes = term.spikes
    return Inflow(connection(fan_out, term.parameter), *rows(spikes.unit, spikes.offset))


def tiled(weight: Tensor) -> TiledWeight:
    """The connection that leads from each unit back to its inputs."""
    array = weight.detach().contiguous().numpy()
    n_out, n_in = array.shape
    whole = aligned((n_out, padded(n_in, array.dtype)), array.dtype, None)
    n, width, flat = whole.shape[1], lanes_of(array.dtype), whole.reshape(-1)
    at = 0
    while at < n:
        columns = FOUR * width if at + FOUR * width <= n else width
        tile = flat[n_out * at : n_out * (at + columns)].reshape(n_out, columns)
        part = array[:, at : at + columns]
        tile[:, : part.shape[1]] = part
        tile[:, part.shape[1] :] = 0
        at += columns
    return TiledWeight(whole)


def room(parameter: Sequence[Tensor], *, transposed: bool = False) -> LinearWeight:
    """Zeros in the form of a connection, or of its transpose, for its gradient."""
    dtype = numpy_dtype(parameter[0])
    n_row, n = parameter[0].shape if transposed else parameter[0].shape[::-1]
    weight = aligned((n_row, padded(n, dtype)), dtype)
    if transposed or len(parameter) == 1:
        return LinearWeight(weight, None)
    return LinearWeight(weight, aligned(weight.shape[1:], dtype))


def numpy_dtype(tensor: Tensor) -> np.dtype:
    """NumPy's name for a float tensor's dtype."""
    return np.dtype(np.float32 if tensor.dtype == torch.float32 else np.float64)


def total(
    gradients: list[LinearWeight], parameter: Sequence[Tensor], *, transposed: bool = False
) -> list[Tensor]:
    """The sum over ranges of samples, in the shapes of the parameters, contiguous.

    With `transposed` the gradients are those of the transposed connection.
    """
    weights, biases = zip(*gradients, strict=True)
    whole = _sum(weights)
    gradient = torch.empty(parameter[0].shape, dtype=parameter[0].dtype)
    if transposed:
        gradient.numpy()[...] = whole[:, : gradient.shape[1]]
    else:
        transpose(whole, gradient.numpy())
    summed = [gradient]
    if len(parameter) > 1:
        summed.append(torch.from_numpy(_sum(biases)[: parameter[1].shape[0]]).clone())
    return summed


def _sum(parts: Sequence[NDArray]) -> NDArray:
    """The sum of the parts, in their order; over the first."""
    for part in parts[1:]:
        np.add(parts[0], part, out=parts[0])
    return parts[0]


@lru_cache(maxsize=256)
def lif(neuron: LIF, dtype: np.dtype) -> LIFConstants:
    """The neuron's numbers."""
    kind = dtype.type
    v_th = neuron.v_th - neuron.v_rest
    width = neuron.b_th if np.isfinite(neuron.b_th) else 0.0
    rounding = 8 * np.finfo(kind).eps * (abs(v_th) + width)
    return LIFConstants(
        alpha=kind(max(neuron.alpha, SMALLEST_ALPHA)),
        v_th=kind(v_th),
        b_th=kind(neuron.b_th),
        v_reset=kind(neuron.v_reset - neuron.v_rest),
        jump=kind(neuron.v_th - neuron.v_reset),
        v_rest=kind(neuron.v_rest),
        floor=kind(min(v_th - neuron.b_th, v_th) - rounding),
        reset=RESET[neuron.reset],
        attached=neuron.attached,
    )


def leak(neuron: Readout, dtype: np.dtype) -> tuple[np.floating, np.floating]:
    """(alpha, 1 - alpha) of a readout."""
    return dtype.type(max(neuron.alpha, SMALLEST_ALPHA)), dtype.type(1.0 - neuron.alpha)
