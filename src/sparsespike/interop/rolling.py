"""A loop over time inside `forward`, which tracing has written out step by step, as one step again."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import fx

from sparsespike.interop.refused import refused


def stacked(step: Any) -> Any:
    """Stands in a rolled graph for the steps stacked along time, first."""
    return step


def listed(step: Any) -> Any:
    """Stands for a list of the steps."""
    return step


def last(step: Any) -> Any:
    """Stands for the last step."""
    return step


class Rolled(NamedTuple):
    """One step of a loop.

    Attributes:
        graph: of the step, with what becomes of all steps marked by the functions above.
        steps: how many there are; None where `forward` is one step itself.
        static: whether every step sees the same input.
    """

    graph: fx.Graph
    steps: int | None
    static: bool


def rolled(graph: fx.Graph, is_neuron: Callable[[fx.Node], bool]) -> Rolled:
    """The graph of one step.

    Args:
        graph: as traced.
        is_neuron: whether a node calls neurons, which count the steps.

    Raises:
        ValueError: if the steps are not all alike.
    """
    calls: dict[str, list[fx.Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.op == "call_module" and is_neuron(node):
            calls[str(node.target)].append(node)
    counts = {len(each) for each in calls.values()}
    if counts <= {1}:
        return Rolled(graph, None, False)
    if len(counts) > 1:
        told = ", ".join(f"{name.removeprefix('net.')} {len(each)}" for name, each in calls.items())
        raise refused(
            "", "forward", f"in a loop it calls some neurons more often than others: {told}"
        )
    return _Rolling(graph, calls, counts.pop()).run()


class _Rolling:
    """The work of `rolled`."""

    def __init__(self, graph: fx.Graph, calls: dict[str, list[fx.Node]], steps: int) -> None:
        self.graph, self.steps = graph, steps
        self.neuron = {node: k for each in calls.values() for k, node in enumerate(each)}
        self.repeated: dict[str, int] = defaultdict(int)
        for node in graph.nodes:
            if node.op == "call_module":
                self.repeated[str(node.target)] += 1
        self.seen: dict[str, int] = defaultdict(int)
        self.step: dict[fx.Node, int | None] = {}  # None: the same for all steps
        self.gathered: dict[
            fx.Node, tuple[Any, fx.Node]
        ] = {}  # what is made of all steps, and the first

    def run(self) -> Rolled:
        """The first step, after a look at the others."""
        for node in self.graph.nodes:
            self.step[node] = self._step_of(node)
        by_step = [
            [
                node
                for node in self.graph.nodes
                if self.step[node] == k and node not in self.gathered
            ]
            for k in range(self.steps)
        ]
        places = [{node: place for place, node in enumerate(nodes)} for nodes in by_step]
        for k in range(1, self.steps):
            if len(by_step[k]) != len(by_step[0]):
                raise self._unlike(by_step[k][-1] if by_step[k] else by_step[0][-1])
            for node, first in zip(by_step[k], by_step[0], strict=True):
                same = (node.op, node.target, node.kwargs) == (first.op, first.target, first.kwargs)
                if not same or not self._alike(node.args, first.args, k, places, first):
                    raise self._unlike(node)
        return self._written(by_step[0])

    def _step_of(self, node: fx.Node) -> int | None:
        if node in self.neuron:
            return self.neuron[node]
        if node.op in ("placeholder", "get_attr", "output"):
            return None
        if node.target is torch.stack and self._gathers(node, node.args[0], stacked):
            return None
        inputs = [each for each in node.all_input_nodes if each not in self.gathered]
        found = {self.step[each] for each in inputs} - {None}
        if found:
            return max(step for step in found if step is not None)
        if node.target is operator.getitem and self._placed(node) is not None:
            return self._placed(node)
        if node.op == "call_module" and self.repeated[str(node.target)] == self.steps:
            self.seen[str(node.target)] += 1
            return self.seen[str(node.target)] - 1
        return None

    def _placed(self, node: fx.Node) -> int | None:
        """The step that x[k] is of; None for any other index."""
        source, index = node.args
        if not isinstance(source, fx.Node) or source.op != "placeholder":
            return None
        first, *rest = index if isinstance(index, tuple) else (index,)
        whole = all(each in (slice(None), Ellipsis) for each in rest)
        return first if isinstance(first, int) and whole and 0 <= first < self.steps else None

    def _gathers(self, node: fx.Node | None, parts: Any, what: Any) -> bool:
        """Whether these are all steps of one thing, in their order."""
        nodes = isinstance(parts, list | tuple) and len(parts) == self.steps
        if not nodes or not all(isinstance(part, fx.Node) for part in parts):
            return False
        if [self.step[part] for part in parts] != list(range(self.steps)):
            return False
        if node is not None:
            dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
            if dim != 0:
                return False
            self.gathered[node] = (what, parts[0])
        return True

    def _alike(self, one: Any, first: Any, k: int, places: Any, of: fx.Node) -> bool:
        """Whether an argument of step k is to it what that of the first step is to that."""
        if isinstance(one, fx.Node):
            if self._placed_at(one) == k and isinstance(first, fx.Node):
                return self._placed_at(first) == 0
            step = self.step[one]
            if step == k:
                return isinstance(first, fx.Node) and places[0].get(first) == places[k][one]
            if step is None:
                return one is first
            # A state: of the step before, where the first step has one of nothing.
            at_rest = not isinstance(first, fx.Node) or self.step[first] is None
            return step == k - 1 and of in self.neuron and at_rest
        if isinstance(one, list | tuple):
            same = isinstance(first, list | tuple) and len(one) == len(first)
            return same and all(
                self._alike(a, b, k, places, of) for a, b in zip(one, first, strict=True)
            )
        if of.target is operator.getitem and self._placed(of) == 0:
            return True  # the index itself
        return bool(one == first)

    def _placed_at(self, node: fx.Node) -> int | None:
        return self._placed(node) if node.target is operator.getitem else None

    def _unlike(self, node: fx.Node) -> ValueError:
        return refused(
            node.name,
            "a loop in forward",
            "its steps are not all alike; hand over a module of one step",
        )

    def _written(self, first: list[fx.Node]) -> Rolled:
        """The first step as a graph of its own."""
        new, copied = fx.Graph(), {}
        indexed = any(self._placed_at(node) is not None for node in self.graph.nodes)
        kept = {*first, *(node for node in self.graph.nodes if self.step[node] is None)}
        for node in self.graph.nodes:
            if node not in kept or node.op == "output":
                continue
            if self._placed_at(node) == 0:
                copied[node] = copied[node.args[0]]
            elif node in self.gathered:
                what, source = self.gathered[node]
                copied[node] = new.call_function(what, (copied[source],))
            else:
                copied[node] = new.node_copy(node, lambda each: copied[each])
        (output,) = (node for node in self.graph.nodes if node.op == "output")
        new.output(self._outputs(output.args[0], new, copied))
        return Rolled(new, self.steps, not indexed)

    def _outputs(self, part: Any, new: fx.Graph, copied: dict[fx.Node, fx.Node]) -> Any:
        if isinstance(part, fx.Node):
            if part in copied and self.step[part] is None:
                return copied[part]
            if self.step[part] == self.steps - 1:
                twin = self._first_of(part)
                return new.call_function(last, (copied[twin],))
            raise refused(part.name, "forward", "it gives one step of a loop that is not the last")
        if self._gathers(None, part, listed):
            return new.call_function(listed, (copied[part[0]],))
        if isinstance(part, list | tuple):
            return tuple(self._outputs(each, new, copied) for each in part)
        return part

    def _first_of(self, node: fx.Node) -> fx.Node:
        """What is to the first step what this is to the last."""
        final = [each for each in self.graph.nodes if self.step[each] == self.steps - 1]
        start = [each for each in self.graph.nodes if self.step[each] == 0]
        return start[final.index(node)]
