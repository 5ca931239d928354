"""Layers with delays: literal loops, connections of every kind, and what a layer gives on a backend."""

from __future__ import annotations

import itertools
import math
import os
from typing import Any, NamedTuple

import torch
from torch import Tensor

import sparsespike as ss
from checks import relative_error
from sparsespike.neurons.state import State

B, T, N_IN, N = 3, 40, 9, 7
F64 = torch.float64


def inputs(steps: int = T, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    dense = (torch.rand((B, steps, N_IN), generator=draw) < 0.15).to(dtype)
    return dense, torch.rand((B, steps, N_IN), generator=draw) < 0.5


def shares(steps: float, spread: float) -> dict[int, float]:
    """What of a weight arrives how many steps later."""
    heights = {m: max(0.0, spread - abs(m - steps)) for m in range(math.ceil(steps + spread) + 1)}
    return {m: height / sum(heights.values()) for m, height in heights.items()}


def literal(dense: Tensor, synapses: list[tuple[int, int, float, float]], spread: float) -> Tensor:
    """(B, T, N): what arrives in each step, event by event; synapses: (neuron, unit, weight, delay)."""
    out = torch.zeros(*dense.shape[:2], N, dtype=F64)
    for neuron, unit, weight, steps in synapses:
        for later, share in shares(steps, spread).items():
            for b, t in dense[:, :, unit].nonzero().tolist():
                if t + later < dense.shape[1]:
                    out[b, t + later, neuron] += share * weight
    return out


def synapses_of(connection: Any) -> list[tuple[int, int, float, float]]:
    steps, per = connection.delay.steps.detach(), connection.delay.per
    if isinstance(connection, ss.SparseLinear):
        pairs = [tuple(pair) for pair in connection.index.t().tolist()]
    else:
        pairs = list(itertools.product(range(N), range(N_IN)))
    weight = connection.weight.detach().reshape(-1).tolist()
    own = {"input": lambda s, j, i: steps[i], "output": lambda s, j, i: steps[j]}.get(
        per, lambda s, j, i: steps.reshape(-1)[s]
    )
    return [(j, i, weight[s], float(own(s, j, i))) for s, (j, i) in enumerate(pairs)]


class Case(NamedTuple):
    """A connection with delays, and one from the layer to itself; kernels are compiled for each kind."""

    per: Any
    back: Any = None
    sparse: bool = False
    learn: bool = True

    def __str__(self) -> str:
        told = {self.back: self.back, "sparse": self.sparse, "fixed": not self.learn}
        return "-".join([self.per, *(name for name, there in told.items() if there)])

    def connection(
        self, per: Any, n_in: int, max_steps: int, dtype: torch.dtype = F64, **settings: Any
    ) -> Any:
        delay = ss.Delay(max_steps, per, **settings)
        bias = self.back is not None and n_in == N_IN
        if self.sparse:
            made = ss.SparseLinear.random(n_in, N, fan_in=4, bias=bias, delay=delay, dtype=dtype)
        else:
            made = ss.Linear(n_in, N, bias, delay=delay, dtype=dtype)
        draw = torch.Generator().manual_seed(n_in)
        made.weight.data = torch.randn(made.weight.shape, generator=draw, dtype=dtype) * 0.5
        made.weight.data += 0.3 if n_in == N_IN else 0.0
        return made

    def layer(
        self, neuron: ss.Neuron, max_steps: int, dtype: torch.dtype = F64, spread: float = 1.0
    ) -> ss.Layer:
        torch.manual_seed(max_steps)
        own = None
        if self.back is not None and neuron.spiking:
            learn = self.back != "output"
            own = self.connection(self.back, N, max_steps // 3, dtype, learn=learn)
        made = self.connection(self.per, N_IN, max_steps, dtype, learn=self.learn, spread=spread)
        return ss.Layer(made, neuron, recurrent=own)


CASES = [
    Case("synapse"),
    Case("synapse", back="input"),
    Case("input"),
    Case("input", learn=False),
    Case("output", back="output"),
    Case("synapse", back="output", sparse=True),
]
READ = [CASES[0], CASES[2], CASES[4]]
BAND: dict[str, Any] = {"b_th": 0.4, "surrogate": ss.FastSigmoid(5.0)}
NEURONS: dict[str, Any] = {
    "LIF": lambda: ss.LIF(8.0, 1.0, **BAND),
    "LIF lag 0": lambda: ss.LIF(8.0, 1.0, lag=0, **BAND),
    "attached": lambda: ss.LIF(
        torch.linspace(3, 9, N, dtype=F64), 1.0, reset="zero", detach_reset=False,
        learn=("tau_mem",), **BAND,
    ),
}  # fmt: skip
READOUTS: dict[str, Any] = {
    "readout": lambda: ss.Readout(torch.linspace(3, 9, N, dtype=F64), 1.0, learn=("tau_mem",)),
    "readout lag 0": lambda: ss.Readout(8.0, 1.0, lag=0),
}
MADE = NEURONS | READOUTS
PAIRS = [*itertools.product(CASES, NEURONS), *itertools.product(READ, READOUTS)]
SINGLE = CASES[:2]  # in single precision
if "SPARSESPIKE_SWEEP" not in os.environ:  # `make sweep` has all of them
    SINGLE = CASES[:1]
    FEW = {2: ["LIF lag 0", "readout"], 3: ["LIF"], 4: ["LIF lag 0", "attached"]}
    FEW |= {1: FEW[4], 5: FEW[4]}
    PAIRS = [(case, name) for case, name in PAIRS if name in FEW.get(CASES.index(case), MADE)]


class Ran(NamedTuple):
    """What a layer gave: its output, its last state, and every gradient."""

    out: Tensor
    state: Tensor | None
    grads: dict[str, Tensor]


def run(
    backend: str,
    layer: ss.Layer,
    cuts: tuple[int, ...] | None = None,
    given: Tensor | None = None,
    detach: bool = False,
) -> Ran:
    """In one call without states, or in chunks that hand them on; under a loss that tells entries apart."""
    dtype = layer.connection.weight.dtype
    n_step = sum(cuts or (T,))
    dense, active = inputs(n_step, dtype)
    dense.requires_grad_()
    layer.zero_grad()
    draw = torch.Generator().manual_seed(5)
    upstream = torch.randn((B, n_step, N), generator=draw, dtype=F64).to(dtype)
    leaf = None if given is None else given.clone().requires_grad_()
    state: Any = None if leaf is None else State(leaf)
    outputs, at, loss = [], 0, torch.zeros((), dtype=dtype)
    with ss.use_backend(backend):
        for steps in cuts or (T,):
            part = slice(at, at + steps)
            spikes = ss.Spikes.from_dense(dense[:, part], active=active[:, part])
            if cuts is None:
                out = layer(spikes)
            else:
                out, state = layer(spikes, state=state, return_state=True)
                state = state.detach() if detach else state
            out = out.to_dense() if isinstance(out, ss.Spikes) else out
            outputs.append(out)
            loss = loss + (out * upstream[:, part]).sum()
            at += steps
        last = None if cuts is None else state.value
        if last is not None:
            loss = loss + (last * torch.randn(last.shape, generator=draw, dtype=F64)).sum()
        loss.backward()
    grads = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}
    grads |= {} if leaf is None or leaf.grad is None else {"state": leaf.grad}
    assert dense.grad is not None
    out = torch.cat(outputs, 1).detach()
    return Ran(out, None if last is None else last.detach(), grads | {"input": dense.grad})


def assert_same(found: Ran, expected: Ran, layer: ss.Layer, allowed: float = 1e-11) -> None:
    assert expected.out.abs().sum() > 0
    if layer.neuron.spiking:
        assert torch.equal(found.out, expected.out)
    else:
        torch.testing.assert_close(found.out, expected.out, rtol=allowed, atol=allowed)
    if expected.state is not None:
        assert relative_error(found.state, expected.state) < allowed  # pyright: ignore
    learned = {name for name, p in layer.named_parameters() if p.requires_grad}
    assert found.grads.keys() == expected.grads.keys() >= learned
    for key, grad in expected.grads.items():
        assert bool((grad != 0).any()), key
        assert relative_error(found.grads[key], grad) < allowed, key
