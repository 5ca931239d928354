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
from sparsespike.neurons.numbers import (
    Given,
    check_finite,
    check_share,
    check_tau,
    leak,
    leak_given,
    leak_of,
    number,
    within,
)


class Readout(Neuron):
    """Leaky integrator without threshold.

        y[t+1] = alpha y[t] + (1 - alpha) I[t],   y[0] = 0,   alpha = exp(-dt / tau_mem)

    Numbers and `learn` are as in `LIF`.

    Args and attributes:
        tau_mem: time constant, seconds, > 0.
        dt: time step, seconds, > 0.
        alpha: leak factor of one step, in [0, 1], in place of `tau_mem` and `dt`.
        gain: takes the place of 1 - alpha, for another scale of y; None for that.
        lag: 1: the input of step t acts on y[t+1] (the paper's); 0: on y[t].
        learn: of "tau_mem" or "alpha", "gain", as far as they were given.

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """

    numbers = ("tau_mem", "alpha", "gain")
    spiking = False

    if TYPE_CHECKING:  # from where `nn.Module` keeps it: an attribute, a buffer or a parameter
        tau_mem: Any
        alpha: Any
        gain: Any

    def __init__(
        self,
        tau_mem: Given | None = None,
        dt: float | None = None,
        *,
        alpha: Given | None = None,
        gain: Given | None = None,
        lag: int = 1,
        learn: Sequence[str] = (),
    ) -> None:
        leak_given(self, "tau_mem", tau_mem, "alpha", alpha)
        if dt is not None:
            self.dt = number("dt", dt)
        if gain is not None:
            self.gain = gain
        self.lag = lag
        self.begin(learn)

    def __getattr__(self, name: str) -> Any:
        if name == "alpha" and not self._has("alpha"):
            return leak_of(self.tau_mem, number("dt", self.dt))
        return super().__getattr__(name)

    def settings(self) -> dict[str, Any]:
        """See `Neuron.settings`; alpha, or tau_mem and dt, from which it follows."""
        other = ("tau_mem", "dt") if self._has("alpha") else ("alpha",)
        return {name: value for name, value in super().settings().items() if name not in other}

    def matrices(self) -> Matrices:
        """See `Neuron.matrices`."""
        alpha = within(self.alpha, 0.0, 1.0) if self._has("alpha") else self.alpha
        gain = self.gain if self._has("gain") else 1.0 - alpha
        return Matrices([[alpha]], [gain], [1.0], 0.0)

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
        if alpha == 1 or self._has("gain"):
            return super().weight_std(n_in, rate, share=share)
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
            and not (self._has("alpha") or self._has("gain"))
        )

    def _has(self, name: str) -> bool:
        """Whether this number was given."""
        return name in self.__dict__ or name in self._parameters or name in self._buffers

    def _equations(self, like: Tensor) -> Any:
        """The equations for as many neurons as the last axis of `like` has."""
        if self._is_plain():
            return _checked(number("tau_mem", self.tau_mem), number("dt", self.dt))
        return equations_of(self, like)

    def check(self) -> None:
        """See `Neuron.check`."""
        if self._has("gain"):
            check_finite("gain", self.gain)
        if self._has("alpha"):
            check_share("alpha", self.alpha, "a leak factor")
            check_form(self)
            return
        if not hasattr(self, "dt"):
            raise ValueError("dt: expected a time step beside tau_mem, found none")
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
