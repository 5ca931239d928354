"""Spike trains as losses take them: one time per spike and active entry, in the order of the neurons."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsespike.spikes.arguments import described, number
from sparsespike.spikes.spikes import Spikes


class Trains(NamedTuple):
    """Entries by neuron.

    Attributes:
        neuron: (n,) int64, sample * N + unit.
        step: (n,) int64.
    """

    neuron: Tensor
    step: Tensor


def trains(entry: Tensor, shape: tuple[int, int, int]) -> Trains:
    """Flat entries (sample * T + step) * N + unit as neurons and steps."""
    _, n_step, n_unit = shape
    row = torch.div(entry, n_unit, rounding_mode="floor")
    sample = torch.div(row, n_step, rounding_mode="floor")
    return Trains(sample * n_unit + entry % n_unit, row % n_step)


def active_trains(spikes: Spikes) -> Trains:
    """The active entries, in the order of `value`; none where words were made without gradient."""
    return trains(spikes.storage.active_entry(spikes.shape)[: len(spikes.value)], spikes.shape)


def check_trains(name: str, spikes: object) -> None:
    """Raises a ValueError unless these are the spikes of neurons, each entry once."""
    if not isinstance(spikes, Spikes):
        raise ValueError(f"{name}: expected Spikes, found {described(spikes)}")
    if spikes.graded:
        raise ValueError(
            f"{name}: expected spikes of neurons, found sums of them, as SumPool2d gives"
        )


def seconds(name: str, value: Any) -> float:
    """A finite time > 0.

    Raises:
        ValueError: if it is none.
    """
    found = number(name, value, "a finite number of seconds > 0")
    if not (math.isfinite(found) and found > 0):
        raise ValueError(
            f"{name}: expected a finite number of seconds > 0, found {described(value)}"
        )
    return found
