"""What a backend is told of delays: how a weight is shared among the steps in which it arrives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from sparsespike.descriptions.connections import Linear, SparseLinear

Per = Literal["synapse", "input", "output"]


@dataclass(frozen=True)
class Delayed:
    """Synapses whose events arrive later than without; their last parameter is the delays.

    A delay of d steps brings the share max(0, spread - |m - d|) of a weight m steps later, for whole m >= 0,
    divided by the sum of all shares. With a spread of 1 these are two: of d = k + f, k whole, the share 1 - f
    after k steps and f after k + 1. At a whole d the derivative by d is the one to the right.

    Attributes:
        synapses: which.
        max_steps: no delay is longer.
        per: what has a delay of its own.
        spread: half the width of the triangle, steps, >= 1.
        learned: whether the gradient of the delays is wanted.
    """

    synapses: Linear | SparseLinear
    max_steps: int
    per: Per
    spread: float
    learned: bool

    @property
    def n_in(self) -> int:
        """Units of the layer below."""
        return self.synapses.n_in

    @property
    def n_out(self) -> int:
        """Units of this layer."""
        return self.synapses.n_out

    @property
    def unit_shape(self) -> tuple[int, ...]:
        """(n_out,)."""
        return self.synapses.unit_shape

    @property
    def n_taps(self) -> int:
        """Steps among which a weight is shared, one after the other."""
        return 2 * math.ceil(self.spread)

    @property
    def rows(self) -> int:
        """No event is on its way for more steps."""
        return max(self.max_steps + self.n_taps // 2, self.n_taps - 1)

    @property
    def moves_events(self) -> bool:
        """Whether the delays may be given to the events, before the synapses."""
        return self.per == "input" and isinstance(self.synapses, Linear)

    def taps(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """When the taps of each delay arrive, and their shares, which are differentiable.

        Args:
            steps: (...), delays.

        Returns:
            first: (...), whole numbers; tap c arrives first + c steps later.
            share: (n_taps, ...).
        """
        whole = steps.detach().floor()
        first = (whole + 1 - self.n_taps // 2).clamp(min=0)
        part = steps - whole
        tap = torch.arange(self.n_taps, dtype=steps.dtype, device=steps.device)
        away = first + tap.view(-1, *[1] * steps.dim()) - whole
        late = (self.spread - away) + part
        share = torch.where(away > 0, late, (self.spread + away) - part).clamp(min=0)
        return first, share if self.spread == 1 else share / share.sum(0)

    def by_synapse(self, number: Tensor) -> Tensor:
        """(..., shape of the delays) -> (..., shape of the weight)."""
        if self.per == "synapse":
            return number
        if isinstance(self.synapses, SparseLinear):
            neuron, unit = self.synapses.index.long()
            return number.index_select(-1, neuron if self.per == "output" else unit)
        n_out, n_in = self.n_out, self.n_in
        number = number[..., :, None] if self.per == "output" else number[..., None, :]
        return number.expand(*number.shape[:-2], n_out, n_in)

    def weights(self, weight: Tensor, steps: Tensor) -> Tensor:
        """(n_taps, shape of the weight): what of each weight each tap brings."""
        return weight * self.by_synapse(self.taps(steps)[1])

    def arriving(self, dense: Tensor, parameter: tuple[Tensor, ...], waiting: Tensor) -> Tensor:
        """What the spikes (B, T, n_in) bring, without bias, added to what waits already.

        `waiting` is (2, B, T + m, n_out): what arrives in each of T + m steps, by taps of even number and by
        those of odd number.
        """
        steps, n_step, beyond = parameter[-1], dense.shape[1], waiting.shape[2] - dense.shape[1]
        first = self.by_synapse(self.taps(steps)[0])
        weights = self.weights(parameter[0], steps)
        # What was sent first is added first, as step by step.
        for k in range(min(self.rows, n_step + beyond - 1), -1, -1):
            here = torch.stack(
                [torch.where(first + c == k, weights[c], 0.0) for c in range(self.n_taps)]
            )
            late = functional.pad(dense, (0, 0, k, beyond))[:, : n_step + beyond]
            brought = [self.synapses.current(late, (here[parity::2].sum(0),)) for parity in (0, 1)]
            waiting = waiting + torch.stack(brought)
        return waiting

    def current(self, dense: Tensor, parameter: tuple[Tensor, ...]) -> Tensor:
        """(B, T, n_in) spikes -> (B, T, n_out) currents: the definition, in plain PyTorch."""
        nothing = dense.new_zeros(2, *dense.shape[:2], self.n_out)
        total = self.arriving(dense, parameter, nothing).sum(0)
        return total + parameter[1] if len(parameter) == 3 else total

    def check(self, parameter: tuple[Tensor, ...]) -> None:
        """Raises a ValueError that names the parameter whose shape or value a kernel would not expect."""
        self.synapses.check(parameter[:-1])
        weight, delay = parameter[0], parameter[-1]
        shape = {"input": (self.n_in,), "output": (self.n_out,)}.get(self.per, tuple(weight.shape))
        if delay.shape != shape:
            found = tuple(delay.shape)
            raise ValueError(f"delay: expected {shape}, one per {self.per}, found {found}")
        if delay.numel() and not delay.is_meta:
            low, high = (float(end) for end in delay.detach().aminmax())
            if not 0 <= low <= high <= self.max_steps:  # NaN is neither
                raise ValueError(
                    f"delay: expected steps in [0, {self.max_steps}], found {low} to {high}"
                )
