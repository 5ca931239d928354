"""`State`: how a call leaves its neurons, so that the next call can go on from there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils._pytree import register_pytree_node


@dataclass(frozen=True, eq=False)
class State:
    """The state of a layer's neurons after the last step of a call.

    A gradient goes through it, from call to call; `detach` ends it (truncated backpropagation through time).

    Attributes:
        value: (B, n_kept, N), the states of the neuron. With lag 1 the threshold is still to look at
            them; with lag 0 it has, and the spikes follow. Where a connection has delays, 2 m rows more of
            what is on its way: the currents of the next m steps, as taps of even number bring them, then
            as those of odd number do; both add up. m is max_steps + ceil(spread) of the longest.
        lazy: (B, n), the same as CPU kernels left it, so that they go on with no rounding in between; None
            where they keep nothing else. It counts for samples whose `value` is what they gave.
    """

    value: Tensor
    lazy: Tensor | None = None

    def detach(self) -> State:
        """The same state, without history."""
        return replace(self, value=self.value.detach())

    def to(self, device: torch.device | str) -> State:
        """The same state on another device; differentiable."""
        lazy = None if self.lazy is None else self.lazy.to(device)
        return replace(self, value=self.value.to(device), lazy=lazy)


class States(tuple["State | States | None", ...]):
    """The states of a network's modules, in their order; None for one that keeps none."""

    def detach(self) -> States:
        """The same states, without history."""
        return States(None if each is None else each.detach() for each in self)

    def to(self, device: torch.device | str) -> States:
        """The same states on another device; differentiable."""
        return States(None if each is None else each.to(device) for each in self)


# As `Spikes`: what wraps modules looks for tensors in what they give.
register_pytree_node(
    State,
    lambda state: ([state.value, *([] if state.lazy is None else [state.lazy])], None),
    lambda leaves, _: State(*leaves),
    serialized_type_name="sparsespike.State",
)
register_pytree_node(
    States,
    lambda states: (list(states), None),
    lambda leaves, _: States(leaves),
    serialized_type_name="sparsespike.States",
)
