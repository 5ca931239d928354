"""Spike counts over time from event lists, and their gradient."""

from __future__ import annotations

from sparsespike.compiling.compiled import compiled


@compiled
def forward(unit, offset, steps, first, last, total):
    """Counts samples first:last into total (B, N), zeros."""
    for sample in range(first, last):
        for k in range(offset[sample * steps], offset[(sample + 1) * steps]):
            total[sample, unit[k]] += 1


@compiled
def backward(grad, active_unit, active_offset, steps, first, last, gathered):
    """Hands each active entry of samples first:last the gradient (B, N) of its unit's count."""
    for sample in range(first, last):
        for k in range(active_offset[sample * steps], active_offset[(sample + 1) * steps]):
            gathered[k] = grad[sample, active_unit[k]]
