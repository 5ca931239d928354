"""`LIF`, the leaky integrate-and-fire neuron: the only definition of its dynamics (eq. 1-4, 7-8).

`Equations` writes them in plain PyTorch; the dense backend, the oracle, runs nothing else, and every
kernel is compared with it.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sparsespike import descriptions
from sparsespike.descriptions import Reset
from sparsespike.neurons import initial
from sparsespike.neurons.neuron import Neuron, overrides
from sparsespike.neurons.numbers import leak, number
from sparsespike.neurons.surrogates import FastSigmoid, Surrogate, shape_of

NUMBERS = ("tau_mem", "dt", "v_th", "v_reset", "v_rest", "b_th")


@dataclass(eq=False, repr=False)
class LIF(Neuron):
    """Leaky integrate-and-fire neuron in discrete time (eq. 2).

        V[t+1] = alpha (V[t] - v_rest) + v_rest + I[t] - (v_th - v_reset) S[t]    reset "subtract"
        V[t+1] = alpha (U[t] - v_rest) + v_rest + I[t],  U = v_reset where S[t] = 1, else V[t]   "zero"
        S[t]   = 1 if V[t] > v_th else 0;  alpha = exp(-dt / tau_mem);  V[0] = v_rest, S[0] = 0

    The gradient of S goes only through *active* entries, |V[t] - v_th| < b_th (eq. 7-8). A number may be
    Python's, NumPy's or a 0-d tensor. All attributes are read at every call; one that was changed since
    counts from then on.

    Attributes:
        tau_mem: membrane time constant, seconds, > 0 (`inf`: no leak).
        dt: time step, seconds, > 0.
        v_th: threshold, unit of potential.
        v_reset: potential after a spike, < v_th. "subtract" takes v_th - v_reset away; "zero" sets it.
        v_rest: resting potential, where V starts and to which it leaks.
        b_th: half-width B_th of the active band (Def. 1), > 0; `inf` gives ordinary surrogate-gradient
            backpropagation through time. The paper's Fig. 5 and the authors' code give v_th - b_th
            instead: their "0.8" is 0.2 here. `surrogate.half_width(0.95)` names it by the mass it keeps.
        surrogate: g(V) inside the band: a `Surrogate`, or any object with a `slope(distance)`.
        reset: "subtract" (the paper's), "zero" (to v_reset) or "none".
        detach_reset: whether the reset counts as a constant in the gradient (the paper's choice).

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """

    tau_mem: float
    dt: float
    v_th: float = 1.0
    v_reset: float = 0.0
    v_rest: float = 0.0
    b_th: float = 0.2
    surrogate: Surrogate = field(default_factory=FastSigmoid)
    reset: Reset = "subtract"
    detach_reset: bool = True

    def __post_init__(self) -> None:
        for name in NUMBERS:
            setattr(self, name, number(name, getattr(self, name)))
        self._equations()

    @property
    def alpha(self) -> float:
        """Leak factor of one step, exp(-dt / tau_mem), in [0, 1]."""
        return leak(number("tau_mem", self.tau_mem), number("dt", self.dt))

    def initial(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """State (V, S) at step 0: at rest, silent; each the shape of `like`."""
        return self._equations().initial(like)

    def step(self, state: tuple[Tensor, Tensor], current: Tensor) -> tuple[Tensor, Tensor]:
        """State (V, S) one step later, under the input current of this step; any shape."""
        return self._equations().step(state, current)

    def spike(self, potential: Tensor) -> Tensor:
        """S = 1 where V > v_th; its derivative is the surrogate, cut at the band (eq. 4, 8)."""
        return self._equations().spike(potential)

    def active(self, potential: Tensor) -> Tensor:
        """Bool: whether |V - v_th| < b_th (eq. 7)."""
        return self._equations().active(potential)

    def weight_std(
        self, n_in: float, rate: float | None = None, *, share: float = 1.0
    ) -> float | None:
        """See `Neuron.weight_std`; `initial.spread` has the formula and its sources."""
        if self.reset == "none" and self.v_th <= self.v_rest:
            return None  # it fires at every step, whatever the weights
        return initial.spread(
            self.alpha,
            self.v_th - self.v_rest,
            n_in,
            initial.RATE if rate is None else rate,
            reset=None if self.reset == "none" else self.v_th - self.v_reset,
            share=share,
        )

    def describe(self) -> descriptions.Neuron:
        """See `Neuron.describe`."""
        return super().describe() if overrides(self, LIF) else self._equations()

    def extra_repr(self) -> str:
        """Its numbers, as shown by `print`."""
        numbers = [f"{name}={getattr(self, name)}" for name in NUMBERS]
        rest = [
            f"{name}={getattr(self, name)!r}" for name in ("surrogate", "reset", "detach_reset")
        ]
        return ", ".join(numbers + rest)

    def _equations(self) -> Equations:
        values = tuple(number(name, getattr(self, name)) for name in NUMBERS)
        surrogate, shape = self.surrogate, shape_of(self.surrogate)
        if shape is None:
            # One's own surrogate may change before the backward pass; this is how it is now.
            return _checked(values, copy.copy(surrogate), shape, self.reset, self.detach_reset)
        return _cached(values, surrogate, shape, self.reset, self.detach_reset)


@dataclass(frozen=True)
class Equations(descriptions.LIF):
    """The dynamics, from frozen numbers; `LIF` has the formulas."""

    def initial(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """State (V, S) at step 0."""
        return torch.full_like(like, self.v_rest), torch.zeros_like(like)

    def step(self, state: tuple[Tensor, Tensor], current: Tensor) -> tuple[Tensor, Tensor]:
        """State (V, S) one step later."""
        potential, spike = state
        reset = spike.detach() if self.detach_reset else spike
        if self.reset == "zero":
            potential = potential + reset * (self.v_reset - potential)
        potential = self.alpha * (potential - self.v_rest) + self.v_rest + current
        if self.reset == "subtract":
            potential = potential - (self.v_th - self.v_reset) * reset
        return potential, self.spike(potential)

    def spike(self, potential: Tensor) -> Tensor:
        """S, with the surrogate for its derivative."""
        distance = potential - self.v_th
        fired = (distance > 0).to(potential.dtype)
        slope = torch.where(self.active(potential), self.slope(distance.detach()), 0.0)
        # The second term is zero in value and hands the first its derivative: no backward by hand.
        return fired + slope * (distance - distance.detach())

    def active(self, potential: Tensor) -> Tensor:
        """Bool: whether V is in the band."""
        return (potential.detach() - self.v_th).abs() < self.b_th


def _checked(
    values: tuple[float, ...],
    surrogate: Any,
    shape: descriptions.Shape | None,
    reset: Reset,
    detach_reset: bool,
) -> Equations:
    tau_mem, dt, v_th, v_reset, v_rest, b_th = values
    alpha = leak(tau_mem, dt)
    for name, found in (("v_th", v_th), ("v_reset", v_reset), ("v_rest", v_rest)):
        if not math.isfinite(found):
            raise ValueError(f"{name}: expected a finite number, found {found}")
    if not v_reset < v_th:
        raise ValueError(f"v_reset: expected less than v_th = {v_th}, found {v_reset}")
    if not b_th > 0:
        raise ValueError(f"b_th: expected a half-width > 0, found {b_th}")
    if not callable(getattr(surrogate, "slope", None)) or isinstance(surrogate, type):
        raise ValueError(
            f"surrogate: expected a Surrogate, or an object with slope(distance), found {surrogate!r}"
        )
    if reset not in ("subtract", "zero", "none"):
        raise ValueError(f'reset: expected "subtract", "zero" or "none", found {reset!r}')
    if not isinstance(detach_reset, bool):
        raise ValueError(f"detach_reset: expected True or False, found {detach_reset!r}")
    return Equations(
        alpha, v_th, v_reset, v_rest, b_th, reset, detach_reset, shape, surrogate.slope
    )


_cached = lru_cache(maxsize=256)(_checked)
