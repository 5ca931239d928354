"""What has no kernel is refused, and the backend that has it is named: never a silent stand-in."""

from __future__ import annotations

from typing import TypeVar

Part = TypeVar("Part")


def with_kernel(part: object, kind: type[Part], backend: str) -> Part:
    """`part`, a neuron's or a connection's description, if the backend's kernels compute this kind.

    Raises:
        ValueError: if it is of another class; a subclass is, as its equations may be others.
    """
    if type(part) is not kind:
        raise ValueError(
            f'backend: "{backend}" has no kernel for {type(part).__name__}, expected {kind.__name__}; '
            '"dense" computes any'
        )
    return part
