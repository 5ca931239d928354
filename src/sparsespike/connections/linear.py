"""The fully connected layer: I_j[t] = sum_i S_i[t] W_ij (+ bias_j), the sum in eq. 2."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class LinearSpec:
    """What a backend must know of a `Linear` beside its tensors.

    Attributes:
        n_in: units of the layer below.
        n_out: units of this layer.
    """

    n_in: int
    n_out: int

    def current(self, dense: Tensor, parameter: list[Tensor]) -> Tensor:
        """(B, T, n_in) spikes -> (B, T, n_out) currents: the definition, in plain PyTorch."""
        return functional.linear(dense, *parameter)


class Linear(nn.Module):
    """Fully connected synapses.

    `weight` has PyTorch's shape (n_out, n_in), so an `nn.Linear` state dict loads as it is; it is
    *stored* with the fan-out of one input contiguous, because an event reads one fan-out.

    Args:
        n_in: units of the layer below, >= 1.
        n_out: units of this layer, >= 1.
        bias: whether a constant current is added at every step. It drives every unit at every step, so
            silent steps then cost time too.
        dtype: of the parameters, float32 or float64.

    Raises:
        ValueError: if a size is < 1.
    """

    def __init__(
        self, n_in: int, n_out: int, bias: bool = False, *, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        for name, size in (("n_in", n_in), ("n_out", n_out)):
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name}: expected an integer >= 1, found {size!r}")
        self.n_in, self.n_out = n_in, n_out
        self.weight = nn.Parameter(torch.empty(n_in, n_out, dtype=dtype).t())
        self.bias = nn.Parameter(torch.empty(n_out, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1/sqrt(n_in), as in `nn.Linear` and the paper's N-MNIST and SHD runs."""
        bound = 1.0 / math.sqrt(self.n_in)
        with torch.no_grad():
            self.weight.uniform_(-bound, bound)
            if self.bias is not None:
                self.bias.uniform_(-bound, bound)

    def spec(self) -> LinearSpec:
        """The description that backends work from."""
        return LinearSpec(self.n_in, self.n_out)

    def tensors(self) -> list[Tensor]:
        """The parameters, in the order in which backends take them: weight, then bias if any."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def extra_repr(self) -> str:
        """Sizes, as shown by `print`."""
        return f"{self.n_in}, {self.n_out}, bias={self.bias is not None}"
