"""`Current`, what connections make of spikes: a sum of terms, not computed before a neuron takes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsespike import ops
from sparsespike.descriptions import Term


@dataclass(frozen=True, eq=False, repr=False)
class Current:
    """The input current of a layer, (B, T, N): what each of its terms brings, added up.

    Currents of one shape add: `a(x) + b(y)`. A neuron takes the terms as they are, each with its own
    events; no tensor of this shape is made on the CPU. `to_dense` computes it, for looking.

    Attributes:
        terms: one per connection called; of graded words one per layer of them.
    """

    terms: tuple[Term, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, T, N)."""
        first = self.terms[0]
        return *first.spikes.shape[:2], first.connection.n_out

    @property
    def unit_shape(self) -> tuple[int, ...]:
        """How the N neurons are laid out: (N,), (C, L) or (C, H, W)."""
        return ops.unit_shape_of(self.terms)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.terms[0].parameter[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.terms[0].parameter[0].device

    def to_dense(self) -> Tensor:
        """(B, T, N), computed; differentiable."""
        return ops.dense_current(self.terms)

    def __add__(self, other: object) -> Current:
        if not isinstance(other, Current):
            raise ValueError(
                f"current: expected a Current to add, found {type(other).__name__}; "
                "what is not made of spikes has no events"
            )
        for name in ("shape", "dtype", "device"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"current: expected {name} {mine} to add, found {theirs}")
        mine, theirs = self.unit_shape, other.unit_shape
        if len(mine) > 1 and len(theirs) > 1 and mine != theirs:
            raise ValueError(f"current: expected unit_shape {mine} to add, found {theirs}")
        return Current(self.terms + other.terms)

    def __radd__(self, other: object) -> Current:
        if isinstance(other, int) and other == 0:  # where `sum` starts
            return self
        return self + other

    def __repr__(self) -> str:
        n_batch, n_step, n_unit = self.shape
        sources = ", ".join(
            f"{type(term.connection).__name__} of {term.spikes.n_spikes:,} spikes"
            for term in self.terms
        )
        return f"Current(B={n_batch}, T={n_step}, N={n_unit}: {sources}; not computed)"
