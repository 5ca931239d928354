"""Networks of ours as graphs of NIR (Pedersen et al., Nature Communications 15:8122, 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import nn

from sparsespike.connections.connection import Connection
from sparsespike.connections.conv import Conv1d, Conv2d
from sparsespike.connections.flatten import Flatten
from sparsespike.connections.linear import Linear
from sparsespike.connections.pool import AvgPool2d, SumPool2d
from sparsespike.interop.back import Part, in_a_row
from sparsespike.interop.refused import refused
from sparsespike.interop.schemes import check_scheme, tau_of
from sparsespike.neurons.cuba import CuBaLIF
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.readout import Readout
from sparsespike.neurons.readouts import CuBaReadout, SumReadout
from sparsespike.spikes.spikes import Spikes


def graph_of(
    net: nn.Module, dt: float, scheme: str, input_shape: Sequence[int] | None, lossy: bool
) -> Any:
    """See `ss.interop.to_nir`."""
    check_scheme(scheme, dt)
    return _Writing(net, dt, scheme, lossy).graph(input_shape)


class _Writing:
    """One graph, node by node along the network."""

    def __init__(self, net: nn.Module, dt: float, scheme: str, lossy: bool) -> None:
        self.nir = import_module("nir")
        self.items = in_a_row(net)
        self.dt, self.scheme, self.lossy = dt, scheme, lossy
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.end = "input"

    def graph(self, input_shape: Sequence[int] | None) -> Any:
        first = self.items[0][1]
        if input_shape is None and not isinstance(first, Linear):
            raise ValueError(
                "input_shape: expected (C, H, W) of a network that begins so, found None"
            )
        shape = (first.n_in,) if input_shape is None else tuple(int(size) for size in input_shape)
        self.nodes["input"] = self.nir.Input({"input": np.array(shape)})
        for i, (name, item) in enumerate(self.items):
            if isinstance(item, Part):
                self._neurons(name, item, shape)
            else:
                after = self.items[i + 1][1] if i + 1 < len(self.items) else None
                shape = self._between(name, item, shape, after)
        self.nodes["output"] = self.nir.Output({"output": np.array(shape)})
        self.edges.append((self.end, "output"))
        metadata = {"dt": float(self.dt), "scheme": self.scheme, "writer": "sparsespike"}
        return self.nir.NIRGraph(self.nodes, self.edges, metadata=metadata)

    def _add(self, kind: str, name: str, node: Any) -> None:
        key = f"{kind}_{name.replace('.', '_')}" if name else kind
        self.nodes[key] = node
        self.edges.append((self.end, key))
        self.end = key

    def _between(self, name: str, item: Any, shape: tuple[int, ...], after: Any) -> tuple[int, ...]:
        nothing = torch.empty(0, dtype=torch.int64)
        spikes = Spikes.from_events(nothing, nothing, nothing, shape=(1, 1, math.prod(shape)))
        spikes = spikes.with_unit_shape(shape)
        if isinstance(item, Connection):
            if not isinstance(after, Part):
                raise refused(name, item, "no neurons take its current")
            out = item(spikes.to(item.weight.dtype)).unit_shape
            self._connection(name, item, shape, self._gain(after, out), out)
            return out
        if isinstance(item, Flatten):
            if len(shape) > 1:  # counted from the end, so that no reader takes the batch along
                node = self.nir.Flatten({"input": np.array(shape)}, -len(shape), -1)
                self._add("flatten", name, node)
            return (math.prod(shape),)
        if isinstance(item, SumPool2d | AvgPool2d):
            plain = not item.ceil_mode and getattr(item, "divisor_override", None) is None
            if not plain or not getattr(item, "count_include_pad", True):
                raise refused(name, item, "NIR's pools have no such windows")
            kind = self.nir.SumPool2d if isinstance(item, SumPool2d) else self.nir.AvgPool2d
            windows = (np.array(size) for size in (item.kernel_size, item.stride, item.padding))
            self._add("pool", name, kind(*windows))
            return item(spikes).unit_shape
        raise refused(name, item, "NIR has no node for it")

    def _connection(
        self, name: str, item: Any, shape: tuple[int, ...], gain: Any, out: tuple[int, ...]
    ) -> None:
        weight = item.weight.detach().cpu().numpy()
        bias = None if item.bias is None else item.bias.detach().cpu().numpy()
        if type(item) is Linear:
            if len(shape) > 1:
                flat = self.nir.Flatten({"input": np.array(shape)}, -len(shape), -1)
                self._add("flatten", name, flat)
            per = None if item.delay is None else item.delay.per
            late = None if per is None else self._delay(name, item)
            if per == "input":
                self._add("delay", name, late)
            self._add("fc", name, self._linear(weight, bias, gain))
            if per == "output":
                self._add("delay", name, late)
        elif type(item) in (Conv1d, Conv2d):
            if np.ndim(gain):
                raise refused(
                    name, item, "a gain of each neuron cannot go into a kernel that they share"
                )
            kind = self.nir.Conv1d if type(item) is Conv1d else self.nir.Conv2d
            settings: list[Any] = [item.stride, item.padding, item.dilation]
            if type(item) is Conv1d:
                settings = [each if isinstance(each, str) else each[0] for each in settings]
            where = shape[1] if type(item) is Conv1d else tuple(shape[1:])
            bias = np.zeros(len(weight), weight.dtype) if bias is None else bias
            scaled, shift = ((each * gain).astype(weight.dtype) for each in (weight, bias))
            self._add("conv", name, kind(where, scaled, *settings, item.groups, shift))
        else:
            raise refused(name, item, "NIR has no node for it")

    def _delay(self, name: str, item: Any) -> Any:
        """The delays of a connection, as a node before it, or after it."""
        delay, why = item.delay, None
        steps = delay.steps.detach().cpu().numpy().astype(np.float64).clip(0, delay.max_steps)
        if delay.per == "synapse":
            why = "delays of each synapse: NIR has those of inputs or outputs"
        elif delay.spread != 1 or (steps != np.round(steps)).any():
            why = (
                "delays of parts of a step, or spread over several: NIR's readers have whole steps"
            )
        elif delay.per == "output" and item.bias is not None:
            why = "delays of outputs: NIR's delay the bias too"
        if why is not None:
            raise refused(name, item, why)
        return self.nir.Delay(steps * self.dt)

    def _linear(self, weight: Any, bias: Any, gain: Any) -> Any:
        wide = np.reshape(gain, (-1, 1)) if np.ndim(gain) else gain
        scaled = (weight * wide).astype(weight.dtype)
        if bias is None:
            return self.nir.Linear(scaled)
        return self.nir.Affine(scaled, (bias * gain).astype(weight.dtype))

    def _gain(self, part: Part, shape: tuple[int, ...]) -> Any:
        """What a unit of current adds to V in a step, by which the weights are multiplied so that r is 1.

        Of neurons that leak in units of 1 - alpha, as NIR's r = 1 has it.
        """
        leaks = part.neuron.matrices()
        alpha = np.asarray(leaks.A[0][0], np.float64)
        brought = np.asarray(leaks.b[0], np.float64)
        if isinstance(part.neuron, LIF | Readout):
            return (
                brought if (alpha == 1).all() or self._memoryless(part) else brought / (1.0 - alpha)
            )
        return brought

    def _memoryless(self, part: Part) -> bool:
        neuron: Any = part.neuron
        return isinstance(neuron, LIF) and neuron.reset == "none" and not np.any(neuron.alpha)

    def _neurons(self, name: str, part: Part, shape: tuple[int, ...]) -> None:
        node = self._node(name, part, shape)
        if part.recurrent is None:
            self._add(type(node).__name__.lower(), name, node)
            return
        own = part.recurrent
        if type(own) is not Linear or own.delay is not None:
            raise part.refused(
                "only a Linear from the neurons to themselves has a form in NIR's readers"
            )
        gain = self._gain(part, shape)
        weight = own.weight.detach().cpu().numpy()
        inner = {
            "input": self.nir.Input({"input": np.array(shape)}),
            "neurons": node,
            "recurrent": self._linear(weight, None, gain),
            "output": self.nir.Output({"output": np.array(shape)}),
        }
        edges = [("input", "neurons"), ("neurons", "recurrent"), ("recurrent", "neurons")]
        if own.bias is not None:  # every step has it, so that it goes with the input
            self._move_bias(part, own.bias.detach().cpu().numpy() * gain)
        sub = self.nir.NIRGraph(inner, [*edges, ("neurons", "output")], type_check=False)
        self._add("recurrent", name, sub)

    def _move_bias(self, part: Part, bias: Any) -> None:
        before = self.nodes[self.end]
        if type(before).__name__ not in ("Linear", "Affine"):
            raise part.refused("the bias of its recurrent connection has no Linear to go to")
        rest = getattr(before, "bias", 0.0)
        dtype = before.weight.dtype
        self.nodes[self.end] = self.nir.Affine(before.weight, (rest + bias).astype(dtype))

    def _node(self, name: str, part: Part, shape: tuple[int, ...]) -> Any:
        neuron: Any = part.neuron
        if neuron.lag != 0 and not self.lossy:
            raise part.refused(
                "lag=1: NIR's neurons see their input at once; lossy=True takes a step of delay away"
            )
        leaks = neuron.matrices()

        def full(value: Any) -> Any:
            value = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
            flat = np.broadcast_to(np.asarray(value, np.float64), (math.prod(shape),))
            return np.ascontiguousarray(flat.reshape(shape))

        alpha = full(leaks.A[0][0])
        with np.errstate(divide="ignore"):
            tau = tau_of(alpha, self.dt, self.scheme)
        zero, one = full(0.0), full(1.0)
        if type(neuron) is SumReadout:
            return self.nir.I(full(1.0 / self.dt))
        if type(neuron) is Readout:
            return self.nir.LI(tau, one, zero)
        if type(neuron) not in (LIF, CuBaLIF, CuBaReadout):
            raise part.refused("NIR has no node for it")
        fade = zero if type(neuron) is LIF else full(leaks.A[1][1])
        with np.errstate(divide="ignore"):
            tau_syn = tau_of(fade, self.dt, self.scheme)
            r, w_in = 1.0 / (1.0 - alpha), 1.0 / (1.0 - fade)
        if type(neuron) is CuBaReadout:
            return self.nir.CubaLI(tau_syn, tau, r, zero, w_in)
        if type(neuron) is CuBaLIF and neuron.order != "new":
            raise part.refused("order='old': NIR's readers have the new current drive V")
        v_th = full(neuron.v_th if part.inclusive is None else part.inclusive)
        if self._memoryless(part):
            return self.nir.Threshold(v_th)
        self._check_reset(part)
        v_reset, v_leak = full(neuron.v_reset), full(neuron.v_rest)
        if type(neuron) is CuBaLIF:
            return self.nir.CubaLIF(tau_syn, tau, r, v_leak, v_th, v_reset, w_in)
        if (alpha == 1).all():
            return self.nir.IF(full(1.0 / self.dt), v_th, v_reset)
        if (alpha == 1).any():
            raise part.refused("alpha: some of its neurons leak and some do not")
        return self.nir.LIF(tau, one, v_leak, v_th, v_reset)

    def _check_reset(self, part: Part) -> None:
        neuron: Any = part.neuron
        if self.lossy:
            return
        if neuron.reset != "zero":
            raise part.refused(
                f"reset={neuron.reset!r}: NIR's neurons are set to v_reset, as reset='zero' does; lossy=True "
                "writes that"
            )
        start = getattr(neuron, "v_init", neuron.v_rest)
        if np.any(np.asarray(torch.as_tensor(start).detach().cpu())):
            raise part.refused(
                "NIR's neurons start at 0 and not at v_init or v_rest; lossy=True leaves that out"
            )
