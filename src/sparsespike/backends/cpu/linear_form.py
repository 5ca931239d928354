"""`Linear`'s parameters as kernels take them, and its gradient as PyTorch takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.borrowed import borrowed
from sparsespike.backends.cpu.linear import LinearWeight, TiledWeight
from sparsespike.backends.cpu.simd import FOUR, aligned, lanes_of, padded
from sparsespike.backends.cpu.sites import Layout, places
from sparsespike.backends.cpu.transpose import transpose
from sparsespike.backends.held import once
from sparsespike.descriptions import Linear


@dataclass(frozen=True)
class LinearForm:
    """The forms of one `Linear`, into a layer whose neurons lie side by side or by sites.

    Attributes:
        connection: its sizes.
        layout: of the neurons, None side by side.
        dtype: of the parameters.
    """

    connection: Linear
    layout: Layout | None
    dtype: np.dtype

    @property
    def n(self) -> int:
        """Entries of the state."""
        if self.layout is None:
            return padded(self.connection.n_out, self.dtype)
        return self.layout.n_places(self.dtype)

    def fan_outs(self, weight: Tensor) -> Tensor:
        """(n_in, n): each input's weights side by side, as events read them, padded with zeros."""
        return once(self, weight, lambda: self._fan_outs(weight))

    def _fan_outs(self, weight: Tensor) -> Tensor:
        array = borrowed(weight.contiguous())
        if self.layout is not None:
            array = self._placed(array)
        fan_out = aligned((self.connection.n_in, self.n), self.dtype, None)
        transpose(array, fan_out)
        return torch.from_numpy(fan_out)

    def kernel(self, fan_out: Tensor, parameter: Sequence[Tensor]) -> LinearWeight:
        """The connection, from what `fan_outs` made of its weight."""
        weight = fan_out.numpy()
        if len(parameter) == 1:
            return LinearWeight(weight, None)
        bias = aligned((self.n,), self.dtype)
        given = borrowed(parameter[1])
        if self.layout is None:
            bias[: len(given)] = given
        else:
            bias[self._place()] = given
        return LinearWeight(weight, bias)

    def tiled(self, weight: Tensor) -> TiledWeight:
        """The connection that leads from each unit back to its inputs."""
        array = borrowed(weight.contiguous())
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

    def room(self, *, biased: bool) -> LinearWeight:
        """Zeros in the form of the connection, for its gradient."""
        weight = aligned((self.connection.n_in, self.n), self.dtype)
        return LinearWeight(weight, aligned((self.n,), self.dtype) if biased else None)

    def total(self, gradients: list[LinearWeight], parameter: Sequence[Tensor]) -> list[Tensor]:
        """The sum over ranges of samples, in the shapes of the parameters, contiguous."""
        weight = self.by_neuron(summed([gradient.weight for gradient in gradients]))
        found = [torch.empty(parameter[0].shape, dtype=parameter[0].dtype)]
        transpose(weight, found[0].numpy())
        if len(parameter) > 1:
            bias = summed([part.bias for part in gradients if part.bias is not None])
            bias = self.by_neuron(bias)[: self.connection.n_out]
            found.append(torch.from_numpy(bias).clone())
        return found

    def transposed_room(self) -> LinearWeight:
        """Zeros in the form of the transposed connection, for its gradient."""
        shape = self.connection.n_out, padded(self.connection.n_in, self.dtype)
        return LinearWeight(aligned(shape, self.dtype), None)

    def transposed_total(
        self, gradients: list[LinearWeight], parameter: Sequence[Tensor]
    ) -> list[Tensor]:
        """The same as `total`, of gradients of the transposed connection."""
        weight = summed([gradient.weight for gradient in gradients])
        return [torch.from_numpy(weight[:, : parameter[0].shape[1]].copy())]

    def by_neuron(self, by_place: NDArray) -> NDArray:
        """(..., n) -> (..., n_out or more), by neuron."""
        return by_place if self.layout is None else by_place[..., self._place()]

    def _place(self) -> NDArray:
        assert self.layout is not None
        return places(self.layout, self.dtype)

    def _placed(self, weight: NDArray) -> NDArray:
        """(n, n_in): the fan-ins at the places of their neurons."""
        placed = np.zeros((self.n, weight.shape[1]), weight.dtype)
        placed[self._place()] = weight
        return placed


def summed(parts: Sequence[NDArray]) -> NDArray:
    """The sum of the parts, in their order; over the first."""
    for part in parts[1:]:
        np.add(parts[0], part, out=parts[0])
    return parts[0]
