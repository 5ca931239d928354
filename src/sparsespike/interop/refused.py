"""How a layer is refused: by its name, its class, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


class Refused(ValueError):
    """A layer that cannot be kept, named already."""


def refused(name: str, module: nn.Module | str, why: str) -> Refused:
    """The error for a layer that cannot be kept as it is.

    Args:
        name: where it is in its network.
        module: the layer, or what the network's `forward` calls there.
        why: what cannot be kept, and what to do about it.
    """
    kind = module if isinstance(module, str) else _kind(module)
    return Refused(f"{name or 'the module'} ({kind}): {why}")


@contextmanager
def naming(name: str, module: nn.Module) -> Iterator[None]:
    """Puts the layer's name before what is said of its numbers."""
    try:
        yield
    except Refused:
        raise
    except ValueError as error:
        raise refused(name, module, str(error)) from None


def _kind(module: nn.Module) -> str:
    home = type(module).__module__.split(".")[0]
    home = {"torch": "nn", "snntorch": "snn", "__main__": ""}.get(home, home)
    return f"{home}.{type(module).__name__}" if home else type(module).__name__
