"""What has no kernel is refused, and the backend that has it is named: never a silent stand-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from sparsespike.descriptions import Cell, Dynamics, Own

Part = TypeVar("Part")


def with_kernel(part: object, kind: type[Part], backend: str) -> Part:
    """`part`, a neuron's or a connection's description, if the backend's kernels compute this kind.

    Raises:
        ValueError: if it is another, or has equations of its own.
    """
    if not isinstance(part, kind):
        name = part.name if isinstance(part, Own | Dynamics) else type(part).__name__
        raise ValueError(
            f'backend: "{backend}" has no kernel for {name}, expected {kind.__name__}; '
            '"dense" computes any'
        )
    return part


def plain_neuron(cell: Cell, kind: type[Part], backend: str) -> Part:
    """The neuron of a cell that is nothing else, if the backend's kernels compute this kind.

    Raises:
        ValueError: if it is another, or the cell has a connection to itself, a state or numbers to learn.
    """
    refuse(cell.recurrent is not None, "recurrent connections", backend)
    refuse(cell.state is not None or cell.returns_state, "states from step to step", backend)
    refuse(cell.record is not None, "recorded potentials", backend)
    return with_kernel(cell.neuron, kind, backend)


def refuse(there: bool, what: str, backend: str) -> None:
    """Raises a ValueError if there is what the backend's kernels do not compute and the CPU's do."""
    if there:
        raise ValueError(f'backend: "{backend}" has no kernel for {what}; "dense" and "cpu" have')


def own_slope(slope_of: Callable[[Tensor], Tensor], distance: Tensor) -> Tensor:
    """g at the active entries, by a surrogate's own `slope`; (n_active,) as `distance`.

    Raises:
        ValueError: if it gives something else.
    """
    slope = slope_of(distance)
    if not isinstance(slope, Tensor) or slope.shape != distance.shape:
        found = tuple(slope.shape) if isinstance(slope, Tensor) else type(slope).__name__
        raise ValueError(
            f"surrogate: expected a slope of the distance's shape {tuple(distance.shape)}, found {found}"
        )
    return slope.detach().to(distance).contiguous()
