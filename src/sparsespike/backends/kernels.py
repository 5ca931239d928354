"""What has no kernel is refused, and the backend that has it is named: never a silent stand-in."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

from sparsespike.descriptions import LIF, Own

Part = TypeVar("Part")


def with_kernel(part: object, kind: type[Part], backend: str) -> Part:
    """`part`, a neuron's or a connection's description, if the backend's kernels compute this kind.

    Raises:
        ValueError: if it is another, or has equations of its own.
    """
    if not isinstance(part, kind):
        name = part.name if isinstance(part, Own) else type(part).__name__
        raise ValueError(
            f'backend: "{backend}" has no kernel for {name}, expected {kind.__name__}; '
            '"dense" computes any'
        )
    return part


def own_slope(neuron: LIF, potential: Tensor) -> Tensor:
    """g at the active entries, by a surrogate's own `slope`; (n_active,) as `potential`.

    Raises:
        ValueError: if it gives something else.
    """
    slope = neuron.slope(potential - neuron.v_th)
    if not isinstance(slope, Tensor) or slope.shape != potential.shape:
        found = tuple(slope.shape) if isinstance(slope, Tensor) else type(slope).__name__
        raise ValueError(
            f"surrogate: expected a slope of the distance's shape {tuple(potential.shape)}, found {found}"
        )
    return slope.detach().to(potential).contiguous()
