"""Lists and descriptions as the kernels take them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.conv_form import ConvForm
from sparsespike.backends.cpu.lif import NONE, SUBTRACT, ZERO, LIFConstants
from sparsespike.backends.cpu.linear_form import LinearForm
from sparsespike.backends.cpu.simd import padded
from sparsespike.backends.cpu.sites import Layout, row
from sparsespike.backends.cpu.sparse_form import SparseForm
from sparsespike.backends.cpu.terms import Inflow
from sparsespike.backends.kernels import with_kernel
from sparsespike.descriptions import (
    LIF,
    Connection,
    Conv,
    Delayed,
    Linear,
    Readout,
    SparseLinear,
    Term,
    plain_of,
)
from sparsespike.spikes.lists import Lists, check_ends
from sparsespike.spikes.spikes import Spikes

Form = LinearForm | ConvForm | SparseForm

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


def form_of(connection: Connection, layout: Layout | None, dtype: np.dtype) -> Form:
    """A connection's forms, into a layer of this layout."""
    if isinstance(connection, Conv):
        assert layout is not None
        return ConvForm(connection, layout, dtype)
    if isinstance(connection, SparseLinear):
        assert layout is not None
        return SparseForm(connection, layout, dtype)
    # In a row neurons lie side by side.
    layout = None if layout is not None and layout.in_a_row else layout
    return LinearForm(with_kernel(connection, Linear, "cpu"), layout, dtype)


def forms_of(terms: Sequence[Term], layout: Layout | None, dtype: np.dtype) -> list[Form]:
    """The forms of the terms' connections."""
    return [form_of(term.connection, layout, dtype) for term in terms]


def has_bias(connection: Connection, parameter: Sequence[Tensor]) -> bool:
    """Whether a bias is among a connection's tensors."""
    return len(parameter) > (2 if isinstance(connection, Delayed) else 1)


def layout_of(terms: Sequence[Term]) -> Layout | None:
    """How the layer's neurons lie: by the positions of a convolution if there is one, else side by side.

    Side by side is a row of sites if there are sparse synapses, which reach some of them alone.
    """
    connections = [term.connection for term in terms]
    return layout_for(connections, connections[0].n_out, numpy_dtype(terms[0].parameter[0]))


def layout_for(connections: Sequence[Connection], n_out: int, dtype: np.dtype) -> Layout | None:
    """The same, of the connections into a layer."""
    connections = [plain_of(connection) for connection in connections]
    for connection in connections:
        if isinstance(connection, Conv):
            channels, height, width = connection.out_shape
            return Layout(height * width, channels)
    if any(isinstance(connection, SparseLinear) for connection in connections):
        return row(n_out, dtype)
    return None


def n_places(layout: Layout | None, n_out: int, dtype: np.dtype) -> int:
    """Entries of the state."""
    return padded(n_out, dtype) if layout is None else layout.n_places(dtype)


def inflow(term: Term, form: Any, fan_out: Tensor) -> Inflow:
    """A term, from what `fan_outs` made of its weight."""
    spikes = term.spikes
    return Inflow(form.kernel(fan_out, term.parameter), *rows(spikes.unit, spikes.offset))


def inflows(terms: Sequence[Term], forms: Sequence[Any]) -> tuple[tuple[Inflow, ...], list[Tensor]]:
    """The terms as a forward walk takes them, and the weights as events read them; `forms`: one per term."""
    kept = [
        synapses.fan_outs(term.parameter[0]) for term, synapses in zip(terms, forms, strict=True)
    ]
    return tuple(map(inflow, terms, forms, kept)), kept


class WalkLists:
    """The input lists of a backward walk, and where it writes ε at the active inputs.

    Attributes:
        gathered: (n_active_in,), or (0,) where ε is not wanted.
        arrays: unit, offset, active unit and active offset (the last (0,) where ε is not wanted).
    """

    def __init__(self, spikes: Spikes, need_input: bool) -> None:
        self.gathered = spikes.value.new_empty(len(spikes.active_unit) if need_input else 0)
        active = np.empty(0, np.uint32), np.empty(0, np.uint64)
        if need_input and len(spikes.active_offset):
            active = rows(spikes.active_unit, spikes.active_offset)
        self.arrays = (*rows(spikes.unit, spikes.offset), *active)
        self._most = None if spikes.graded else spikes.shape[2]

    def most_events(self) -> int:
        """No row has more; of plain spikes, one per unit."""
        if self._most is None:
            self._most = int(np.diff(self.arrays[1]).max(initial=0))
        return self._most


def joined(
    found: Sequence[tuple[NDArray, ...]],
    parts: Sequence[tuple[int, int]],
    steps: int,
    offset: NDArray,
    active_offset: NDArray,
) -> tuple[Any, ...]:
    """Lists of what ranges of samples gave, whose bounds each counted from 0; and the rest they gave."""
    for bounds, kind in ((offset, 0), (active_offset, 1)):
        before = 0
        for (first, last), part in zip(parts, found, strict=True):
            if before:
                bounds[first * steps + 1 : last * steps + 1] += before
            before += len(part[kind])
    whole = [np.concatenate(arrays) for arrays in zip(*found, strict=True)]
    unit, active_unit, *rest = (torch.from_numpy(array) for array in whole)
    lists = Lists(
        unit.view(torch.int32),
        torch.from_numpy(offset),
        active_unit.view(torch.int32),
        torch.from_numpy(active_offset),
    )
    return lists, *rest


def numpy_dtype(tensor: Tensor) -> np.dtype:
    """NumPy's name for a float tensor's dtype."""
    return np.dtype(np.float32 if tensor.dtype == torch.float32 else np.float64)


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
