"""The fully connected layer: I_j[t] = sum_i S_i[t] W_ij (+ bias_j), the sum in eq. 2."""

from __future__ import annotations

import torch

from sparsespike import descriptions
from sparsespike.connections.connection import Connection, check_spikes
from sparsespike.connections.current import Current
from sparsespike.connections.delay import Delay
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.arguments import integer
from sparsespike.spikes.spikes import Spikes


class Linear(Connection):
    """Fully connected synapses.

    `weight` is what it is in `nn.Linear`, (n_out, n_in) and contiguous; state dicts load both ways. Sizes
    are read off the weight at every call, so a weight of another size makes it another layer. Units of any
    layout are taken flat.

    Args:
        n_in: units of the layer below, >= 1.
        n_out: units of this layer, >= 1.
        bias: whether a constant current is added at every step. It drives every unit at every step, so
            silent steps then cost time too.
        delay: how much later spikes arrive, a `Delay` of this connection's own; None for none.
        dtype: of the parameters, float32 or float64.
        device: of the parameters.

    Raises:
        ValueError: if a size is < 1.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        bias: bool = False,
        *,
        delay: Delay | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        n_in, n_out = integer("n_in", n_in, 1), integer("n_out", n_out, 1)
        self._make((n_out, n_in), bias, dtype, device)
        self._make_delay(delay, n_out, n_in)

    @property
    def n_in(self) -> int:
        """Units of the layer below."""
        return self.weight.shape[1]

    @property
    def n_out(self) -> int:
        """Units of this layer."""
        return self.weight.shape[0]

    @uncompiled
    def forward(self, spikes: Spikes) -> Current:
        """Spikes (B, T, n_in) -> Current (B, T, n_out), not computed yet.

        Raises:
            ValueError: if `spikes` are none or of another number of units, or `weight` is no matrix. What
                else kernels read is checked when a neuron takes the current.
        """
        check_spikes(spikes)
        parameter = self._parameters_now(2, "(n_out, n_in)")
        n_out, n_in = parameter[0].shape
        if spikes.shape[2] != n_in:
            raise ValueError(f"spikes: expected {n_in} units, found {spikes.shape[2]}")
        return Current(self._terms(spikes, descriptions.Linear(n_in, n_out), parameter))

    def extra_repr(self) -> str:
        """Sizes, as shown by `print`."""
        return f"{self.n_in}, {self.n_out}, bias={self.bias is not None}"
