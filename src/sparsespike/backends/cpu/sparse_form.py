"""`SparseLinear`'s parameters as kernels take them, and its gradient as PyTorch takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.borrowed import borrowed
from sparsespike.backends.cpu.linear_form import summed
from sparsespike.backends.cpu.simd import aligned
from sparsespike.backends.cpu.sites import Layout, places
from sparsespike.backends.cpu.sparse import SparseWeight
from sparsespike.descriptions import SparseLinear


class Order(NamedTuple):
    """Synapses by input, those of one input in the order that they were given in.

    Attributes:
        bound: (n_in + 1,) uint64, bounds of each input's synapses.
        neuron: (n_synapses,) uint32, where they lead.
        given: (n_synapses,) int32, which they were in the index.
    """

    bound: NDArray
    neuron: NDArray
    given: NDArray


@dataclass(frozen=True)
class SparseForm:
    """The forms of one `SparseLinear`.

    Attributes:
        connection: its synapses.
        layout: of the neurons.
        dtype: of the parameters.
    """

    connection: SparseLinear
    layout: Layout
    dtype: np.dtype

    def fan_outs(self, weight: Tensor) -> Tensor:
        """(n_synapses,): the weights by input."""
        return torch.from_numpy(borrowed(weight)[order_of(self.connection).given])

    def kernel(self, fan_out: Tensor, parameter: Sequence[Tensor]) -> SparseWeight:
        """The connection, from what `fan_outs` made of its weight."""
        bias = None
        if len(parameter) > 1:
            bias = aligned((self.layout.n_places(self.dtype),), self.dtype)
            bias[self._place()] = borrowed(parameter[1])
        return self._form(fan_out.numpy(), bias)

    def room(self, *, biased: bool) -> SparseWeight:
        """Zeros in the form of the connection, for its gradient."""
        bias = aligned((self.layout.n_places(self.dtype),), self.dtype) if biased else None
        return self._form(np.zeros(self.connection.index.shape[1], self.dtype), bias)

    def total(self, gradients: list[SparseWeight], parameter: Sequence[Tensor]) -> list[Tensor]:
        """The sum over ranges of samples, in the shapes of the parameters, contiguous."""
        weight = torch.empty(parameter[0].shape, dtype=parameter[0].dtype)
        by_input = summed([gradient.weight for gradient in gradients])
        weight.numpy()[order_of(self.connection).given] = by_input
        if len(parameter) == 1:
            return [weight]
        bias = summed([gradient.bias for gradient in gradients if gradient.bias is not None])
        return [weight, torch.from_numpy(bias[self._place()])]

    def _place(self) -> NDArray:
        """(n_out,) of each neuron in the state."""
        return places(self.layout, self.dtype)[: self.connection.n_out]

    def _form(self, weight: NDArray, bias: NDArray | None) -> SparseWeight:
        bound, neuron, _ = order_of(self.connection)
        place = neuron if self.layout.in_a_row else self._place()[neuron]
        return SparseWeight(weight, bias, bound, place, np.uint64(self.layout.size(self.dtype)))


_orders: WeakKeyDictionary[SparseLinear, Order] = WeakKeyDictionary()


def order_of(connection: SparseLinear) -> Order:
    """The synapses by input, sorted once per description, whose index has been checked."""
    order = _orders.get(connection)
    if order is None:
        neuron, unit = connection.index
        given = unit.sort(stable=True).indices
        bound = np.zeros(connection.n_in + 1, np.uint64)
        bound[1:] = unit.bincount(minlength=connection.n_in).cumsum(0).numpy()
        order = Order(bound, neuron[given].numpy().view(np.uint32), given.to(torch.int32).numpy())
        _orders[connection] = order
    return order
