"""`Held`: what kernels make of weights, kept from call to call while no weight changes.

A forward pass turns weights over and looks whether they are finite, which costs with all of them, where one
step of a stream, or a chunk, costs with a few events. Inside a `Held` both are done once for every parameter
and version of it, and what a neuron is described by once for every state of the neuron. Outside of any,
nothing is kept: `weight.data.mul_(2)` changes a weight and not its version.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import ContextVar, Token
from typing import Any, TypeVar

from torch import Tensor, nn

Made = TypeVar("Made")

MOST = 1000  # things kept, after which all are dropped

_held: ContextVar[Held | None] = ContextVar("sparsespike_held", default=None)


class Held:
    """What was made of tensors; a context in which it is found again."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Any, Any, Any]] = {}
        self._token: Token[Held | None] | None = None

    def __enter__(self) -> Held:
        self._token = _held.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _held.reset(self._token)

    def made(self, key: Hashable, owner: Any, version: Any, make: Callable[[], Made]) -> Made:
        """What `make` gave under this key for this version, or gives now."""
        kept = self._kept.get(key)
        if kept is not None and kept[1] == version:
            return kept[2]
        if len(self._kept) >= MOST:
            self._kept.clear()
        found = make()
        # The owner is kept too, lest its place in memory, which the key names, becomes another's.
        self._kept[key] = owner, version, found
        return found


def inside() -> bool:
    """Whether this is inside a `Held`."""
    return _held.get() is not None


def once(key: Hashable, tensor: Tensor, make: Callable[[], Made]) -> Made:
    """What `make` gives for a tensor: found again for a parameter inside a `Held`, made anew elsewhere."""
    held = _held.get()
    # A weight that is computed is another tensor at every call; one of inference mode has no version.
    if held is None or not isinstance(tensor, nn.Parameter) or tensor.is_inference():
        return make()
    whole = key, tensor.data_ptr(), tensor.shape, tensor.stride()
    return held.made(whole, tensor, tensor._version, make)


def once_of(
    key: Hashable, owner: Any, version: Callable[[], Any], make: Callable[[], Made]
) -> Made:
    """The same for any object; `version` tells its states apart, and is asked inside a `Held` alone."""
    held = _held.get()
    return make() if held is None else held.made((key, id(owner)), owner, version(), make)
