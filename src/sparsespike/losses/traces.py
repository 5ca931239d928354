"""A loss on potentials: how far they are from a target trace."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from sparsespike.spikes.arguments import described


def target_trace(potential: Tensor, target: Tensor) -> Tensor:
    """Mean squared error between potentials and what they should be, over all entries.

    For potentials that a neuron recorded, `neuron(current, record=units)`, and for those of a readout. It is
    the loss of pattern generation as in G. Bellec, F. Scherr, A. Subramoney, E. Hajek, D. Salaj, R.
    Legenstein, W. Maass, A solution to the learning dilemma for recurrent networks of spiking neurons, Nature
    Communications 11:3625, 2020, as a mean in place of half a sum. Its gradient reaches the potential at
    every step, active or not.

    Args:
        potential: (B, T, m), float.
        target: (B, T, m), of the same dtype; no gradient goes to it.

    Returns:
        Scalar.

    Raises:
        ValueError: if a shape or dtype is wrong.
    """
    _check(
        "potential", potential, "(B, T, m)", isinstance(potential, Tensor) and potential.dim() == 3
    )
    expected = f"{tuple(potential.shape)} of {potential.dtype} on {potential.device}"
    alike = isinstance(target, Tensor) and (
        (target.shape, target.dtype, target.device)
        == (potential.shape, potential.dtype, potential.device)
    )
    _check("target", target, expected, alike)
    return functional.mse_loss(potential, target.detach())


def _check(name: str, found: Any, expected: str, right: bool) -> None:
    if not right or not found.is_floating_point():
        raise ValueError(f"{name}: expected floats {expected}, found {described(found)}")
