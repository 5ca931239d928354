"""Tensors and descriptions as the kernels take them, and gradients as PyTorch takes them back."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.lif import NONE, SUBTRACT, ZERO, LIFConstants
from sparsespike.backends.cpu.linear import LinearWeight, TiledWeight
from sparsespike.backends.cpu.simd import FOUR, aligned, lanes_of, padded
from sparsespike.neurons.lif import LIF, Readout

# A neuron without memory leaks by this: what is left of its potential is below any rounding.
SMALLEST_ALPHA = 2.0**-64
RESET = {"subtract": SUBTRACT, "zero": ZERO, "none": NONE}


def units(unit: Tensor) -> NDArray:
    """Units as kernels take them: unsigned, so that indexing needs no test for negative ones."""
    return unit.numpy().view(np.uint32)


def bounds(offset: Tensor) -> NDArray:
    """Bounds of rows as kernels take them: unsigned, for the same reason."""
    return offset.numpy().view(np.uint64)


def weights(parameter: list[Tensor]) -> LinearWeight:
    """The parameters of a connection; no copy where rows fill whole blocks already."""
    weight = _padded_rows(parameter[0].detach().t())
    if len(parameter) == 1:
        return LinearWeight(weight, None)
    return LinearWeight(weight, _padded_rows(parameter[1].detach()[None])[0])


def tiled(weight: Tensor) -> TiledWeight:
    """The connection that leads from each unit back to its inputs."""
    array = weight.detach().numpy()
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


def room(parameter: list[Tensor], *, transposed: bool = False) -> LinearWeight:
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
    gradients: list[LinearWeight], parameter: list[Tensor], *, transposed: bool = False
) -> list[Tensor]:
    """The sum over ranges of samples, in the shapes and strides of the parameters.

    With `transposed` the gradients are those of the transposed connection.
    """
    weights, biases = zip(*gradients, strict=True)
    gradient = torch.empty_like(parameter[0])
    into = gradient if transposed else gradient.t()
    summed = [gradient]
    _sum_into(into.numpy(), [weight[:, : into.shape[1]] for weight in weights])
    if len(parameter) > 1:
        summed.append(torch.empty_like(parameter[1]))
        _sum_into(summed[1].numpy(), [bias[: summed[1].shape[0]] for bias in biases])
    return summed


def _sum_into(whole: NDArray, parts: list[NDArray]) -> None:
    """whole = the sum of the parts, in their order."""
    if len(parts) == 1:
        whole[...] = parts[0]
    else:
        np.add(parts[0], parts[1], out=whole)
    for part in parts[2:]:
        whole += part


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
        attached=not neuron.detach_reset and neuron.reset != "none",
    )


def leak(neuron: Readout, dtype: np.dtype) -> tuple[np.floating, np.floating]:
    """(alpha, 1 - alpha) of a readout."""
    return dtype.type(max(neuron.alpha, SMALLEST_ALPHA)), dtype.type(1.0 - neuron.alpha)


def _padded_rows(matrix: Tensor) -> NDArray:
    array = matrix.numpy()
    n_row, n = array.shape
    if padded(n, array.dtype) == n and array.flags.c_contiguous:
        return array
    whole = aligned((n_row, padded(n, array.dtype)), array.dtype, None)
    whole[:, :n] = array
    whole[:, n:] = 0
    return whole
