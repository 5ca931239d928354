"""Ranges of `torch.profiler`, named by layer and pass: "layer 1: Linear 784-200, LIF, forward".

Without a profiler nothing is named and nothing recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from torch.autograd import profiler

from sparsespike.descriptions import LIF, Cell, Connection, Conv, Delayed, Neuron, Readout

_unnamed = nullcontext()
_place: ContextVar[str] = ContextVar("sparsespike_place", default="")


def ranged(name: Callable[[], str], which: str) -> AbstractContextManager[Any]:
    """The range of one pass of a layer, in every profiler that listens (`emit_nvtx` too).

    Args:
        name: makes the layer's name, where it is wanted.
        which: "forward" or "backward".
    """
    if not profiler._is_profiler_enabled:
        return _unnamed
    return profiler.record_function(f"{name()}, {which}")


def layer_of_network(position: int) -> AbstractContextManager[None]:
    """What is called inside the `with` is the layer at this position, from 0; one in one has both numbers."""
    return _placed(position) if profiler._is_profiler_enabled else _unnamed


@contextmanager
def _placed(position: int) -> Iterator[None]:
    outer = _place.get()
    token = _place.set(f"{outer}.{position + 1}" if outer else f"layer {position + 1}")
    try:
        yield
    finally:
        _place.reset(token)


def here() -> str:
    """Which layer of a network is being called: "layer 1", or "layer 2.1" of a network in it; else ""."""
    return _place.get()


def layer_name(place: str, connections: Iterable[Connection], cell: Cell) -> str:
    """What a layer is called: its place, the sizes of its connections, and its neurons."""
    # Graded words are a term for each of their layers, all of one connection.
    names = [" + ".join(dict.fromkeys(map(_connection, connections))), _neuron(cell.neuron)]
    if cell.recurrent is not None:
        names.append(f"recurrent {_connection(cell.recurrent)}")
    return named(place, ", ".join(names))


def named(place: str, name: str) -> str:
    """A name, with its place in a network where it has one."""
    return f"{place}: {name}" if place else name


def pool_name(kind: str, below: Iterable[int], own: Iterable[int]) -> str:
    """What a pool is called, from one unit shape to another."""
    return named(here(), f"{kind} {_sizes(below)}-{_sizes(own)}")


def _sizes(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))


def _neuron(neuron: Neuron) -> str:
    if isinstance(neuron, LIF | Readout):
        return "LIF" if neuron.spiking else "Readout"
    return neuron.name


def _connection(connection: Connection) -> str:
    if isinstance(connection, Delayed):
        return f"{_connection(connection.synapses)} delayed"
    if isinstance(connection, Conv):
        below = connection.in_shape[:1] + connection.in_shape[3 - connection.n_dim :]
        return f"Conv{connection.n_dim}d {_sizes(below)}-{_sizes(connection.unit_shape)}"
    return f"{type(connection).__name__} {connection.n_in}-{connection.n_out}"
