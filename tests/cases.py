"""Cases: a layer or a network, its weights and its input, all generated from a few numbers.

Two sorts. *Exact* cases live on a coarse dyadic grid (leak 1/2 or none, weights k/8, few steps),
where every potential is computed without any rounding, so that whatever the order of the sums
spikes must be equal bit by bit; potentials often lie exactly on the threshold and on the band's
edges there. *General* cases have random weights; they count only if no potential is so near a
threshold or an edge that rounding decides (`margin`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

import sparsespike as ss

HALF_LEAK: dict[str, Any] = {
    "tau_mem": 1.0,
    "dt": math.log(2.0),
}  # exp(-log 2) is exactly 1/2 in float64
NO_LEAK: dict[str, Any] = {"tau_mem": math.inf, "dt": 1.0}
EXACT_LIF = ss.LIF(**HALF_LEAK, b_th=0.25)
GENERAL_LIF = ss.LIF(tau_mem=10e-3, dt=1e-3)

SURROGATES = (
    ss.FastSigmoid(100.0),
    ss.Triangle(0.5),
    ss.Boxcar(0.375),
    ss.ATan(2.0),
    ss.Sigmoid(4.0),
    ss.Gaussian(0.5),
    ss.Exponential(4.0, scale=0.5),
    ss.Circle(0.5),
)


def device_of(backend: str) -> str:
    """Where a backend computes here: the GPU backend on a GPU if there is one, else in the interpreter."""
    return "cuda" if backend == "gpu" and torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Case:
    """One input and one network of `Linear` + `LIF` layers, reproducible from its numbers.

    Attributes:
        name: shown as the test's id.
        batch: B.
        steps: T.
        sizes: units of the input and of every layer.
        rate: share of input entries that hold a spike.
        active: share of input entries that take a gradient; 0: the input has no active set at all.
        dtype: of weights and values.
        neuron: of every layer.
        bias: whether there is one.
        exact: whether weights are on the grid k/8.
        seed: of input and weights.
        nudge: relative size of random changes to the weights.
    """

    name: str = "generated"
    batch: int = 3
    steps: int = 9
    sizes: tuple[int, ...] = (12, 7)
    rate: float = 0.3
    active: float = 0.5
    dtype: torch.dtype = torch.float64
    neuron: ss.LIF = EXACT_LIF
    bias: bool = False
    exact: bool = True
    seed: int = 0
    nudge: float = 0.0

    def __str__(self) -> str:
        return self.name

    def generator(self) -> torch.Generator:
        """A fresh generator, seeded."""
        return torch.Generator().manual_seed(self.seed)

    def dense(self) -> tuple[Tensor, Tensor]:
        """Input of 0 and 1 and its active set (bool), each (B, T, N_in)."""
        draw = self.generator()
        shape = (self.batch, self.steps, self.sizes[0])
        fired = torch.rand(shape, generator=draw) < self.rate
        active = torch.rand(shape, generator=draw) < self.active
        return fired.to(self.dtype), active

    def spikes(self) -> tuple[ss.Spikes, Tensor | None]:
        """The input, and the leaf that takes its gradient (None without active set)."""
        dense, active = self.dense()
        if not self.active:
            return ss.Spikes.from_dense(dense), None
        dense.requires_grad_()
        return ss.Spikes.from_dense(dense, active=active), dense

    def parameters(self) -> list[list[Tensor]]:
        """Weight, and bias if any, of every layer, in float64."""
        draw = self.generator()
        every = []
        for n_in, n_out in zip(self.sizes, self.sizes[1:], strict=False):
            # Currents of about one threshold, whatever the fan-in.
            gain = 1.0 / math.sqrt(1.0 + self.rate * n_in)
            weight = torch.randn(n_out, n_in, generator=draw, dtype=torch.float64) * gain + gain / 4
            bias = torch.randn(n_out, generator=draw, dtype=torch.float64) / 8
            own = [weight, bias] if self.bias else [weight]
            every.append([(8 * p).round() / 8 if self.exact else p for p in own])
        if self.nudge:
            every = [
                [p * (1 + self.nudge * torch.randn(p.shape, generator=draw)) for p in own]
                for own in every
            ]
        return every

    def layers(self, backend: str) -> list[ss.Layer]:
        """The spiking layers, on a backend."""
        built = []
        for own in self.parameters():
            n_out, n_in = own[0].shape
            linear = ss.Linear(n_in, n_out, self.bias, dtype=self.dtype)
            with torch.no_grad():
                for parameter, value in zip(linear.parameters(), own, strict=True):
                    parameter.copy_(value)
            layer = ss.Layer(linear, self.neuron, backend=backend)
            built.append(layer.to(device_of(backend)))
        return built

    def margin(self) -> float:
        """Smallest distance of any potential to its threshold or to where g jumps, in float64."""
        surrogate = self.neuron.surrogate
        box = surrogate.width if isinstance(surrogate, ss.Boxcar) else math.inf
        signal = self.dense()[0].double()
        smallest = math.inf
        for own in self.parameters():
            potential, signal = run(self.neuron, signal, own)
            distance = (potential[:, 1:] - self.neuron.v_th).abs()
            for edge in (0.0, self.neuron.b_th, box):
                if distance.numel() and math.isfinite(edge):
                    smallest = min(smallest, (distance - edge).abs().min().item())
        return smallest

    def is_decided(self) -> bool:
        """Whether no spike and no active entry hangs on rounding."""
        return self.exact or self.margin() > {torch.float64: 1e-9, torch.float32: 2e-4}[self.dtype]


def run(neuron: ss.LIF, dense: Tensor, parameter: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """V and S, each (B, T, N_out), by `neuron.step` alone."""
    current = torch.nn.functional.linear(dense, *parameter)
    states = [neuron.initial(current[:, 0])]
    for step in range(dense.shape[1] - 1):
        states.append(neuron.step(states[-1], current[:, step]))
    potential, spikes = zip(*states, strict=True)
    return torch.stack(potential, 1), torch.stack(spikes, 1)


# ---- named cases ---------------------------------------------------------------------------------

BASE = Case("base")

# In these something happens for certain; every one is run with every reset, bias and dtype.
LIVELY = (
    BASE,
    Case("one_sample", batch=1),
    Case("one_output", sizes=(12, 1)),
    Case("one_input", sizes=(1, 9), rate=0.8, batch=6, seed=1),
    Case("63_units", sizes=(20, 63)),
    Case("64_units", sizes=(20, 64)),
    Case("65_units", sizes=(65, 65)),
    Case("129_units", sizes=(129, 129), rate=0.1),
    Case("two_steps", steps=2, batch=8, rate=0.6),
    Case("every_input_spikes", rate=1.0),
    Case("all_active", neuron=EXACT_LIF.changed(b_th=math.inf, surrogate=ss.ATan(2.0))),
    Case("all_inputs_active", active=1.0),
    Case("plain_input", active=0.0),
    Case("no_leak", neuron=ss.LIF(**NO_LEAK, b_th=0.5)),
    Case("rest_in_band", neuron=EXACT_LIF.changed(v_rest=0.875)),
    Case("rest_on_edge", neuron=EXACT_LIF.changed(b_th=1.0)),
    Case("rest_above_threshold", neuron=EXACT_LIF.changed(v_rest=1.5, v_reset=-0.5)),
    Case("reset_below_rest", neuron=EXACT_LIF.changed(v_rest=0.25, v_reset=-1.0)),
    Case("reset_in_band", neuron=EXACT_LIF.changed(v_reset=0.875)),
    Case("negative_threshold", neuron=EXACT_LIF.changed(v_th=-0.5, v_reset=-1.0, v_rest=-1.5)),
    Case("narrow_band", neuron=EXACT_LIF.changed(b_th=0.001), batch=12, seed=3),
    Case("many_samples", batch=33, steps=5),
)

# More than the CPU backend keeps at a time of: rows of δ, events that meet them, rows of ε.
LONG = (
    Case("many_rows", 1, 1200, (3, 5), 0.4, neuron=ss.LIF(**NO_LEAK, b_th=0.5)),
    Case("many_events", 1, 250, (200, 4), 0.8, neuron=ss.LIF(**NO_LEAK, b_th=0.5)),
    Case("many_active_inputs", 1, 1500, (9, 2), 0.1, 1.0, neuron=ss.LIF(**NO_LEAK, b_th=0.125)),
)

# In these nothing happens, or nothing can.
QUIET = (
    Case("no_samples", batch=0),
    Case("no_events", rate=0.0),
    Case("no_active_inputs", rate=0.0, active=1e-9),
    Case("one_step", steps=1, rate=1.0),
    Case("far_threshold", neuron=EXACT_LIF.changed(v_th=100.0)),
)

NETWORKS = (
    Case("three_layers", sizes=(20, 30, 17, 11), batch=4),
    Case("three_layers_all_active", sizes=(9, 8, 7, 6), neuron=EXACT_LIF.changed(b_th=math.inf)),
    Case("wide_middle", sizes=(5, 129, 3, 8), rate=0.5, batch=5),
    Case("second_layer_silent", sizes=(2, 1, 1, 1), steps=4, rate=0.2, batch=1),
)


# ---- generated cases -----------------------------------------------------------------------------


def _sizes(most: int) -> Any:
    return st.one_of(st.integers(1, most), st.sampled_from([1, 2, 63, 64, 65]))


@st.composite
def neurons(draw: st.DrawFn, exact: bool) -> ss.LIF:
    """A `LIF` of any reset, surrogate, band and level; on the grid k/8 if exact."""
    level = st.integers(-8, 12).map(lambda k: k / 8) if exact else st.floats(-1.0, 1.5)
    v_th = draw(st.one_of(st.just(1.0), level))
    v_reset = v_th - draw(st.sampled_from([0.125, 0.5, 1.0, 2.0]))
    leak: dict[str, Any]
    if exact:
        leak = draw(st.sampled_from([HALF_LEAK, NO_LEAK]))
    else:
        leak = {"tau_mem": draw(st.one_of(st.floats(0.1, 50.0), st.just(math.inf))), "dt": 1.0}
    band = st.sampled_from([0.125, 0.25, 0.5, 1.0, 2.0, math.inf])
    return ss.LIF(
        **leak,
        v_th=v_th,
        v_reset=v_reset,
        v_rest=draw(st.one_of(st.just(0.0), level)),
        b_th=draw(band if exact else st.one_of(band, st.floats(0.01, 1.5))),
        surrogate=draw(st.sampled_from(SURROGATES)),
        reset=draw(st.sampled_from(["subtract", "zero", "none"])),
        detach_reset=draw(st.booleans()),
    )


@st.composite
def cases(draw: st.DrawFn, *, exact: bool, layers: int = 1, most_steps: int = 10) -> Case:
    """A case of any size, of this many layers.

    Exact ones keep to 10 steps: with leak 1/2 every step adds a bit, and float32 has 24.
    """
    most = 24 if layers == 1 else 12
    return Case(
        batch=draw(st.integers(0, 4)),
        steps=draw(st.integers(1, min(most_steps, 10) if exact else most_steps)),
        sizes=tuple(draw(_sizes(most)) for _ in range(layers + 1)),
        rate=draw(st.sampled_from([0.0, 0.05, 0.3, 0.7, 1.0])),
        active=draw(st.sampled_from([0.0, 0.2, 1.0])),
        dtype=draw(st.sampled_from([torch.float32, torch.float64])),
        neuron=draw(neurons(exact)),
        bias=draw(st.booleans()),
        exact=exact,
        seed=draw(st.integers(0, 2**31)),
    )
