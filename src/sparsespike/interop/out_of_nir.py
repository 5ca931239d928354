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
from sparsespike.interop.layers import to_dense
from sparsespike.interop.network import Converted
from sparsespike.interop.nir_graph import (
    CURRENTS,
    MATRICES,
    READOUTS,
    SPIKING,
    Late,
    Plain,
    array,
    bias_of,
)
from sparsespike.interop.refused import naming
from sparsespike.interop.schemes import check_scheme, leak_of
from sparsespike.interop.signals import Body, Signal
from sparsespike.neurons.cuba import CuBaLIF
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.neuron import Neuron
from sparsespike.neurons.readout import Readout
from sparsespike.neurons.readouts import CuBaReadout, SumReadout
from sparsespike.neurons.surrogates import Surrogate


def network(
    graph: Any, dt: float | None, scheme: str | None, surrogate: Surrogate | None, b_th: float
) -> Converted:
    """See `ss.interop.from_nir`."""
    if type(graph).__name__ != "NIRGraph":
        raise ValueError(f"graph: expected a nir.NIRGraph, found {type(graph).__name__}")
    told = graph.metadata if isinstance(graph.metadata, dict) else {}
    dt = told.get("dt") if dt is None else dt
    scheme = told.get("scheme", "euler") if scheme is None else scheme
    scheme = scheme.decode() if isinstance(scheme, bytes) else scheme
    if dt is None:
        raise ValueError("dt: expected a time step in seconds, as the graph tells none, found None")
    dt = dt.item() if isinstance(dt, np.generic) else dt
    check_scheme(str(scheme), dt)
    return _Reading(graph, dt, str(scheme), surrogate, b_th).network()


class Named(nn.Module):
    """Stands for a node of NIR in a message."""


class _Reading:
    """One graph, made plain."""

    def __init__(
        self, graph: Any, dt: float, scheme: str, surrogate: Surrogate | None, b_th: float
    ) -> None:
        self.dt, self.scheme = dt, scheme
        self.shared = {"surrogate": surrogate, "b_th": b_th, "lag": 0}
        self.plain = Plain(graph)
        self.parameters: dict[int, nn.Parameter] = {}
        held = [array(each.weight) for each in self.plain.nodes.values() if hasattr(each, "weight")]
        wide = any(each.dtype == np.float64 for each in held)
        self.dtype = torch.float64 if wide else torch.float32
        self.new, self.made = fx.Graph(), dict[str, nn.Module]()
        self.out: dict[str, Signal] = {}

    def network(self) -> Converted:
        """All nodes in their order."""
        plain, outputs = self.plain, list[Signal]()
        inputs = [name for name in plain.order if plain.kind(name) == "Input"]
        if len(inputs) != 1:
            named = ": " + ", ".join(inputs) if inputs else ""
            raise ValueError(f"graph: expected one Input, found {len(inputs)}{named}")
        takes = {plain.kind(each) in (*SPIKING, *READOUTS) for each in plain.after[inputs[0]]}
        if len(takes) == 2:
            raise plain.refused(
                inputs[0], "neurons take it as a current, and connections as spikes"
            )
        first = "dense" if True in takes else "spikes"
        for name in plain.order:
            kind = plain.kind(name)
            if kind == "Input":
                self.out[name] = Signal(first, self.new.placeholder("x"))
            elif not plain.before[name]:
                raise plain.refused(name, "nothing comes into it")
            elif kind == "Output":
                outputs.append(self._output(name))
            elif kind in (*SPIKING, *READOUTS):
                signal = self._sum(name, "dense" if plain.before[name] == inputs else "current")
                gives = "spikes" if kind in SPIKING else "dense"
                self.out[name] = Signal(gives, self._call(name, self._cell(name), signal))
            else:
                signal = self._spikes(name)
                with naming(name, self._stand_in(name)):
                    module = self._between(name)
                gives = "current" if kind in CURRENTS else "spikes"
                self.out[name] = Signal(gives, self._call(name, module, signal))
        if not outputs:
            raise ValueError("graph: expected an Output that something comes into, found none")
        nodes: Any = tuple(each.node for each in outputs)
        kinds: Any = tuple(each.kind for each in outputs)
        self.new.output(nodes if len(nodes) > 1 else nodes[0])
        body = fx.GraphModule(self.made, self.new, "Body")
        gives = kinds if len(kinds) > 1 else kinds[0]
        return Converted(Body(body, first, gives, None, False), True)

    # ---- signals -------------------------------------------------------------------------------

    def _call(self, name: str, module: nn.Module, signal: Signal) -> fx.Node:
        name = name.replace(".", "_")
        while name in self.made:  # "a.b" and "a_b"
            name += "_"
        self.made[name] = module
        return self.new.call_module(name, (signal.node,))

    def _spikes(self, name: str) -> Signal:
        before = self.plain.before[name]
        signal = self.out[before[0]]
        if len(before) > 1 or signal.kind != "spikes":
            found = signal.called if len(before) == 1 else f"what {len(before)} nodes give"
            raise self.plain.refused(name, f"it takes {found}, and not the spikes of one node")
        return signal

    def _sum(self, name: str, kind: str) -> Signal:
        """The sum of all that comes into a node, of one kind."""
        first, *others = [self.out[each] for each in self.plain.before[name]]
        for each in (first, *others):
            if each.kind != kind:
                raise self.plain.refused(
                    name,
                    f"it takes {each.called}, and not a current; put a Linear or a Conv2d before it",
                )
        for each in others:
            first = Signal(kind, self.new.call_function(operator.add, (first.node, each.node)))
        return first

    def _output(self, name: str) -> Signal:
        found = [self.out[each] for each in self.plain.before[name]]
        if len(found) > 1 and found[0].kind == "spikes":
            raise self.plain.refused(
                name, "it takes the spikes of several nodes; give each an Output"
            )
        if len(found) > 1 or found[0].kind == "current":
            total = self._sum(name, found[0].kind)
            if total.kind == "current":
                return Signal("dense", self.new.call_function(to_dense, (total.node,)))
            return total
        return found[0]

    def _stand_in(self, name: str) -> Any:
        kind = self.plain.kind(name)
        return type(f"nir.{kind}", (Named,), {"__module__": "__main__"})()

    # ---- nodes ---------------------------------------------------------------------------------

    def _between(self, name: str) -> nn.Module:
        node, kind = self.plain.nodes[name], self.plain.kind(name)
        if kind in MATRICES:
            return self._linear(name)
        if kind in ("Conv1d", "Conv2d"):
            return self._conv(node, Conv1d if kind == "Conv1d" else Conv2d)
        if kind == "Flatten":
            _check_flat(node)
            return Flatten()
        if kind in ("SumPool2d", "AvgPool2d"):
            of: Any = SumPool2d if kind == "SumPool2d" else AvgPool2d
            return of(*(_size(each) for each in (node.kernel_size, node.stride, node.padding)))
        raise ValueError("no module of ours does the same")

    def _conv(self, node: Any, kind: Any) -> nn.Module:
        weight, n_dim = array(node.weight), 3 if kind is Conv1d else 4
        if weight.ndim != n_dim:
            raise ValueError(f"weight: expected {n_dim} dimensions, found {weight.shape}")
        bias = bias_of(node)
        if bias is not None and bias.size != len(weight):
            raise ValueError(f"bias: expected {len(weight)} numbers, found {bias.size}")
        groups = int(array(node.groups).reshape(-1)[0])
        settings = [_size(each) for each in (node.stride, node.padding, node.dilation)]
        shape = weight.shape[1] * groups, len(weight), weight.shape[2:]
        make: Any = kind
        made = make(*shape, *settings, groups, bias is not None, device="meta")
        made.weight, made.bias = self._parameters(node.weight, bias)
        return made

    def _linear(self, name: str) -> Linear:
        node, late = self.plain.nodes[name], self.plain.late.get(name)
        n_out, n_in = node.weight.shape
        delay = None if late is None else self._delay(late, n_in if late.per == "input" else n_out)
        weight, bias = self._parameters(node.weight, bias_of(node))
        made = Linear(n_in, n_out, bias is not None, delay=delay, dtype=weight.dtype)
        made.weight, made.bias = weight, bias
        return made

    def _delay(self, late: Late, n_unit: int) -> Delay:
        steps = late.seconds / self.dt
        whole = np.round(steps)
        if not np.allclose(steps, whole, rtol=0.0, atol=1e-6):
            raise ValueError(f"the delays beside it are no whole steps of {self.dt:g} s")
        if whole.min() < 0 or whole.size not in (1, n_unit):
            found = f"{whole.size} numbers from {late.seconds.min():g}"
            raise ValueError(f"delay: expected {n_unit} times >= 0 beside it, found {found}")
        init = torch.as_tensor(np.broadcast_to(whole, n_unit).copy(), dtype=torch.float32)
        return Delay(int(whole.max()), per=late.per, init=init)

    def _parameters(self, weight: Any, bias: Any) -> tuple[nn.Parameter, nn.Parameter | None]:
        """Weights, the same parameter for the same array, and a bias."""
        if id(weight) not in self.parameters:
            self.parameters[id(weight)] = self._parameter(weight)
        return self.parameters[id(weight)], None if bias is None else self._parameter(bias)

    def _parameter(self, value: Any) -> nn.Parameter:
        return nn.Parameter(torch.as_tensor(array(value).copy()).to(self.dtype))

    def _cell(self, name: str) -> Cell:
        with naming(name, self._stand_in(name)):
            neuron = self._neuron(name)
            own = self.plain.own.get(name)
            again = None if own is None else self._linear(own)
            return Cell(neuron, gives="spikes" if neuron.spiking else "potential", recurrent=again)

    def _neuron(self, name: str) -> Neuron:
        node, kind = self.plain.nodes[name], self.plain.kind(name)
        if kind == "I":
            return SumReadout(_number(array(node.r) * self.dt), lag=0)
        if kind == "Threshold":
            v_th = _number(node.threshold)
            low = float(torch.as_tensor(v_th).min()) - 1.0
            return LIF(alpha=0.0, v_th=v_th, v_reset=low, reset="none", **self.shared)
        if kind in ("LI", "CubaLI") and np.any(array(node.v_leak)):
            raise ValueError("v_leak: expected 0 of neurons without threshold")
        if kind == "IF":
            gain = _number(array(node.r) * self.dt)
            return self._hard(node, LIF, {"alpha": 1.0, "gain": gain}, 0.0)
        tau = node.tau if kind in ("LI", "LIF") else node.tau_mem
        alpha = leak_of(tau, self.dt, self.scheme)
        gain = array(node.r) * (1.0 - alpha)
        if kind == "LI":
            return Readout(alpha=_number(alpha), gain=_number(gain), lag=0)
        if kind == "LIF":
            numbers = {"alpha": _number(alpha), "gain": _number(gain)}
            return self._hard(node, LIF, numbers, node.v_leak)
        fade = leak_of(node.tau_syn, self.dt, self.scheme)
        gain = gain * array(node.w_in) * (1.0 - fade)
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


def _check_flat(node: Any) -> None:
    """Raises a ValueError unless it lays out all units flat."""
    shape = None if node.input_type is None else node.input_type.get("input")
    n_dim = None if shape is None else len(array(shape).reshape(-1))
    start, end = int(node.start_dim), int(node.end_dim)
    if start not in (0, -(n_dim or 0)) or end not in (-1, (n_dim or 0) - 1):
        of = "" if shape is None else f" of {tuple(int(each) for each in array(shape).reshape(-1))}"
        raise ValueError(f"it flattens {start} to {end}; expected 0 to -1, all dimensions{of}")


def _size(value: Any) -> Any:
    """A number or a tuple, of NumPy's or Python's; or a word."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str):
        return value
    flat = array(value).reshape(-1)
    return tuple(int(each) for each in flat) if len(flat) > 1 else int(flat[0])


def _number(value: Any) -> Any:
    """A float where all neurons have the same number, else (N,)."""
    flat = array(value).astype(np.float64).reshape(-1)
    if len(flat) == 0 or (flat == flat[0]).all():
        return float(flat[0]) if len(flat) else 0.0
    return torch.as_tensor(flat)
