"""`Readout`, the leaky integrator: what the classes are read from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from sparsespike import descriptions
from sparsespike.neurons import initial
from sparsespike.neurons.neuron import Neuron, overrides
from sparsespike.neurons.numbers import leak, number


@dataclass(eq=False, repr=False)
class Readout(Neuron):
    """Leaky integrator without threshold.

        y[t+1] = alpha y[t] + (1 - alpha) I[t],   y[0] = 0,   alpha = exp(-dt / tau_mem)

    A number may be Python's, NumPy's or a 0-d tensor. Attributes are read at every call.

    Attributes:
        tau_mem: time constant, seconds, > 0.
        dt: time step, seconds, > 0.

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """

    tau_mem: float
    dt: float

    spiking = False

    def __post_init__(self) -> None:
        self.tau_mem, self.dt = number("tau_mem", self.tau_mem), number("dt", self.dt)
        self._equations()

    @property
    def alpha(self) -> float:
        """Leak factor of one step, exp(-dt / tau_mem), in [0, 1)."""
        return self._equations().alpha

    def initial(self, like: Tensor) -> Tensor:
        """y at step 0: zero, the shape of `like`."""
        return self._equations().initial(like)

    def step(self, state: Tensor, current: Tensor) -> Tensor:
        """y one step later, under the input current of this step; any shape."""
        return self._equations().step(state, current)

    def weight_std(
        self, n_in: float, rate: float | None = None, *, share: float = 1.0
    ) -> float | None:
        """See `Neuron.weight_std`; `initial.readout_spread` has the formula."""
        if self.alpha == 1:
            return None  # a leak below rounding: the potential stays zero
        return initial.readout_spread(
            self.alpha, n_in, initial.RATE if rate is None else rate, share=share
        )

    def describe(self) -> descriptions.Neuron:
        """See `Neuron.describe`."""
        return super().describe() if overrides(self, Readout) else self._equations()

    def extra_repr(self) -> str:
        """Its numbers, as shown by `print`."""
        return f"tau_mem={self.tau_mem}, dt={self.dt}"

    def _equations(self) -> Equations:
        return _checked(number("tau_mem", self.tau_mem), number("dt", self.dt))


@dataclass(frozen=True)
class Equations(descriptions.Readout):
    """The dynamics, from frozen numbers."""

    def initial(self, like: Tensor) -> Tensor:
        """y at step 0."""
        return torch.zeros_like(like)

    def step(self, state: Tensor, current: Tensor) -> Tensor:
        """y one step later."""
        return self.alpha * state + (1.0 - self.alpha) * current


@lru_cache(maxsize=256)
def _checked(tau_mem: float, dt: float) -> Equations:
    alpha = leak(tau_mem, dt)
    if math.isinf(tau_mem):
        raise ValueError("tau_mem: expected a finite time constant for Readout, found inf")
    return Equations(alpha)
