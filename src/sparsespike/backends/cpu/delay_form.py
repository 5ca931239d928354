"""A `Delayed`'s parameters as kernels take them, and its gradient as PyTorch takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.dynamics.delays import DelayedWeight, LateGradient, LateWeight
from sparsespike.backends.cpu.linear import LinearWeight
from sparsespike.backends.cpu.linear_form import LinearForm, summed
from sparsespike.backends.cpu.simd import aligned
from sparsespike.backends.cpu.sparse_form import SparseForm
from sparsespike.descriptions import Delayed


@dataclass(frozen=True, eq=False)
class DelayForm:
    """The forms of one connection.

    Attributes:
        connection: its delays.
        synapses: the forms of its synapses.
        n: entries of the state.
        place: (n_out,) of each neuron in it.
    """

    connection: Delayed
    synapses: LinearForm | SparseForm
    n: int
    place: NDArray

    @property
    def n_pairs(self) -> int:
        """Half as many as there are taps."""
        return self.connection.n_taps // 2

    def fan_outs(self, weight: Tensor) -> Tensor:
        """The weights by input: see `LinearForm` and `SparseForm`."""
        return self.synapses.fan_outs(weight)

    def kernel(self, fan_out: Tensor, parameter: Sequence[Tensor]) -> DelayedWeight | LateWeight:
        """The connection, from what `fan_outs` made of its weight."""
        kernel: Any = self.synapses.kernel(fan_out, parameter[:-1])
        bias, plain = kernel.bias, kernel._replace(bias=None)
        steps = parameter[-1].detach()
        if self.connection.per == "output":
            first, share = self.connection.taps(steps)
            offset = np.arange(self.n, dtype=np.uint32)
            offset[self.place] += (first.numpy() * self.n).astype(np.uint32)
            shares = np.zeros((self.connection.n_taps, self.n), self.synapses.dtype)
            shares[:, self.place] = share.numpy()
            return LateWeight(plain, self._paired(shares), offset, self.n_pairs, bias)
        by_input = self.fan_outs(self.connection.by_synapse(steps).contiguous())
        first, share = self.connection.taps(by_input)
        if isinstance(plain, LinearWeight):
            place = np.arange(self.n)
            bound = np.arange(len(fan_out) + 1, dtype=np.uint64) * np.uint64(self.n)
        else:
            place, bound = plain.place, plain.bound
        offset = (first.numpy().astype(np.int64) * self.n + place).astype(np.uint32).reshape(-1)
        pair = self._paired((fan_out * share).numpy())
        return DelayedWeight(pair, offset, bound, self.n_pairs, bias)

    def room(self, *, biased: bool, like: Any) -> DelayedWeight | LateGradient:
        """Zeros in the form of the connection `like`, for its gradient."""
        bias = aligned((self.n,), self.synapses.dtype) if biased else None
        pair = aligned(like.pair.shape, self.synapses.dtype)
        if isinstance(like, LateWeight):
            wanted = pair if self.connection.learned else None
            return LateGradient(like, self.synapses.room(biased=False), wanted, bias)
        return like._replace(pair=pair, bias=bias)

    def total(self, gradients: list[Any], parameter: Sequence[Tensor]) -> list[Tensor]:
        """The sum over ranges of samples, in the shapes of the parameters, contiguous."""
        weight, *bias, steps = (each.detach() for each in parameter)
        sums = None
        if gradients[0].pair is not None:
            pairs = summed([each.pair for each in gradients]).reshape(self.n_pairs, -1, 2)
            sums = pairs.transpose(0, 2, 1).reshape(self.connection.n_taps, -1)
        if self.connection.per == "output":
            grad_weight = self.synapses.total([each.synapses for each in gradients], [weight])[0]
            grad_steps = torch.zeros_like(steps)
            if sums is not None:
                met = torch.from_numpy(np.ascontiguousarray(sums[:, self.place]))
                pull_back: Any = torch.func.vjp(lambda d: self.connection.taps(d)[1], steps)[1]
                (grad_steps,) = pull_back(met)
        else:
            assert sums is not None
            room: Any = self.synapses.room(biased=False)
            met = [room._replace(weight=tap.reshape(room.weight.shape)) for tap in sums]
            brought = torch.stack([self.synapses.total([tap], [weight])[0] for tap in met])
            pull_back = torch.func.vjp(self.connection.weights, weight, steps)[1]
            grad_weight, grad_steps = pull_back(brought)
        found = [grad_weight.contiguous()]
        if bias:
            by_place = summed([each.bias for each in gradients])
            found.append(torch.from_numpy(by_place[self.place]))
        return [*found, grad_steps.contiguous()]

    def _paired(self, taps: NDArray) -> NDArray:
        """(n_taps, ...) -> (n_pairs * ... * 2,), the taps of each pair side by side."""
        pair = aligned((self.n_pairs, taps[0].size, 2), self.synapses.dtype, None)
        pair[...] = taps.reshape(self.n_pairs, 2, -1).transpose(0, 2, 1)
        return pair.reshape(-1)
