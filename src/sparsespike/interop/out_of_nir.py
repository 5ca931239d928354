"""Graphs of NIR as networks of ours (Pedersen et al., Nature Communications 15:8122, 2024)."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from sparsespike.connections.conv import Conv1d, Conv2d
from sparsespike.connections.delay import Delay
from sparsespike.connections.flatten import Flatten
from sparsespike.connections.linear import Linear
from sparsespike.connections.pool import AvgPool2d, SumPool2d
from sparsespike.interop.cell import Cell
from sparsespike.interop.network import Converted
from sparsespike.interop.refused import naming, refused
from sparsespike.interop.schemes import check_scheme, leak_of
from sparsespike.interop.signals import Body
from sparsespike.neurons.cuba import CuBaLIF
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.neuron import Neuron
from sparsespike.neurons.readout import Readout
from sparsespike.neurons.readouts import CuBaReadout, SumReadout
from sparsespike.neurons.surrogates import Surrogate

CURRENTS = ("Affine", "Linear", "Conv1d", "Conv2d")
SPIKING = ("IF", "LIF", "CubaLIF", "Threshold")
READOUTS = ("I", "LI", "CubaLI")
RELAYS = ("Flatten", "SumPool2d", "AvgPool2d")


def network(
    graph: Any, dt: float | None, scheme: str | None, surrogate: Surrogate | None, b_th: float
) -> Converted:
    """See `ss.interop.from_nir`."""
    told = graph.metadata if isinstance(graph.metadata, dict) else {}
    dt = told.get("dt") if dt is None else dt
    scheme = told.get("scheme", "euler") if scheme is None else scheme
    scheme = scheme.decode() if isinstance(scheme, bytes) else scheme
    if dt is None:
        raise ValueError("dt: expected a time step in seconds, as the graph tells none, found None")
    dt = float(dt)
    check_scheme(str(scheme), dt)
    return _Reading(graph, dt, str(scheme), surrogate, b_th).network()


class Named(nn.Module):
    """Stands for a node of NIR in a message."""


class _Reading:
    """One graph, made flat."""

    def __init__(
        self, graph: Any, dt: float, scheme: str, surrogate: Surrogate | None, b_th: float
    ) -> None:
        self.dt, self.scheme = dt, scheme
        self.shared = {"surrogate": surrogate, "b_th": b_th, "lag": 0}
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self._flatten(graph, "")
        for name in [key for key in self.nodes if self.kind(key) == "Scale"]:
            self._fold(name)
        self.before: dict[str, list[str]] = {name: [] for name in self.nodes}
        self.after: dict[str, list[str]] = {name: [] for name in self.nodes}
        for one, other in self.edges:
            self.before[other].append(one)
            self.after[one].append(other)
        self.own: dict[str, str] = {}  # neurons and the connection to themselves
        for name in self.nodes:
            loop = self.before[name] == self.after[name] and len(self.before[name]) == 1
            if loop and self.kind(name) in ("Affine", "Linear"):
                self.own[self.before[name][0]] = name
        for neurons, connection in self.own.items():
            self.before[neurons].remove(connection)
            self.after[neurons].remove(connection)

    def kind(self, name: str) -> str:
        """The class of a node."""
        return type(self.nodes[name]).__name__

    def network(self) -> Converted:
        """All nodes in their order."""
        new, made, out = fx.Graph(), {}, {}
        kinds: dict[str, str] = {}
        order = self._order()
        outputs = [name for name in order if self.kind(name) == "Output"]
        for name in order:
            kind, given = self.kind(name), self.before[name]
            if kind == "Input":
                out[name], kinds[name] = new.placeholder("x"), "spikes"
                continue
            if not given:
                raise self._refused(name, "nothing comes into it")
            if kind in (*SPIKING, *READOUTS):
                signal = self._sum(name, given, kinds, out, new)
                module: nn.Module = self._cell(name)
                kinds[name] = "spikes" if kind in SPIKING else "dense"
            elif kind == "Output":
                continue
            else:
                (source,) = given if len(given) == 1 else (None,)
                if source is None or kinds[source] != "spikes":
                    raise self._refused(name, "it takes the spikes of one node")
                signal = out[source]
                with naming(name, self._stand_in(name)):
                    module = self._between(name)
                kinds[name] = "current" if kind in CURRENTS else "spikes"
                if kind == "Delay":
                    kinds[name], out[name] = "spikes", signal
                    continue
            made[name.replace(".", "_")] = module
            out[name] = new.call_module(name.replace(".", "_"), (signal,))
        sources: list[str] = [each for name in outputs for each in self.before[name]]
        if not sources:
            raise ValueError("graph: expected an Output that something comes into, found none")
        for each in sources:
            if kinds[each] == "current":
                raise self._refused(each, "its current leaves the graph, and no neurons take it")
        nodes: Any = tuple(out[each] for each in sources)
        gives: Any = tuple(kinds[each] for each in sources)
        new.output(nodes if len(nodes) > 1 else nodes[0])
        body = fx.GraphModule(made, new, "Body")
        return Converted(
            Body(body, "spikes", gives if len(gives) > 1 else gives[0], None, False), True
        )

    # ---- the graph -----------------------------------------------------------------------------

    def _flatten(self, graph: Any, prefix: str) -> None:
        """Takes subgraphs for their nodes, and their inputs and outputs away."""
        ends: dict[str, tuple[str, str]] = {}
        for name, node in graph.nodes.items():
            if type(node).__name__ == "NIRGraph":
                self._flatten(node, f"{prefix}{name}.")
                inside = {type(each).__name__: key for key, each in node.nodes.items()}
                ends[name] = tuple(f"{prefix}{name}.{inside[end]}" for end in ("Input", "Output"))  # pyright: ignore
            else:
                self.nodes[f"{prefix}{name}"] = node
        for one, other in graph.edges:
            start = ends[one][1] if one in ends else f"{prefix}{one}"
            stop = ends[other][0] if other in ends else f"{prefix}{other}"
            self.edges.append((start, stop))
        if not prefix:
            for name in [key for key in self.nodes if "." in key]:
                if type(self.nodes[name]).__name__ in ("Input", "Output"):
                    into = [one for one, other in self.edges if other == name]
                    onto = [other for one, other in self.edges if one == name]
                    self.edges = [edge for edge in self.edges if name not in edge]
                    self.edges += [(one, other) for one in into for other in onto]
                    del self.nodes[name]

    def _fold(self, name: str) -> None:
        """Takes a scale into the matrix before it, or into that after it."""
        into = [one for one, other in self.edges if other == name]
        onto = [other for one, other in self.edges if one == name]
        scale = np.asarray(self.nodes[name].scale).reshape(-1)
        alone = sum(one in into for one, _ in self.edges) == len(into) == 1
        if alone and self.kind(into[0]) in ("Affine", "Linear"):
            node = self.nodes[into[0]]
            bias = [node.bias * scale] if self.kind(into[0]) == "Affine" else []
            self.nodes[into[0]] = type(node)(node.weight * scale[:, None], *bias)
        elif onto and all(self.kind(each) in ("Affine", "Linear") for each in onto):
            for each in onto:
                node = self.nodes[each]
                bias = [node.bias] if self.kind(each) == "Affine" else []
                self.nodes[each] = type(node)(node.weight * scale, *bias)
        else:
            raise self._refused(name, "only a Linear or an Affine beside it takes it in")
        self.edges = [edge for edge in self.edges if name not in edge]
        self.edges += [(one, other) for one in into for other in onto]
        del self.nodes[name]

    def _order(self) -> list[str]:
        """Nodes after those that they need; without the connections of neurons to themselves."""
        left = {
            name: set(self.before[name]) for name in self.nodes if name not in self.own.values()
        }
        order: list[str] = []
        while left:
            ready = [name for name, needs in left.items() if not needs & set(left)]
            if not ready:
                cycle = ", ".join(sorted(left))
                raise ValueError(
                    f"graph: expected cycles of neurons and one Linear or Affine each, found one of {cycle}"
                )
            order += ready
            for name in ready:
                del left[name]
        return order

    def _sum(self, name: str, given: list[str], kinds: Any, out: Any, new: fx.Graph) -> fx.Node:
        if any(kinds[each] != "current" for each in given):
            raise self._refused(
                name, "it takes what is no current; put a Linear or a Conv2d before it"
            )
        total = out[given[0]]
        for each in given[1:]:
            total = new.call_function(operator.add, (total, out[each]))
        return total

    def _refused(self, name: str, why: str) -> ValueError:
        return refused(name, f"nir.{self.kind(name)}", why)

    def _stand_in(self, name: str) -> Any:
        return type(f"nir.{self.kind(name)}", (Named,), {"__module__": "__main__"})()

    # ---- nodes ---------------------------------------------------------------------------------

    def _between(self, name: str) -> nn.Module:
        node, kind = self.nodes[name], self.kind(name)
        if kind in ("Affine", "Linear"):
            return self._linear(name)
        if kind in ("Conv1d", "Conv2d"):
            of = Conv1d if kind == "Conv1d" else Conv2d
            weight = np.asarray(node.weight)
            make: Any = of
            made = make(
                weight.shape[1] * int(node.groups),
                weight.shape[0],
                weight.shape[2:],
                *(_size(each) for each in (node.stride, node.padding, node.dilation)),
                int(node.groups),
                True,
                device="meta",
            )
            made.weight, made.bias = _parameter(weight), _parameter(node.bias)
            return made
        if kind == "Flatten":
            return Flatten()
        if kind in ("SumPool2d", "AvgPool2d"):
            of = SumPool2d if kind == "SumPool2d" else AvgPool2d
            return of(*(_size(each) for each in (node.kernel_size, node.stride, node.padding)))
        if kind == "Delay":
            if any(self.kind(each) not in ("Affine", "Linear") for each in self.after[name]):
                raise ValueError("only a Linear or an Affine after it has delays here")
            return Flatten()
        raise ValueError("no module of ours does the same")

    def _linear(self, name: str) -> Linear:
        node = self.nodes[name]
        weight = np.asarray(node.weight)
        bias = getattr(node, "bias", None)
        n_out, n_in = weight.shape
        delay, source = None, self.before[name]
        if len(source) == 1 and self.kind(source[0]) == "Delay":
            steps = np.asarray(self.nodes[source[0]].delay, np.float64).reshape(-1) / self.dt
            whole = np.round(steps)
            if not np.allclose(steps, whole, atol=1e-6):
                raise ValueError(f"the delays before it are no whole steps of {self.dt:g} s")
            init = torch.as_tensor(whole, dtype=torch.float32)
            delay = Delay(int(whole.max()), per="input", init=init)
        made = Linear(n_in, n_out, bias is not None, delay=delay, dtype=_parameter(weight).dtype)
        made.weight, made.bias = _parameter(weight), None if bias is None else _parameter(bias)
        return made

    def _cell(self, name: str) -> Cell:
        with naming(name, self._stand_in(name)):
            neuron = self._neuron(name)
            own = self.own.get(name)
            again = None if own is None else self._linear(own)
            return Cell(neuron, gives="spikes" if neuron.spiking else "potential", recurrent=again)

    def _neuron(self, name: str) -> Neuron:
        node, kind = self.nodes[name], self.kind(name)
        if kind == "I":
            return SumReadout(_number(np.asarray(node.r) * self.dt), lag=0)
        if kind == "Threshold":
            v_th = _number(node.threshold)
            low = float(torch.as_tensor(v_th).min()) - 1.0
            return LIF(alpha=0.0, v_th=v_th, v_reset=low, reset="none", **self.shared)
        if kind in ("LI", "CubaLI") and np.any(np.asarray(node.v_leak)):
            raise ValueError("v_leak: expected 0 of neurons without threshold")
        if kind == "IF":
            gain = _number(np.asarray(node.r) * self.dt)
            return self._hard(node, LIF, {"alpha": 1.0, "gain": gain}, 0.0)
        tau = node.tau if kind in ("LI", "LIF") else node.tau_mem
        alpha = leak_of(tau, self.dt, self.scheme)
        gain = np.asarray(node.r) * (1.0 - alpha)
        if kind == "LI":
            return Readout(alpha=_number(alpha), gain=_number(gain), lag=0)
        if kind == "LIF":
            numbers = {"alpha": _number(alpha), "gain": _number(gain)}
            return self._hard(node, LIF, numbers, node.v_leak)
        fade = leak_of(node.tau_syn, self.dt, self.scheme)
        gain = gain * np.asarray(node.w_in) * (1.0 - fade)
        numbers = {
            "alpha_mem": _number(alpha),
            "alpha_syn": _number(fade),
            "gain": _number(gain),
        }
        if kind == "CubaLI":
            return CuBaReadout(**numbers, lag=0)
        return self._hard(node, CuBaLIF, numbers, node.v_leak)

    def _hard(self, node: Any, kind: Any, numbers: dict[str, Any], v_leak: Any) -> Neuron:
        """Neurons that a spike sets to v_reset, before the next leak, and that start at 0."""
        rest = _number(v_leak)
        start = {} if not torch.as_tensor(rest).any() else {"v_init": 0.0}
        v_reset = 0.0 if node.v_reset is None else _number(node.v_reset)
        shared = {"v_th": _number(node.v_threshold), "v_reset": v_reset, "v_rest": rest}
        return kind(reset="zero", **shared, **numbers, **start, **self.shared)


def _parameter(value: Any) -> nn.Parameter:
    return nn.Parameter(torch.as_tensor(np.array(value)))


def _size(value: Any) -> Any:
    """A number or a tuple, of NumPy's or Python's; or a word."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str):
        return value
    flat = np.asarray(value).reshape(-1)
    return tuple(int(each) for each in flat) if len(flat) > 1 else int(flat[0])


def _number(value: Any) -> Any:
    """A float where all neurons have the same number, else (N,)."""
    flat = np.asarray(value, np.float64).reshape(-1)
    if len(flat) == 0 or (flat == flat[0]).all():
        return float(flat[0]) if len(flat) else 0.0
    return torch.as_tensor(flat)
