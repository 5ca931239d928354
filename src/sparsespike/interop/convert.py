"""From the graph of a network of another library to the same graph of our modules."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from sparsespike.connections.flatten import Flatten
from sparsespike.connections.pool import AvgPool2d, MaxPool2d
from sparsespike.interop.calls import flattened, pool_called
from sparsespike.interop.layers import (
    CONNECTIONS,
    NORMS,
    POOLS,
    Dense,
    Folded,
    Thinned,
    View,
    connection_of,
    pool_of,
)
from sparsespike.interop.peer import Peer, Wish
from sparsespike.interop.refused import naming, refused
from sparsespike.interop.roles import given, has_foreign_state, used
from sparsespike.interop.rolling import last, listed, rolled, stacked
from sparsespike.interop.signals import STATE, Asked, Body, Signal, left
from sparsespike.interop.tracing import short, traced

ADDS = (operator.add, operator.iadd, torch.add)
# Layers that act on the last dimensions, and so may see time before them.
TRAILING = (nn.Linear, nn.Dropout, nn.Flatten, nn.Identity)


def convert(peer: Peer, module: nn.Module, asked: Asked, takes: str | None) -> Body:
    """The network as our modules.

    Args:
        peer: the library.
        module: its network.
        asked: see there.
        takes: "spikes" or "dense" if it is known what comes in; None to find out.

    Raises:
        ValueError: naming the layer that cannot be kept, and why.
    """
    graph, modules, views = traced(peer, module)
    loop = rolled(graph, lambda node: peer.kind_of(modules[str(node.target)]) is None)
    walk = _Conversion(peer, loop.graph, modules, asked, takes, views, peer.sequential(module))
    body = walk.run()
    return Body(body, walk.takes or "spikes", walk.gives, loop.steps, loop.static)


class _Conversion:
    """One conversion, node by node."""

    def __init__(
        self,
        peer: Peer,
        graph: fx.Graph,
        modules: dict[str, nn.Module],
        asked: Asked,
        takes: str | None,
        views: dict[str, View],
        sequential: bool,
    ) -> None:
        self.peer, self.old, self.theirs, self.asked = peer, graph, modules, asked
        self.takes, self.sequential, self.root = takes, sequential, modules[""]
        self.views = views
        self.new = fx.Graph()
        self.made: dict[str, nn.Module] = {}
        self.signal: dict[fx.Node, Signal] = {}
        self.neurons: list[nn.Module] = []
        self.gives: Any = None

    def run(self) -> fx.GraphModule:
        """The whole graph."""
        for node in self.old.nodes:
            step: Callable[[fx.Node], Signal] = getattr(self, f"_{node.op}")
            self.signal[node] = step(node)
        for node in reversed(self.new.nodes):
            if not node.users and node.op not in ("placeholder", "output"):
                self.new.erase_node(node)
        wanted = {node.target for node in self.new.nodes if node.op == "call_module"}
        used = {name: module for name, module in self.made.items() if name in wanted}
        return fx.GraphModule(used, self.new, "Body")

    # ---- one method for each kind of node ------------------------------------------------------

    def _placeholder(self, node: fx.Node) -> Signal:
        return Signal(self.takes or "input", self.new.placeholder(node.name))

    def _get_attr(self, node: fx.Node) -> Signal:
        value: Any = self.root
        for part in str(node.target).split("."):
            value = getattr(value, part)
        at_rest = not isinstance(value, torch.Tensor) or not bool(value.any())
        return Signal(STATE if at_rest else "constant")

    def _output(self, node: fx.Node) -> Signal:
        self.gives, nodes = left(node.args[0], self.signal)
        self.new.output(nodes)
        return Signal("output")

    def _call_module(self, node: fx.Node) -> Signal:
        name, module = short(str(node.target)), self.theirs[str(node.target)]
        signal = self._argument(node, name)
        kind = self.peer.kind_of(module)
        if kind is None:
            return self._neurons(node, name, module, signal)
        view = self.views.get(str(node.target)) or self.peer.view(module, self.sequential)
        return self._layer(node, name, module, kind, signal, view)

    def _call_function(self, node: fx.Node) -> Signal:
        target: Any = node.target
        if target in (stacked, listed, last):
            signal = self._argument(node, node.name)
            if signal.kind not in ("spikes", "dense"):
                raise refused(node.name, "forward", f"it gathers {signal.called}")
            return signal if target is stacked else signal._replace(kind=target.__name__)
        if target is operator.getitem:
            return self._part(node)
        if target in ADDS:
            return self._sum(node)
        if target is getattr and node.args[1] == "shape":
            return Signal("size")
        if target is torch.flatten:
            return self._called_flat(node, flattened(node))
        pooled = pool_called(node)
        if pooled is not None:
            signal = self._argument(node, node.name)
            view = "time" if self.sequential else "step"
            return self._layer(node, node.name, pooled, type(pooled), signal, view)
        raise self._unknown(node)

    def _call_method(self, node: fx.Node) -> Signal:
        if node.target == "flatten":
            return self._called_flat(node, flattened(node))
        if node.target == "size":
            return Signal("size")
        if node.target in ("view", "reshape") and self._keeps_first(node):
            return self._called_flat(node, (len(node.args) - 2, -1))
        raise self._unknown(node)

    # ---- layers --------------------------------------------------------------------------------

    def _neurons(self, node: fx.Node, name: str, module: nn.Module, signal: Signal) -> Signal:
        if has_foreign_state(node, self.signal):
            raise refused(
                name, module, "its state comes from elsewhere; ours starts as it would at rest"
            )
        if any(module is other for other in self.neurons):
            raise refused(
                name,
                module,
                "forward calls it twice in a step, and its state goes from call to call",
            )
        self.neurons.append(module)
        outputs = self.peer.outputs(module)
        gives = used(node, outputs, self._is_neurons)
        wish = Wish(name, gives, self.asked.share, self.asked.freeze, self.asked.mass)
        with torch.no_grad():
            cell = self.peer.cell(module, wish)
        if cell.connection is not None:
            signal = self._needs(signal, name, module, "spikes")
        elif signal.kind == "input":
            signal = self._needs(signal, name, module, "dense")
        elif signal.kind == "spikes":
            raise refused(
                name, module, "it takes spikes without weights between; put a connection before it"
            )
        return given(self._call(name, cell, signal), cell, outputs, self.new)

    def _layer(
        self,
        node: fx.Node,
        name: str,
        module: Any,
        kind: type[nn.Module],
        signal: Signal,
        view: View,
    ) -> Signal:
        if view == "time" and not issubclass(kind, TRAILING):
            raise refused(name, module, "it would take time for a dimension of its own")
        if issubclass(kind, nn.Identity):
            return signal
        if issubclass(kind, nn.Flatten):
            return self._flat(node, name, module, (module.start_dim, module.end_dim), view)
        if signal.kind in ("input", "spikes"):
            found = self._on_spikes(name, module, kind, signal)
            if found is not None:
                return found
        if issubclass(kind, NORMS) and signal.kind == "current" and not self.asked.dense:
            return self._fold(node, name, module)
        if signal.kind == "dense" or (self.asked.dense and signal.kind in ("current", "spikes")):
            same = module if self.asked.share else copy.deepcopy(module)
            seen = "time" if view == "batch" and self.peer.owns(module) else view
            return Signal("dense", self._call(name, Dense(same, seen), signal))
        raise refused(
            name,
            module,
            f"it has no sparse form for {signal.called}; dense=True computes it as a dense tensor, as its "
            "library does",
        )

    def _on_spikes(
        self, name: str, module: Any, kind: type[nn.Module], signal: Signal
    ) -> Signal | None:
        if issubclass(kind, CONNECTIONS):
            made, gives = connection_of(name, module, self.asked.share), "current"
        elif issubclass(kind, POOLS):
            with naming(name, module):
                made, gives = pool_of(name, module), "spikes"
        elif kind is nn.Dropout:
            per = "sample" if self.peer.held(module) else "event"
            with naming(name, module):
                made, gives = Thinned(module.p, per), "spikes"
        else:
            return None
        made.train(module.training)
        if isinstance(made, MaxPool2d) and signal.graded:
            raise refused(
                name,
                module,
                "its spikes are worth other than 1, and the largest of them is not looked for",
            )
        graded = signal.graded or isinstance(made, AvgPool2d)
        spikes = self._needs(signal, name, module, "spikes")
        return Signal(gives, self._call(name, made, spikes), (), graded)

    def _flat(
        self, node: fx.Node, name: str, module: nn.Module | str, dims: tuple[int, int], view: View
    ) -> Signal:
        first = 2 if view == "time" else 1
        if dims not in ((first, -1), (-3, -1)):
            expected = f"{first} to -1, all units of a step"
            raise refused(name, module, f"it flattens {dims[0]} to {dims[1]}; expected {expected}")
        signal = self._argument(node, name)
        if signal.kind == "dense":
            return Signal("dense", self._call(name, Dense(nn.Flatten(1), "batch"), signal))
        signal = self._needs(signal, name, module, "spikes")
        return Signal("spikes", self._call(name, Flatten(), signal), (), signal.graded)

    def _fold(self, node: fx.Node, name: str, norm: Any) -> Signal:
        before = self.signal[node.args[0]].node  # pyright: ignore
        connection = None if before is None else self.made.get(str(before.target))
        alone = isinstance(node.args[0], fx.Node) and len(node.args[0].users) == 1
        if before is None or before.op != "call_module" or connection is None or not alone:
            raise refused(
                name, norm, "only the current of one connection, used nowhere else, is normalised"
            )
        (source,) = before.args
        folded = Folded(name, connection, norm if self.asked.share else copy.deepcopy(norm))  # pyright: ignore[reportArgumentType]
        return Signal("current", self._call(name, folded, Signal("spikes", source)))  # pyright: ignore

    def _sum(self, node: fx.Node) -> Signal:
        if len(node.args) != 2 or node.kwargs:
            raise self._unknown(node)
        parts = [self.signal[each] for each in node.args if isinstance(each, fx.Node)]
        if len(parts) == 2 and {part.kind for part in parts} == {"current"}:
            pair = tuple(part.node for part in parts)
            return Signal("current", self.new.call_function(operator.add, pair))
        kinds = " and ".join(part.called for part in parts) or "numbers"
        raise refused(node.name, "an addition in forward", f"it adds {kinds}; only currents add")

    def _called_flat(self, node: fx.Node, dims: tuple[int, int]) -> Signal:
        view: View = "time" if self.sequential else "step"
        return self._flat(node, node.name, f"{node.target} in forward", dims, view)

    # ---- parts ---------------------------------------------------------------------------------

    def _call(self, name: str, module: nn.Module, signal: Signal) -> fx.Node:
        name = name or "layer"
        while name in self.made:  # a layer that is used again
            name = f"{name}_again"
        self.made[name] = module
        return self.new.call_module(name, (signal.node,))

    def _argument(self, node: fx.Node, name: str) -> Signal:
        given = node.args[0] if node.args else None
        if not isinstance(given, fx.Node):
            raise refused(name, "forward", "it takes no signal of the network")
        return self.signal[given]

    def _needs(self, signal: Signal, name: str, module: nn.Module | str, kind: str) -> Signal:
        """The input, now that it is known what it must be."""
        if signal.kind != "input":
            if signal.kind != kind:
                raise refused(name, module, f"it takes {signal.called}, and not {kind}")
            return signal
        if self.takes not in (None, kind):
            raise refused(
                name, module, "the network takes its input as spikes elsewhere, and as values here"
            )
        self.takes = kind
        return signal._replace(kind=kind)

    def _part(self, node: fx.Node) -> Signal:
        whole, index = node.args
        signal = self.signal[whole] if isinstance(whole, fx.Node) else None
        if signal is not None and signal.kind == "size":
            return signal
        if signal is not None and signal.kind == STATE:
            return signal
        if signal is None or signal.kind != "several" or not isinstance(index, int):
            raise self._unknown(node)
        return signal.parts[index]

    def _is_neurons(self, node: fx.Node) -> bool:
        called = node.op == "call_module"
        return called and self.peer.kind_of(self.theirs[str(node.target)]) is None

    def _keeps_first(self, node: fx.Node) -> bool:
        """Whether a view keeps the samples (and steps) and lays out all units flat."""
        *sizes, last_size = node.args[1:]
        told = all(isinstance(size, fx.Node) and self.signal[size].kind == "size" for size in sizes)
        return told and isinstance(last_size, int) and last_size == -1

    def _unknown(self, node: fx.Node) -> ValueError:
        what = getattr(node.target, "__name__", str(node.target))
        why = "it has no meaning for spikes; hand over the layers without it"
        return refused(node.name, f"{what} in forward", why)
