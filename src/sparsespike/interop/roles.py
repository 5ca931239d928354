"""What a layer of neurons takes and gives: spikes, a potential, and states, which go back to neurons."""

from __future__ import annotations

import operator
from collections.abc import Callable

from torch import fx

from sparsespike.interop.cell import Cell, Gives
from sparsespike.interop.signals import STATE, Signal

Outputs = tuple[str, ...] | str


def has_foreign_state(node: fx.Node, signal: dict[fx.Node, Signal]) -> bool:
    """Whether a call of neurons takes a state that is neither theirs nor one at rest."""
    for state in [*node.args[1:], *node.kwargs.values()]:
        for part in state if isinstance(state, list | tuple) else [state]:
            if isinstance(part, fx.Node) and signal[part].kind != STATE:
                return True
    return False


def used(node: fx.Node, outputs: Outputs, is_neurons: Callable[[fx.Node], bool]) -> Gives:
    """Which of a layer's outputs go anywhere but back into neurons as their state.

    Args:
        node: the call of the layer.
        outputs: roles of what it gives: one word, or one of each part of a tuple.
        is_neurons: whether a node calls neurons.
    """
    if isinstance(outputs, str):
        return "spikes" if outputs == "spikes" else "potential"
    roles = set()
    for user in node.users:
        if user.op == "call_function" and user.target is operator.getitem:
            role = outputs[user.args[1]]  # pyright: ignore
            if any(not is_neurons(other) or user is other.args[0] for other in user.users):
                roles.add(role)
        else:
            roles |= set(outputs)
    if {"spikes", "potential"} <= roles:
        return "both"
    return "potential" if "potential" in roles else "spikes"


def given(made: fx.Node, cell: Cell, outputs: Outputs, graph: fx.Graph) -> Signal:
    """The signal of a layer, each of its outputs by its role.

    Args:
        made: the call of our cell, in the new graph.
        cell: the cell.
        outputs: as in `used`.
        graph: the new graph.
    """
    graded = cell.graded != 1.0
    if isinstance(outputs, str):
        return Signal(_kind(outputs), made, (), graded)
    found = {}
    for place, role in enumerate(("spikes", "potential")):
        if cell.gives == "both":
            found[role] = graph.call_function(operator.getitem, (made, place))
        elif cell.gives == role:
            found[role] = made
    parts = (
        Signal(_kind(role), found[role], (), graded) if role in found else Signal(STATE)
        for role in outputs
    )
    return Signal("several", None, tuple(parts))


def _kind(role: str) -> str:
    return "dense" if role == "potential" else role
