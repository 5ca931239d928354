"""Where the neurons of a layer lie, and their numbers there, as all its walks take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu import form
from sparsespike.backends.cpu.delay_form import DelayForm
from sparsespike.backends.cpu.dynamics.ring import Ring, make_ring
from sparsespike.backends.cpu.dynamics.unit import Unit, unit_of
from sparsespike.backends.cpu.simd import aligned
from sparsespike.backends.cpu.sites import Layout, places, room
from sparsespike.backends.held import once_of
from sparsespike.backends.kernels import check_kept
from sparsespike.descriptions import Cell, Connection, Delayed, Term, rows_waiting


class Placed:
    """Where a layer's neurons lie, and their numbers as kernels take them.

    Args:
        terms: of the layer.
        cell: what it is beside them.
        traced: whether the derivatives by learned numbers are wanted.
        unit: the numbers, where a pass before has made them.

    Attributes:
        layout: by sites, or None: side by side.
        place: (n_out,) of each neuron.
        n: entries of a row.
        unit: the numbers.
        rows: for how many steps delayed events may wait, or 0.
    """

    def __init__(
        self, terms: Sequence[Term], cell: Cell, traced: bool = True, unit: Unit | None = None
    ) -> None:
        like = terms[0].parameter[0].detach()
        self.dtype, self.n_out = form.numpy_dtype(like), terms[0].connection.n_out
        connections = [term.connection for term in terms]
        if cell.recurrent is not None:
            connections.append(cell.recurrent)
        self.layout: Layout | None = form.layout_for(connections, self.n_out, self.dtype)
        self.rows = rows_waiting(connections)
        self.n = form.n_places(self.layout, self.n_out, self.dtype)
        whole = np.arange(self.n_out, dtype=np.uint32)
        self.place = whole if self.layout is None else places(self.layout, self.dtype)[: self.n_out]
        if unit is None:
            unit = once_of(
                ("unit", self.n_out, self.n, self.dtype, self.layout, traced),
                cell.neuron,
                lambda: [(each.data_ptr(), each._version) for each in cell.number],
                lambda: unit_of(cell, self.n_out, like, self.n, self.place, traced),
            )
        self.unit: Unit = unit

    def sites(self) -> Any:
        """Room for one thread's marks."""
        return None if self.layout is None else room(self.layout, self.dtype, True)

    def placed(self, tensor: Tensor) -> NDArray:
        """(B, m, n_out) -> (B, m, n)."""
        found = np.zeros((*tensor.shape[:2], self.n), self.dtype)
        found[:, :, self.place] = tensor.detach().numpy()
        return found

    def seam(self, cell: Cell, n_batch: int, n_kept: int) -> tuple[NDArray, NDArray, NDArray]:
        """The states to start from, and room for those at the end and the eligibilities then; empty if none.

        Raises:
            ValueError: if the states are those of another neuron.
        """
        nothing = np.zeros((0, 0, 0), self.dtype)
        given, ends, trace = nothing, nothing, np.zeros((0, 0), self.dtype)
        if cell.state is not None:
            check_kept(cell.state, n_kept, self.rows)
            given = self.placed(cell.state)
        if cell.returns_state:
            ends = self.zeros(n_batch, n_kept + 2 * self.rows, self.n)
            k, n_learned = len(self.unit.states), self.unit.learned.number
            trace = self.zeros(n_batch if n_learned else 0, n_learned * k * self.n)
        return given, ends, trace

    def by_neuron(self, array: NDArray) -> Tensor:
        """(..., n) -> (..., n_out)."""
        return torch.from_numpy(np.ascontiguousarray(array[..., self.place]))

    def ring(self) -> tuple[Ring | None, Any]:
        """Where delayed events wait, if any, and 1 in the layer's dtype: the last fields of every room."""
        return make_ring(self.rows, self.n, self.dtype, self.sites()), self.dtype.type(1)

    def synapses(self, connection: Connection) -> Any:
        """The forms of a connection into this layer, or from it back to itself."""
        if isinstance(connection, Delayed):
            return DelayForm(connection, self.synapses(connection.synapses), self.n, self.place)
        return form.form_of(connection, self.layout, self.dtype)

    def inflows(self, terms: Sequence[Term]) -> tuple[tuple[Any, ...], list[Tensor]]:
        """The terms as a forward walk takes them, and the weights as events read them."""
        return form.inflows(terms, [self.synapses(term.connection) for term in terms])

    def gradient(self, connection: Connection, kernel: Any, biased: bool) -> Any:
        """Room for a connection's gradient; `kernel`: its own form."""
        synapses = self.synapses(connection)
        if isinstance(synapses, DelayForm):
            return synapses.room(biased=biased, like=kernel)
        return synapses.room(biased=biased)

    def zeros(self, *shape: int) -> NDArray:
        """Zeros in the layer's dtype, aligned."""
        return aligned(shape, self.dtype)
