"""Synaptic operations of spikes that meet a connection, from the events alone."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsespike.descriptions import Connection, Conv, plain_of
from sparsespike.spikes.lists import Lists
from sparsespike.spikes.spikes import Spikes


def met(connection: Connection, weight: Tensor) -> Tensor:
    """How many weights other than zero a spike of each unit meets, (n_in,) int64; at borders fewer.

    Args:
        connection: its sizes.
        weight: as the module of that name has it.
    """
    return _reached(connection, weight != 0)


def dense(connection: Connection, weight: Tensor) -> int:
    """All weights that all units meet in one step: zeros too, and synapses that a `SparseLinear` lacks."""
    plain = plain_of(connection)
    if isinstance(plain, Conv):
        return int(_reached(plain, torch.ones_like(weight, dtype=torch.bool)).sum())
    return plain.n_in * plain.n_out


def of_all(spikes: Spikes, reached: Tensor) -> int:
    """Operations of all samples and steps, of spikes that are not graded; visits events only."""
    n_unit = spikes.shape[2]
    lists = isinstance(spikes.storage, Lists)
    unit = spikes.unit if lists else spikes.storage.entry(spikes.shape) % n_unit
    return int((torch.bincount(unit, minlength=n_unit) * reached).sum())


def by_step(spikes: Spikes, reached: Tensor) -> tuple[Tensor, Tensor]:
    """Operations of all samples in each step, (T,) int64, and whether they multiply, (T,) bool.

    A step's operations are accumulations where all its numbers are 0 or 1, which is NeuroBench's rule.
    Visits events only.

    Args:
        spikes: (B, T, N).
        reached: (N,), as `met` gives it.
    """
    _, n_step, n_unit = spikes.shape
    entry = spikes.storage.entry(spikes.shape)
    multiplies = torch.zeros(n_step, dtype=torch.bool, device=entry.device)
    if spikes.graded:
        entry, times = entry.unique(return_counts=True)
        # 9 ninths are 1 but for rounding; no other sum of shares comes so near.
        share = entry[(times * spikes.scale - 1.0).abs() > 1e-6]
        multiplies[torch.div(share, n_unit, rounding_mode="floor") % n_step] = True
    step = torch.div(entry, n_unit, rounding_mode="floor") % n_step
    total = torch.zeros(n_step, dtype=torch.int64, device=entry.device)
    return total.index_add(0, step, reached[entry % n_unit]), multiplies


def _reached(connection: Connection, there: Tensor) -> Tensor:
    """(n_in,) int64: how many of the weights that are there each unit meets: a gradient, of ones by ones."""
    plain = plain_of(connection)
    if isinstance(plain, Conv):
        there = there.reshape(plain.weight_shape)
    with torch.inference_mode(False), torch.enable_grad():
        # In float64, where sums of ones are exact up to 2^53.
        ones = torch.ones(
            1, 1, plain.n_in, dtype=torch.float64, device=there.device, requires_grad=True
        )
        out = plain.current(ones, (there.detach().clone().double(),))
        (found,) = torch.autograd.grad(out.sum(), ones)
    return found.flatten().round().long()
