"""A `DelayedLinear`'s parameters as kernels take them, and its gradient as PyTorch takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.dynamics.delays import DelayedWeight
from sparsespike.backends.cpu.linear_form import LinearForm, summed
from sparsespike.backends.cpu.simd import aligned
from sparsespike.backends.cpu.sites import Layout
from sparsespike.backends.cpu.transpose import transpose
from sparsespike.descriptions import DelayedLinear, Linear


@dataclass(frozen=True)
class DelayForm:
    """The forms of one connection.

    Attributes:
        connection: its sizes.
        layout: of the neurons; None: side by side.
        dtype: of the parameters.
    """

    connection: DelayedLinear
    layout: Layout | None
    dtype: np.dtype

    @property
    def linear(self) -> LinearForm:
        """The form of the weights alone."""
        return LinearForm(
            Linear(self.connection.n_in, self.connection.n_out), self.layout, self.dtype
        )

    def fan_outs(self, weight: Tensor) -> Tensor:
        """(n_in, n): see `LinearForm`."""
        return self.linear.fan_outs(weight)

    def kernel(self, fan_out: Tensor, parameter: Sequence[Tensor]) -> DelayedWeight:
        """The connection, from what `fan_outs` made of its weight."""
        plain = self.linear.kernel(fan_out, parameter[:-1])
        delay = self.linear.fan_outs(parameter[-1]).numpy()
        floor = np.floor(delay)
        far = plain.weight * (delay - floor)
        return DelayedWeight(plain.weight - far, far, floor.astype(np.uint32), plain.bias)

    def room(self, *, biased: bool, like: DelayedWeight) -> DelayedWeight:
        """Zeros in the form of the connection, for its gradient."""
        near, far = (aligned(like.near.shape, self.dtype) for _ in range(2))
        bias = aligned((like.near.shape[1],), self.dtype) if biased else None
        return DelayedWeight(near, far, like.floor, bias)

    def total(self, gradients: list[DelayedWeight], parameter: Sequence[Tensor]) -> list[Tensor]:
        """The sum over ranges of samples, in the shapes of the parameters, contiguous.

        ∇W = (1 - f) near + f far;  ∇d = W (far - near).
        """
        weight, *bias, delay = (each.detach() for each in parameter)
        near = self._by_neuron(summed([each.near for each in gradients]))
        far = self._by_neuron(summed([each.far for each in gradients]))
        part = delay - delay.floor()
        found = [near + part * (far - near)]
        if bias:
            sums = summed([each.bias for each in gradients if each.bias is not None])
            found.append(
                torch.from_numpy(self.linear.by_neuron(sums)[: self.connection.n_out]).clone()
            )
        return [*found, weight * (far - near)]

    def _by_neuron(self, rows: NDArray) -> Tensor:
        found = torch.empty(self.connection.n_out, self.connection.n_in, dtype=torch.float64)
        found = found.to(torch.float32 if self.dtype == np.float32 else torch.float64)
        transpose(self.linear.by_neuron(rows), found.numpy())
        return found
