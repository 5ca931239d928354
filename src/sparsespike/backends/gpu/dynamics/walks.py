"""Launches of the kernels: what spiking layers and readouts have in common."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from sparsespike.backends.gpu.dynamics import backward, forward
from sparsespike.backends.gpu.dynamics.unit import Unit
from sparsespike.backends.gpu.firing import Target
from sparsespike.backends.gpu.launch import registers
from sparsespike.descriptions import Cell
from sparsespike.spikes.words import UNITS, Words, n_blocks

# Currents loaded before the steps that need them, by the number of states; with more, registers are spilled.
AHEAD = {1: 8, 2: 4, 3: 2}


class Watch(NamedTuple):
    """Neurons whose potential is kept at every step.

    Attributes:
        slot: (N,) int32, the column of each neuron, -1 for none.
        n: columns.
    """

    slot: Tensor
    n: int


class Back(NamedTuple):
    """What a walk back knows at the active entries.

    Attributes:
        coefficient: (n_active,), ε g; c when the walk has passed, where spikes act on the states.
        slope: (n_active,), g; or (0,).
        kick: (k, n_active), what of the derivative by a spike depends on the state; or (0, n_active).
        word, active, start: of the layer's own `Words`, of the samples at hand.
    """

    coefficient: Tensor
    slope: Tensor
    kick: Tensor
    word: Tensor
    active: Tensor
    start: Tensor


class Walks:
    """The walks of one layer's neurons through a segment.

    Args:
        unit: the neurons' numbers.
        cell: whether they begin at a state that was given.
        watch: whose potential is kept.
        steps: T.
    """

    def __init__(self, unit: Unit, cell: Cell, watch: Watch, steps: int) -> None:
        told = unit.told
        self.unit, self.watch, self.steps = unit, watch, steps
        # From neuron to neuron, a row for each that sends.
        self.weight = cell.weight[0].detach().t().contiguous() if cell.weight else None
        self.bias = cell.weight[1].detach() if len(cell.weight) > 1 else None
        n = unit.rows.shape[1]
        lanes = UNITS if self.weight is None else max(UNITS, triton.next_power_of_2(n))
        self.n_program = triton.cdiv(n, lanes)
        self.looks_from = int(told.lag == 1 and cell.state is None)  # at the start nothing fires
        self.given = None if cell.state is None else cell.state.detach()
        self.flags: dict[str, Any] = {
            "K": unit.k,
            "LAG": told.lag,
            "SPIKING": told.spiking,
            "CHANGES": unit.changes,
            "SWALLOWS": unit.swallows,
            "enable_fp_fusion": False,
        }
        self.alone: dict[str, Any] = {"UNITS": UNITS, "num_warps": UNITS // 32}
        self.together = {"UNITS": lanes, "num_warps": lanes // 32, **registers(lanes // 32)}

    def start(self, samples: slice, n: int) -> Tensor:
        """(n, n_kept, N), the state that n samples begin with; to be written over."""
        unit = self.unit
        if self.given is not None:
            return self.given[samples].clone(memory_format=torch.contiguous_format)
        state = unit.start.new_zeros((n, unit.n_kept, unit.start.shape[1]))
        state[:, : unit.k] = unit.start
        return state

    def traces(self, n: int) -> Tensor:
        """(n, P, k, N), the eligibilities that n samples begin with; to be written over."""
        begun = self.unit.trace.expand(n, *self.unit.trace.shape)
        traces = begun.clone(memory_format=torch.contiguous_format)
        return traces if self.given is None else traces.zero_()

    def move(
        self,
        first: int,
        words: int,
        current: Tensor,
        state: Tensor,
        record: Tensor,
        target: Target | None = None,
        kick: Tensor | None = None,
        total: Tensor | None = None,
    ) -> None:
        """Moves the state on through a segment.

        Args:
            first: its first word.
            words: its words.
            current: (B, words * 32, N); V is written over it where active, if that is listed.
            state: (B, n_kept, N), written over.
            record: (B, T, n_watched), written; of no column where nobody is watched.
            target: where spikes are written; None for a readout.
            kick: (k, B, words * 32, N), written; None where it is not wanted.
            total: (B, words * 32, N), written: the currents with what the neurons themselves bring.
        """
        unit, (n_batch, _, n_out) = self.unit, current.shape
        bits, listing, n_word = unit.rows, None, 0
        pool, pool_start, late = unit.rows, unit.rows, False
        if target is not None:
            bits, listing, n_word = target.word, target.listing, target.word.shape[1]
            late = kick is not None and unit.told.lag == 0 and first > 0
            if late:
                assert listing is not None
                pool, pool_start = listing.pool[-unit.k :], listing.pool_start
        if self.bias is not None:
            current += self.bias
        forward.move[(n_batch, self.n_program)](
            current,
            state,
            unit.rows,
            bits,
            bits if target is None else target.active,
            bits if listing is None else listing.count,
            current if kick is None else kick,
            pool,
            pool_start,
            self.watch.slot,
            record,
            unit.rows if self.weight is None else self.weight,
            current if total is None else total,
            first,
            n_word,
            words,
            self.steps,
            self.looks_from,
            n_out,
            n_batch * n_word * n_blocks(n_out),
            self.watch.n,
            pool.shape[1],
            RECORDED=listing is not None,
            KICKS=kick is not None,
            LATE=late,
            WATCHED=record.shape[2] > 0,
            RECURRENT=self.weight is not None,
            TOTALS=total is not None,
            AHEAD=AHEAD[unit.k],
            **self.flags,
            **self.together,
        )

    def trace(
        self,
        first: int,
        words: int,
        current: Tensor,
        state: Tensor,
        traces: Tensor,
        record: Tensor,
        slope: Tensor | None = None,
        grad: Tensor | None = None,
        number: Tensor | None = None,
    ) -> None:
        """Moves the eligibilities on through a segment, before `move` does so with the state.

        Args:
            first, words, current, state: see `move`; read.
            traces: (B, P, k, N), written over.
            record: (B, P, T, n_watched), written: ∂V/∂p; of no column where nobody is watched.
            slope: (P, B, words * 32, N), written where active: ∂d/∂p, of a spiking layer.
            grad: (B, T, N), ∂L/∂V, of a readout,
            number: (B, P, N), and what the gradients of its numbers are added to.
        """
        unit, (n_batch, _, n_out) = self.unit, current.shape
        forward.trace[(n_batch, n_blocks(n_out), unit.n_learned)](
            current,
            state,
            traces,
            unit.rows,
            unit.learned,
            current if slope is None else slope,
            self.watch.slot,
            record,
            current if grad is None else grad,
            traces if number is None else number,
            first,
            words,
            self.steps,
            self.looks_from,
            n_out,
            unit.n_learned,
            len(unit.rows),
            self.watch.n,
            WATCHED=record.shape[3] > 0,
            AHEAD=AHEAD[unit.k],
            **self.flags,
            **self.alone,
        )

    def back(
        self,
        first: int,
        words: int,
        delta: Tensor,
        adjoint: Tensor,
        record: Tensor,
        own: Back | None = None,
        given: Tensor | None = None,
        ends: bool = False,
    ) -> None:
        """Moves λ back through a segment.

        Args:
            first: its first word.
            words: its words.
            delta: (B, words * 32, N), written.
            adjoint: (B, n_kept, N), written over.
            record: (B, T, n_watched), ∂L/∂V.
            own: of a spiking layer.
            given: (B, N), S before the first step, of a layer of lag 0 that goes on from a state.
            ends: whether λ begins with the gradient of a last state of lag 0.
        """
        unit, (n_batch, _, n_out) = self.unit, delta.shape
        nothing = unit.rows
        coefficient, slope, kick, word, active, start = own or (nothing,) * 6
        backward.move_back[(n_batch, self.n_program)](
            coefficient,
            slope,
            kick,
            unit.rows,
            word,
            active,
            start,
            adjoint,
            adjoint if given is None else given,
            self.watch.slot,
            record,
            unit.rows if self.weight is None else self.weight,
            delta,
            first,
            word.shape[1],
            words,
            self.steps,
            n_out,
            self.watch.n,
            len(coefficient),
            KICKED=own is not None and (self.kicked or ends),
            SQUARED=unit.squared,
            ATTACHED=unit.attached,
            ENDS=ends,
            GIVEN=given is not None,
            WATCHED=record.shape[2] > 0,
            RECURRENT=self.weight is not None,
            **self.flags,
            **self.together,
        )

    @property
    def kicked(self) -> bool:
        """Whether a spike acts on states."""
        return self.unit.kicked or self.weight is not None

    def numbers(self, coefficient: Tensor, slopes: Tensor, words: Words) -> Tensor:
        """(P, N), what the active entries bring to the gradients of the learned numbers.

        Args:
            coefficient: (n_active,), c.
            slopes: (P, n_active), ∂d/∂p.
            words: of the layer's spikes.
        """
        (n_batch, n_word, n_out), n_learned = words.word.shape, self.unit.n_learned
        number = coefficient.new_empty((n_batch, n_learned, n_out))
        if n_learned:
            backward.add_up[(n_batch, n_blocks(n_out), n_learned)](
                coefficient,
                slopes,
                words.active,
                words.start,
                number,
                n_word,
                n_out,
                len(coefficient),
                n_learned,
                **self.alone,
            )
        return number.sum(0)

    def before(self, adjoint: Tensor) -> Tensor | None:
        """(B, n_kept, N), the gradient of the state that was given, from λ at the first step; or None."""
        unit, given = self.unit, self.given
        if given is None:
            return None
        if unit.told.lag == 1:
            return adjoint
        states, k = adjoint[:, : unit.k], unit.k
        back = torch.einsum("ijn,bin->bjn", unit.part("A"), states)
        if not unit.told.spiking:
            return back
        spike, change = given[:, k:], unit.part("change")
        kick = unit.part("kick") - unit.part("product") * spike
        if unit.attached:
            kick = kick + torch.einsum("ijn,bjn->bin", change, given[:, :k])
        kicked = (kick * states).sum(1)
        if self.weight is not None:  # what the first step got from who fired before
            reach = unit.part("b") + spike * unit.part("swallowed")
            kicked = kicked + (reach * states).sum(1) @ self.weight.t()
        back = back + spike * torch.einsum("ijn,bin->bjn", change, states)
        return torch.cat([back, kicked[:, None]], 1)
