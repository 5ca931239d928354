"""Neurons: one unit's equations, the only definition of the dynamics (eq. 1-4, 7-8).

A neuron here is a frozen description. `step` writes its equations in plain PyTorch; the dense backend,
the oracle, runs nothing else, and every kernel is compared with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from sparsespike.neurons.surrogates import FastSigmoid, Surrogate

Reset = Literal["subtract", "zero", "none"]


@dataclass(frozen=True)
class LIF:
    """Leaky integrate-and-fire neuron in discrete time (eq. 2).

        V[t+1] = alpha (V[t] - v_rest) + v_rest + I[t] - (v_th - v_reset) S[t]    reset "subtract"
        V[t+1] = alpha (U[t] - v_rest) + v_rest + I[t],  U = v_reset where S[t] = 1, else V[t]   "zero"
        S[t]   = 1 if V[t] > v_th else 0;  alpha = exp(-dt / tau_mem);  V[0] = v_rest, S[0] = 0

    The gradient of S goes only through *active* entries, |V[t] - v_th| < b_th (eq. 7-8).

    Attributes:
        tau_mem: membrane time constant, seconds, > 0 (`inf`: no leak).
        dt: time step, seconds, > 0.
        v_th: threshold, unit of potential.
        v_reset: potential after a spike, < v_th. "subtract" takes v_th - v_reset away; "zero" sets it.
        v_rest: resting potential, where V starts and to which it leaks.
        b_th: half-width B_th of the active band (Def. 1), > 0; `inf` gives ordinary surrogate-gradient
            backpropagation through time. The paper's Fig. 5 and the authors' code give v_th - b_th
            instead: their "0.8" is 0.2 here. `surrogate.half_width(0.95)` names it by the mass it keeps.
        surrogate: g(V) inside the band.
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
        _check_time_constant("tau_mem", self.tau_mem, self.dt)
        for name in ("v_th", "v_reset", "v_rest"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name}: expected a finite number, found {getattr(self, name)}")
        if not self.v_reset < self.v_th:
            raise ValueError(
                f"v_reset: expected less than v_th = {self.v_th}, found {self.v_reset}"
            )
        if not self.b_th > 0:
            raise ValueError(f"b_th: expected a half-width > 0, found {self.b_th}")
        if not isinstance(self.surrogate, Surrogate):
            raise ValueError(f"surrogate: expected a Surrogate, found {self.surrogate!r}")
        if self.reset not in ("subtract", "zero", "none"):
            raise ValueError(f'reset: expected "subtract", "zero" or "none", found {self.reset!r}')

    @property
    def alpha(self) -> float:
        """Leak factor of one step, exp(-dt / tau_mem), in (0, 1]."""
        return math.exp(-self.dt / self.tau_mem)

    def initial(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """State (V, S) at step 0: at rest, silent; each the shape of `like`."""
        return torch.full_like(like, self.v_rest), torch.zeros_like(like)

    def step(self, state: tuple[Tensor, Tensor], current: Tensor) -> tuple[Tensor, Tensor]:
        """State (V, S) one step later, under the input current of this step; any shape."""
        potential, spike = state
        reset = spike.detach() if self.detach_reset else spike
        if self.reset == "zero":
            potential = potential + reset * (self.v_reset - potential)
        potential = self.alpha * (potential - self.v_rest) + self.v_rest + current
        if self.reset == "subtract":
            potential = potential - (self.v_th - self.v_reset) * reset
        return potential, self.spike(potential)

    def spike(self, potential: Tensor) -> Tensor:
        """S = 1 where V > v_th; its derivative is the surrogate, cut at the band (eq. 4, 8)."""
        distance = potential - self.v_th
        fired = (distance > 0).to(potential.dtype)
        slope = torch.where(self.active(potential), self.surrogate.slope(distance.detach()), 0.0)
        # The second term is zero in value and hands the first its derivative: no backward by hand.
        return fired + slope * (distance - distance.detach())

    def active(self, potential: Tensor) -> Tensor:
        """Bool: whether |V - v_th| < b_th (eq. 7)."""
        return (potential.detach() - self.v_th).abs() < self.b_th


@dataclass(frozen=True)
class Readout:
    """Leaky integrator without threshold: what the classes are read from.

        y[t+1] = alpha y[t] + (1 - alpha) I[t],   y[0] = 0,   alpha = exp(-dt / tau_mem)

    Attributes:
        tau_mem: time constant, seconds, > 0.
        dt: time step, seconds, > 0.

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """

    tau_mem: float
    dt: float

    def __post_init__(self) -> None:
        _check_time_constant("tau_mem", self.tau_mem, self.dt)
        if math.isinf(self.tau_mem):
            raise ValueError("tau_mem: expected a finite time constant for Readout, found inf")

    @property
    def alpha(self) -> float:
        """Leak factor of one step, exp(-dt / tau_mem), in (0, 1)."""
        return math.exp(-self.dt / self.tau_mem)

    def initial(self, like: Tensor) -> Tensor:
        """y at step 0: zero, the shape of `like`."""
        return torch.zeros_like(like)

    def step(self, state: Tensor, current: Tensor) -> Tensor:
        """y one step later, under the input current of this step; any shape."""
        return self.alpha * state + (1.0 - self.alpha) * current


def _check_time_constant(name: str, tau: float, dt: float) -> None:
    if not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt: expected a finite time step in seconds > 0, found {dt}")
    if not tau > 0:
        raise ValueError(f"{name}: expected a time constant in seconds > 0, found {tau}")
