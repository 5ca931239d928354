"""The CPU backend: event-driven forward, sparse backward, in Numba.

Compiled once per combination of connection, neuron and dtype and cached on disk. Parallel over samples;
the same bits for the same input and thread count.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends import Fired, Lists
from sparsespike.backends.cpu import count, drive, readout
from sparsespike.backends.cpu.lif import NONE, SUBTRACT, ZERO, LIFConstants
from sparsespike.backends.cpu.linear import LinearWeight
from sparsespike.backends.cpu.simd import aligned, padded
from sparsespike.backends.cpu.threads import ranges, run_all
from sparsespike.layers.spec import LayerSpec
from sparsespike.neurons import LIF, Readout

# A neuron without memory leaks by this: what is left of its potential is below any rounding.
SMALLEST_ALPHA = 2.0**-64
RESET = {"subtract": SUBTRACT, "zero": ZERO, "none": NONE}


def spiking_forward(events: Lists, parameter: list[Tensor], spec: LayerSpec) -> Fired:
    """One spiking layer; see `Backend`."""
    connection = _kernel_form(parameter)
    dtype, n_out = connection.weight.dtype, spec.connection.n_out
    assert isinstance(spec.neuron, LIF)
    neuron = _constants(spec.neuron, dtype.name)
    n_row = events.batch * events.steps
    out_offset, active_offset = np.empty(n_row + 1, np.int64), np.empty(n_row + 1, np.int64)
    out_offset[0] = active_offset[0] = 0
    driven = len(parameter) > 1 or bool(neuron.floor < 0)
    unit, offset = _units(events.unit), events.offset.numpy()

    def run(first: int, last: int) -> tuple[NDArray, ...]:
        state = aligned((connection.weight.shape[1],), dtype, -np.inf)
        return drive.forward(
            connection,
            neuron,
            unit,
            offset,
            events.steps,
            first,
            last,
            n_out,
            driven,
            state,
            out_offset,
            active_offset,
        )

    parts = ranges(events.batch)
    lists = run_all(run, parts)
    for bounds, kind in ((out_offset, 0), (active_offset, 1)):
        before = 0  # each range counted its rows' bounds from 0
        for (first, last), part in zip(parts, lists, strict=True):
            if before:
                bounds[first * events.steps + 1 : last * events.steps + 1] += before
            before += len(part[kind])
    joined = [np.concatenate(arrays) for arrays in zip(*lists, strict=True)]
    out_unit, active_unit, potential, value = (torch.from_numpy(array) for array in joined)
    return Fired(
        value,
        potential,
        out_unit.view(torch.int32),
        torch.from_numpy(out_offset),
        active_unit.view(torch.int32),
        torch.from_numpy(active_offset),
    )


def spiking_backward(
    grad_value: Tensor,
    events: Lists,
    parameter: list[Tensor],
    fired: Fired,
    spec: LayerSpec,
    need_input: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Sparse gradient of one spiking layer; see `Backend`."""
    connection = _kernel_form(parameter)
    assert isinstance(spec.neuron, LIF)
    neuron = _constants(spec.neuron, connection.weight.dtype.name)
    slope = spec.neuron.surrogate.slope(fired.potential - spec.neuron.v_th)
    coefficient = (grad_value * slope).numpy()
    lists = _Walk(events, need_input)

    def run(first: int, last: int) -> LinearWeight:
        gradient = _zeros_like(connection)
        drive.backward(
            connection,
            gradient,
            neuron,
            *lists.arrays,
            events.steps,
            first,
            last,
            aligned(connection.weight.shape[1:], connection.weight.dtype),
            _units(fired.unit),
            fired.offset.numpy(),
            _units(fired.active_unit),
            fired.active_offset.numpy(),
            fired.potential.numpy(),
            slope.numpy(),
            coefficient,
            lists.gathered.numpy(),
        )
        return gradient

    gradients = run_all(run, ranges(events.batch))
    return lists.gathered, _gradient(gradients, parameter)


def readout_forward(events: Lists, parameter: list[Tensor], spec: LayerSpec) -> Tensor:
    """One readout layer; see `Backend`."""
    connection = _kernel_form(parameter)
    dtype = connection.weight.dtype
    alpha, gain = _leak(spec, dtype)
    shape = (events.batch, events.steps, spec.connection.n_out)
    potential = np.empty(shape, dtype)
    unit, offset = _units(events.unit), events.offset.numpy()

    def run(first: int, last: int) -> None:
        state = aligned(connection.weight.shape[1:], dtype)
        readout.forward(connection, alpha, gain, unit, offset, first, last, state, potential)

    run_all(run, ranges(events.batch))
    return torch.from_numpy(potential)


def readout_backward(
    grad_potential: Tensor,
    events: Lists,
    parameter: list[Tensor],
    spec: LayerSpec,
    need_input: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Gradient of one readout layer; see `Backend`."""
    connection = _kernel_form(parameter)
    alpha, gain = _leak(spec, connection.weight.dtype)
    lists = _Walk(events, need_input)

    def run(first: int, last: int) -> LinearWeight:
        gradient = _zeros_like(connection)
        readout.backward(
            connection,
            gradient,
            alpha,
            gain,
            *lists.arrays,
            first,
            last,
            aligned(connection.weight.shape[1:], connection.weight.dtype),
            grad_potential.detach().numpy(),
            lists.gathered.numpy(),
        )
        return gradient

    gradients = run_all(run, ranges(events.batch))
    return lists.gathered, _gradient(gradients, parameter)


def count_forward(events: Lists, n_unit: int) -> Tensor:
    """Spikes of each unit over time; see `Backend`."""
    total = events.value.new_zeros(events.batch, n_unit)
    arrays = _units(events.unit), events.offset.numpy()
    run_all(
        lambda first, last: count.forward(*arrays, events.steps, first, last, total.numpy()),
        ranges(events.batch),
    )
    return total


def count_backward(grad: Tensor, events: Lists) -> Tensor:
    """Gradient of the counts at the active entries; see `Backend`."""
    gathered = torch.empty_like(events.value)
    arrays = grad.numpy(), _units(events.active_unit), events.active_offset.numpy()
    run_all(
        lambda first, last: count.backward(*arrays, events.steps, first, last, gathered.numpy()),
        ranges(events.batch),
    )
    return gathered


class _Walk:
    """The input lists of a backward walk, and where it writes ε at the active inputs.

    Attributes:
        gathered: (n_active_in,) zeros, or (0,) where ε is not wanted.
        arrays: unit, offset, active unit and active offset (the last (0,) where ε is not wanted).
    """

    def __init__(self, events: Lists, need_input: bool) -> None:
        wanted = need_input and len(events.active_unit) > 0
        self.gathered = events.value.new_zeros(len(events.active_unit) if need_input else 0)
        in_offset = events.active_offset.numpy() if wanted else np.empty(0, np.int64)
        self.arrays = (
            _units(events.unit),
            events.offset.numpy(),
            _units(events.active_unit),
            in_offset,
        )


def _units(unit: Tensor) -> NDArray:
    """Units as kernels take them: unsigned, so that indexing needs no test for negative ones."""
    return unit.numpy().view(np.uint32)


def _kernel_form(parameter: list[Tensor]) -> LinearWeight:
    """The parameters as kernels take them; no copy where rows fill whole blocks already."""
    weight = _padded_rows(parameter[0].detach().t())
    if len(parameter) == 1:
        return LinearWeight(weight, None)
    return LinearWeight(weight, _padded_rows(parameter[1].detach()[None])[0])


def _padded_rows(matrix: Tensor) -> NDArray:
    array = matrix.contiguous().numpy()
    n_row, n = array.shape
    if padded(n, array.dtype) == n:
        return array
    whole = aligned((n_row, padded(n, array.dtype)), array.dtype)
    whole[:, :n] = array
    return whole


def _zeros_like(connection: LinearWeight) -> LinearWeight:
    weight, bias = connection
    return LinearWeight(
        aligned(weight.shape, weight.dtype),
        None if bias is None else aligned(bias.shape, bias.dtype),
    )


def _gradient(gradients: list[LinearWeight], parameter: list[Tensor]) -> list[Tensor]:
    """The sum over ranges, in the shapes and strides of the parameters."""
    weight, bias = gradients[0]
    for part in gradients[1:]:
        weight += part.weight
        if bias is not None:
            bias += part.bias
    padded = [torch.from_numpy(weight).t()] + ([] if bias is None else [torch.from_numpy(bias)])
    summed = []
    for like, total in zip(parameter, padded, strict=True):
        total = total[: like.shape[0]]
        if total.stride() != like.stride():
            total = torch.empty_like(like).copy_(total)
        summed.append(total)
    return summed


def _leak(spec: LayerSpec, dtype: np.dtype) -> tuple[np.floating, np.floating]:
    assert isinstance(spec.neuron, Readout)
    alpha = spec.neuron.alpha
    return dtype.type(max(alpha, SMALLEST_ALPHA)), dtype.type(1.0 - alpha)


@lru_cache(maxsize=256)
def _constants(neuron: LIF, dtype: str) -> LIFConstants:
    kind = np.dtype(dtype).type
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
