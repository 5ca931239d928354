"""`SparseLinear`'s synapses as the GPU's kernels go through them: by neuron forward, by input backward."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sparsespike.descriptions import SparseLinear


class Order(NamedTuple):
    """The synapses twice: sorted by neuron, then input; and by input, then neuron.

    Attributes:
        neuron_bound: (n_out + 1,) int64, bounds of each neuron's synapses in the first order.
        unit: (n_synapses,) int32, their inputs, in the first order.
        given: (n_synapses,) int32, which each was in the index, in the first order.
        unit_bound: (n_in + 1,) int64, bounds of each input's synapses in the second order.
        neuron: (n_synapses,) int32, where they lead, in the second order.
        from_unit: (n_synapses,) int32, their inputs, in the second order.
        from_given: (n_synapses,) int32, which each was in the index, in the second order.
        across: (n_synapses,) int32, place in the first order of each in the second.
    """

    neuron_bound: Tensor
    unit: Tensor
    given: Tensor
    unit_bound: Tensor
    neuron: Tensor
    from_unit: Tensor
    from_given: Tensor
    across: Tensor


_orders: WeakKeyDictionary[SparseLinear, Order] = WeakKeyDictionary()


def order_of(connection: SparseLinear) -> Order:
    """The synapses in both orders, sorted once per description, whose index has been checked.

    Raises:
        ValueError: if there are 2^31 synapses or more, too many for int32.
    """
    order = _orders.get(connection)
    if order is None:
        n_synapses = connection.index.shape[1]
        if n_synapses >= 2**31:
            raise ValueError(f"index: expected fewer than 2^31 synapses, found {n_synapses}")
        neuron, unit = connection.index.long()
        # No pair comes twice, so that there is one order of each sort.
        by_neuron = (neuron * connection.n_in + unit).argsort()
        by_input = (unit * connection.n_out + neuron).argsort()
        order = Order(
            _bounds(neuron[by_neuron], connection.n_out),
            unit[by_neuron].int(),
            by_neuron.int(),
            _bounds(unit[by_input], connection.n_in),
            neuron[by_input].int(),
            unit[by_input].int(),
            by_input.int(),
            by_neuron.argsort()[by_input].int(),
        )
        _orders[connection] = order
    return order


def _bounds(ascending: Tensor, n: int) -> Tensor:
    """(n + 1,) int64: where each of the numbers 0 ... n begins."""
    return torch.searchsorted(ascending, torch.arange(n + 1, device=ascending.device))
