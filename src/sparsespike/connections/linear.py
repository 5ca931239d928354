"""The fully connected layer: I_j[t] = sum_i S_i[t] W_ij (+ bias_j), the sum in eq. 2."""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor, nn

from sparsespike import descriptions
from sparsespike.connections.current import Connection, Current
from sparsespike.descriptions import Term
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.arguments import integer
from sparsespike.spikes.spikes import Spikes


class Linear(Connection):
    """Fully connected synapses.

    `weight` is what it is in `nn.Linear`, (n_out, n_in) and contiguous; state dicts load both ways. Sizes
    are read off the weight at every call, so a weight of another size makes it another layer.

    Args:
        n_in: units of the layer below, >= 1.
        n_out: units of this layer, >= 1.
        bias: whether a constant current is added at every step. It drives every unit at every step, so
            silent steps then cost time too.
        dtype: of the parameters, float32 or float64.
        device: of the parameters.

    Raises:
        ValueError: if a size is < 1.
    """

    _drawn: int | None = None  # checksum of weights that nobody has touched since they were drawn

    def __init__(
        self,
        n_in: int,
        n_out: int,
        bias: bool = False,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        n_in, n_out = integer("n_in", n_in, 1), integer("n_out", n_out, 1)
        self.weight = nn.Parameter(torch.empty(n_out, n_in, dtype=dtype, device=device))
        self.bias = nn.Parameter(torch.empty(n_out, dtype=dtype, device=device)) if bias else None
        self.reset_parameters()

    @property
    def n_in(self) -> int:
        """Units of the layer below."""
        return self.weight.shape[1]

    @property
    def n_out(self) -> int:
        """Units of this layer."""
        return self.weight.shape[0]

    def reset_parameters(self, std: float | None = None) -> None:
        """Draws weights, uniform with mean zero, and a bias uniform in +-1/sqrt(n_in).

        Args:
            std: standard deviation of the weights, > 0, as `neuron.weight_std` gives it. None: uniform in
                +-1/sqrt(n_in), as in `nn.Linear` and the paper's N-MNIST and SHD runs.
        """
        bound = 1.0 / math.sqrt(self.n_in)
        with torch.no_grad():
            self.weight.uniform_(-bound, bound)
            if self.bias is not None:
                self.bias.uniform_(-bound, bound)
        self._drawn = self._fingerprint()
        if std is not None:
            self.widen(std)

    def widen(self, std: float) -> None:
        """Scales weights that nothing changed since they were drawn; leaves all others as they are.

        Args:
            std: the new standard deviation, > 0.
        """
        if self._drawn is None or self._drawn != self._fingerprint():
            return
        with torch.no_grad():
            self.weight.mul_(std * math.sqrt(3.0 * self.n_in))
        self._drawn = None

    def _fingerprint(self) -> int | None:
        """A checksum of the weights; None where there are no numbers to look at."""
        if self.weight.is_meta:
            return None
        return zlib.crc32(self.weight.detach().cpu().contiguous().numpy().tobytes())

    @uncompiled
    def forward(self, spikes: Spikes) -> Current:
        """Spikes (B, T, n_in) -> Current (B, T, n_out), not computed yet.

        Raises:
            ValueError: if `spikes` are none or of another number of units, or `weight` is no matrix. What
                else kernels read is checked when a neuron takes the current.
        """
        if not isinstance(spikes, Spikes):
            raise ValueError(f"spikes: expected Spikes, found {type(spikes).__name__}")
        weight, bias = (
            self.weight,
            self.bias,
        )  # once: a parametrised weight is computed when it is read
        if not isinstance(weight, Tensor) or weight.dim() != 2:
            found = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
            raise ValueError(f"weight: expected (n_out, n_in), found {found}")
        n_out, n_in = weight.shape
        if spikes.shape[2] != n_in:
            raise ValueError(f"spikes: expected {n_in} units, found {spikes.shape[2]}")
        if bias is not None and bias.shape in ((), (1,)) and bias.layout is torch.strided:
            bias = bias.expand(n_out)  # shared by all neurons, as `nn.Linear` takes it
        parameter = (weight,) if bias is None else (weight, bias)
        return Current((Term(spikes, descriptions.Linear(n_in, n_out), parameter),))

    def extra_repr(self) -> str:
        """Sizes, as shown by `print`."""
        return f"{self.n_in}, {self.n_out}, bias={self.bias is not None}"
