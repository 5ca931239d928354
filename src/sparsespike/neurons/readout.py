"""`Readout`, the leaky integrator: what the classes are read from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sparsespike import descriptions
from sparsespike.descriptions import Matrices
from sparsespike.neurons import initial
from sparsespike.neurons.checks import check_form
from sparsespike.neurons.distributions import Distribution
from sparsespike.neurons.neuron import Neuron, equations_of, overrides
from sparsespike.neurons.numbers import Given, check_tau, leak, leak_of, number


class Readout(Neuron):
    """Leaky integrator without threshold.

        y[t+1] = alpha y[t] + (1 - alpha) I[t],   y[0] = 0,   alpha = exp(-dt / tau_mem)

    Numbers and `learn` are as in `LIF`.

    Args and attributes:
        tau_mem: time constant, seconds, > 0.
        dt: time step, seconds, > 0.
        lag: 1: the input of step t acts on y[t+1] (the paper's); 0: on y[t].
        learn: ("tau_mem",) if it is learned.

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """

    numbers = ("tau_mem",)
    spiking = False

    if TYPE_CHECKING:  # from where `nn.Module` keeps it: an attribute, a buffer or a parameter
        tau_mem: Any

    def __init__(
        self, tau_mem: Given, dt: float, *, lag: int = 1, learn: Sequence[str] = ()
    ) -> None:
        self.tau_mem, self.dt, self.lag = tau_mem, number("dt", dt), lag
        self.begin(learn)

    @property
    def alpha(self) -> Any:
        """Leak factor of one step, exp(-dt / tau_mem), in [0, 1)."""
        return leak_of(self.tau_mem, number("dt", self.dt))

    def matrices(self) -> Matrices:
        """See `Neuron.matrices`."""
        alpha = self.alpha
        return Matrices([[alpha]], [1.0 - alpha], [1.0], 0.0)

    def initial(self, like: Tensor) -> Any:
        """State at step 0, y: zero, the shape of `like`."""
        return self._equations(like).initial(like)

    def step(self, state: Any, current: Tensor) -> Any:
        """State one step later, under the input current of this step; (B, N) or (N,)."""
        return self._equations(current).step(state, current)

    def weight_std(
        self, n_in: float, rate: float | None = None, *, share: float = 1.0
    ) -> float | None:
        """See `Neuron.weight_std`; `initial.readout_spread` has the formula."""
        alpha = float(torch.as_tensor(self.alpha).detach().double().mean())
        if alpha == 1:
            return None  # a leak below rounding: the potential stays zero
        return initial.readout_spread(
            alpha, n_in, initial.RATE if rate is None else rate, share=share
        )

    def describe(self, whole: bool = False) -> descriptions.Neuron:
        """See `Neuron.describe`; the short way is for one number for all."""
        if overrides(self, Readout):
            return super().describe(whole)
        if whole or not self._is_plain():
            return super().describe(whole)
        return _checked(number("tau_mem", self.tau_mem), number("dt", self.dt))

    def _is_plain(self) -> bool:
        each = isinstance(self.__dict__.get("tau_mem"), Tensor | Distribution)
        return (
            type(self).matrices is Readout.matrices
            and not (self._parameters or self._buffers or each)
            and self.lag == 1
        )

    def _equations(self, like: Tensor) -> Any:
        """The equations for as many neurons as the last axis of `like` has."""
        if self._is_plain():
            return _checked(number("tau_mem", self.tau_mem), number("dt", self.dt))
        return equations_of(self, like)

    def check(self) -> None:
        """See `Neuron.check`."""
        check_tau("tau_mem", self.tau_mem, number("dt", self.dt))
        if not isinstance(self.tau_mem, Tensor) and math.isinf(self.tau_mem):
            raise ValueError("tau_mem: expected a finite time constant for Readout, found inf")
        check_form(self)


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
