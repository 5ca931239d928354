"""What a `LIF` with the lazy leak (`drive.py`) leaves at the end of a call, and how the next one goes on.

Potentials alone would not do: they are `scale * state`, rounded, and a walk that began with these would
round differently from one that had never stopped. So `state` and `scale` are handed on too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends import Upstream
from sparsespike.backends.cpu import form
from sparsespike.backends.cpu.sites import Layout, places
from sparsespike.backends.kernels import check_kept, plain_neuron
from sparsespike.descriptions import LIF, Cell, Delayed, Dynamics, Term


def lif_of(terms: Sequence[Term], cell: Cell) -> LIF | None:
    """The numbers of a cell that runs with the lazy leak; None for neurons of the form.

    Raises:
        ValueError: if it is neither.
    """
    told = cell.neuron
    if not isinstance(told, Dynamics):
        return plain_neuron(cell, LIF, "cpu")
    if cell.recurrent is not None or cell.record is not None:
        return None
    return None if any(isinstance(term.connection, Delayed) for term in terms) else told.plain


class Seam(NamedTuple):
    """Gradients of states, as the walk back takes them.

    Attributes:
        after: (B, n), of that after the last step; (0, n) for none.
        before: (B, n), of that at the start, written; (0, n) where nobody asked.
    """

    after: NDArray
    before: NDArray


@dataclass(frozen=True)
class Places:
    """Where the neurons of a layer are in its state.

    Attributes:
        layout: of the neurons, None side by side.
        n_out: how many there are.
        dtype: of the layer.
    """

    layout: Layout | None
    n_out: int
    dtype: np.dtype

    @property
    def n(self) -> int:
        """Entries of the state."""
        return form.n_places(self.layout, self.n_out, self.dtype)

    @property
    def place(self) -> NDArray:
        """(n_out,), of each neuron."""
        if self.layout is None:
            return np.arange(self.n_out)
        return places(self.layout, self.dtype)[: self.n_out]

    def given(self, cell: Cell) -> NDArray | None:
        """(B, n + 1), what each sample starts from, and its scale; (0, n + 1): at rest; None without states.

        Raises:
            ValueError: if the state is that of another neuron.
        """
        if cell.state is None:
            return np.zeros((0, self.n + 1), self.dtype) if cell.returns_state else None
        check_kept(cell.state, 1, 0)
        potential = cell.state.detach().numpy()[:, 0]
        found = np.full((len(potential), self.n + 1), -np.inf, self.dtype)
        found[:, self.place] = potential
        found[:, -1] = 1
        lazy = None if cell.lazy is None else cell.lazy.numpy()
        if lazy is not None and lazy.shape == found.shape:
            scale = lazy[:, -1]
            same = (self._potential(lazy) == potential).all(1) & (scale > 0) & (scale <= 1)
            sample = np.flatnonzero(
                same
            )  # others someone has changed since; what pads is ours anyway
            found[sample[:, None], self.place] = lazy[sample[:, None], self.place]
            found[sample, -1] = scale[sample]
        return found

    def ends(self, cell: Cell, n_batch: int) -> NDArray | None:
        """Room for the same after the last step; (0, n + 1) where nobody asked; None without states."""
        if cell.state is None and not cell.returns_state:
            return None
        return np.zeros((n_batch if cell.returns_state else 0, self.n + 1), self.dtype)

    def left(self, cell: Cell, ends: NDArray | None) -> tuple[Tensor | None, Tensor | None]:
        """The state (B, 1, n_out) after the last step, and how the walk has it; None where nobody asked."""
        if ends is None or not cell.returns_state:
            return None, None
        potential = self._potential(ends)[:, None]
        return torch.from_numpy(np.ascontiguousarray(potential)), torch.from_numpy(ends)

    def seam(self, grad: Upstream, n_batch: int) -> Seam | None:
        """What comes back to the states, and room for what goes back; None where neither is wanted."""
        if grad.state is None and not grad.reaches_state:
            return None
        after = np.zeros((0, self.n), self.dtype)
        if grad.state is not None:
            after = np.zeros((n_batch, self.n), self.dtype)
            after[:, self.place] = grad.state.detach().numpy()[:, 0]
        return Seam(after, np.zeros((n_batch if grad.reaches_state else 0, self.n), self.dtype))

    def earlier(self, grad: Upstream, seam: Seam | None) -> Tensor | None:
        """(B, 1, n_out), the gradient of the state at the start; None where nobody asked."""
        if seam is None or not grad.reaches_state:
            return None
        return torch.from_numpy(np.ascontiguousarray(seam.before[:, None, self.place]))

    def _potential(self, ends: NDArray) -> NDArray:
        return ends[:, self.place] * ends[:, -1:]
