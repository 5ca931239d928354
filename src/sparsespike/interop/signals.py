"""What the nodes of a converted graph give, and what of it leaves the network."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import fx

from sparsespike.interop.refused import refused

STATE = "state"
NAMES = {
    "current": "a current",
    "dense": "a dense tensor",
    "input": "the input",
    "several": "several outputs",
    "pooled": "a tensor without time",
    "size": "a size",
    "constant": "a constant",
}


class Signal(NamedTuple):
    """What a node of the graph gives.

    Attributes:
        kind: "spikes", "current", "dense", "input" (spikes or values, not known yet), "pooled" (no time
            left), "listed" (a list of steps), "last" (of them), "state", "constant", "size", or "several".
        node: in the new graph; None where there is nothing to compute.
        parts: of "several", each output.
        graded: whether spikes may be worth other than 1.
    """

    kind: str
    node: fx.Node | None = None
    parts: tuple[Signal, ...] = ()
    graded: bool = False

    @property
    def called(self) -> str:
        """The kind, as a message names it."""
        return NAMES.get(self.kind, self.kind)


class Asked(NamedTuple):
    """How a network is to be converted: the arguments of `from_*`."""

    share: bool
    freeze: bool
    dense: bool
    mass: float | None


class Body(NamedTuple):
    """A converted graph.

    Attributes:
        body: the graph, as a module.
        takes: "spikes" or "dense".
        gives: kinds of the output, in the output's structure.
        steps: of a loop in `forward`; None where it is one step, or takes as many as there are.
        static: whether every step of that loop sees the same input (B, ...).
    """

    body: fx.GraphModule
    takes: str
    gives: Any
    steps: int | None
    static: bool


def left(part: Any, signal: dict[fx.Node, Signal]) -> tuple[Any, Any]:
    """(kinds, nodes) of what a network gives, in the structure in which it gives it.

    Args:
        part: of the output's argument.
        signal: what each node gives.

    Raises:
        ValueError: if it gives what no neuron has taken.
    """
    if isinstance(part, dict):
        both = {name: left(each, signal) for name, each in part.items()}
        return {name: each[0] for name, each in both.items()}, {
            name: each[1] for name, each in both.items()
        }
    if isinstance(part, list | tuple):
        both = [left(each, signal) for each in part]
        return tuple(each[0] for each in both), tuple(each[1] for each in both)
    found = signal[part] if isinstance(part, fx.Node) else Signal(STATE)
    return _of_signal(found)


def _of_signal(found: Signal) -> tuple[Any, Any]:
    if found.kind == "several":
        both = [_of_signal(each) for each in found.parts]
        return tuple(each[0] for each in both), tuple(each[1] for each in both)
    if found.kind in ("current", "input", "constant", "size"):
        raise refused("output", "forward", f"it gives {found.called}, which no neuron took")
    return found.kind, found.node
