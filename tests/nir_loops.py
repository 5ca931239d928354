"""Any graph of NIR as a literal loop over time: each node's equation, by Euler's scheme or the exact one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NEURONS = ("I", "LI", "IF", "LIF", "CubaLI", "CubaLIF", "Threshold")


def flat(graph: Any, prefix: str = "") -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes by their whole names, and edges; the ends of subgraphs stay, as nodes that do nothing."""
    nodes, edges = {}, []
    for name, node in graph.nodes.items():
        if type(node).__name__ == "NIRGraph":
            inside, more = flat(node, f"{prefix}{name}.")
            nodes |= inside
            edges += more
        else:
            nodes[prefix + name] = node

    def end(name: str, kind: str) -> str:
        node = graph.nodes[name]
        if type(node).__name__ != "NIRGraph":
            return prefix + name
        (found,) = [key for key, each in node.nodes.items() if type(each).__name__ == kind]
        return f"{prefix}{name}.{found}"

    return nodes, edges + [(end(one, "Output"), end(other, "Input")) for one, other in graph.edges]


def literal(graph: Any, x: Tensor, dt: float, scheme: str = "euler") -> dict[str, Tensor]:
    """What every node gives, (T, B, ...), float64, for an input (T, B, ...).

    In a cycle a neuron's output of the step before is used, 0 at the start.
    """
    nodes, edges = flat(graph)
    kinds = {name: type(node).__name__ for name, node in nodes.items()}
    reaches = {name: {name} for name in nodes}
    for _ in nodes:
        for one, other in edges:
            reaches[one] |= reaches[other]
    late = {(a, b) for a, b in edges if kinds[a] in NEURONS and a in reaches[b]}
    order, left = [], set(nodes)
    while left:
        ready = [n for n in nodes if n in left and not any(
            b == n and a in left and (a, b) not in late for a, b in edges
        )]  # fmt: skip
        assert ready, "a cycle without neurons"
        order += ready
        left -= set(ready)
    steps = [_Step(nodes[name], kinds[name], dt, scheme) for name in order]
    now: dict[str, Tensor] = {}
    gives: dict[str, list[Tensor]] = {name: [] for name in order}
    for t in range(len(x)):
        last, now = now, {}
        for name, step in zip(order, steps, strict=True):
            if kinds[name] == "Input" and not any(b == name for _, b in edges):
                now[name] = x[t].double()
            else:
                into = [(last if (a, b) in late else now).get(a) for a, b in edges if b == name]
                now[name] = step([each for each in into if each is not None], x[t])
            gives[name].append(now[name])
    return {name: torch.stack(each) for name, each in gives.items()}


class _Step:
    """One node over time."""

    def __init__(self, node: Any, kind: str, dt: float, scheme: str) -> None:
        self.node, self.kind, self.dt, self.scheme = node, kind, dt, scheme
        self.v: Any = 0.0
        self.i: Any = 0.0
        self.s: Any = 0.0
        self.past: list[Tensor] = []

    def number(self, name: str) -> Tensor:
        return torch.as_tensor(np.asarray(getattr(self.node, name)), dtype=torch.float64)

    def alpha(self, name: str) -> Tensor:
        tau = self.number(name)
        return torch.exp(-self.dt / tau) if self.scheme == "exact" else 1 - self.dt / tau

    def __call__(self, given: list[Tensor], like: Tensor) -> Tensor:
        """One step: what comes in is added up; of nothing, nothing came yet."""
        node, kind = self.node, self.kind
        if not given:  # a cycle, before the first spike
            n_in = node.weight.shape[1] if hasattr(node, "weight") else node.delay.size
            given = [torch.zeros(len(like), n_in, dtype=torch.float64)]
        x = sum(given[1:], given[0])
        if kind in ("Input", "Output"):
            return x
        if kind in ("Affine", "Linear"):
            y = x @ self.number("weight").T
            return y + self.number("bias").reshape(-1) if kind == "Affine" else y
        if kind in ("Conv1d", "Conv2d"):
            convolve: Any = F.conv1d if kind == "Conv1d" else F.conv2d
            bias = None if node.bias is None else self.number("bias")
            sizes = [_sizes(each) for each in (node.stride, node.padding, node.dilation)]
            return convolve(x, self.number("weight"), bias, *sizes, _sizes(node.groups)[0])
        if kind in ("SumPool2d", "AvgPool2d"):
            size, *rest = (_sizes(each) for each in (node.kernel_size, node.stride, node.padding))
            mean = F.avg_pool2d(x, size, *rest)
            return mean * math.prod(size) if kind == "SumPool2d" else mean
        if kind == "Flatten":
            return x.flatten(1)
        if kind == "Scale":
            return x * self.number("scale")
        if kind == "Delay":
            self.past.append(x)
            wait = torch.round(self.number("delay") / self.dt).long().expand(x.shape[1])
            t = len(self.past) - 1
            none = torch.zeros_like(x[:, 0])
            late = [self.past[t - k][:, j] if t >= k else none for j, k in enumerate(wait.tolist())]
            return torch.stack(late, 1)
        return self.neurons(x)

    def neurons(self, x: Tensor) -> Tensor:
        kind = self.kind
        if kind == "Threshold":
            return (x > self.number("threshold")).double()
        if kind in ("I", "IF"):
            leak, gain, rest = torch.ones(()), self.number("r") * self.dt, torch.zeros(())
        else:
            leak = self.alpha("tau" if kind in ("LI", "LIF") else "tau_mem")
            gain, rest = self.number("r") * (1 - leak), self.number("v_leak")
        if kind.startswith("Cuba"):
            fade = self.alpha("tau_syn")
            self.i = fade * self.i + (1 - fade) * self.number("w_in") * x
            x = self.i
        v = self.v
        if kind.endswith("F"):
            v = self.s * self.number("v_reset") + (1 - self.s) * v
        self.v = leak * v + (1 - leak) * rest + gain * x
        if not kind.endswith("F"):
            return self.v
        self.s = (self.v > self.number("v_threshold")).double()
        return self.s


def _sizes(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return [int(each) for each in np.asarray(value).reshape(-1)]
