"""`LIF`, the leaky integrate-and-fire neuron: the only definition of its dynamics (eq. 1-4, 7-8).

`Equations` writes them in plain PyTorch; the dense backend, the oracle, runs nothing else, and every
kernel is compared with it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args

import torch
from torch import Tensor

from sparsespike import descriptions
from sparsespike.descriptions import Matrices, Reset
from sparsespike.neurons import initial
from sparsespike.neurons.checks import check_form
from sparsespike.neurons.distributions import Distribution
from sparsespike.neurons.neuron import Neuron, equations_of, overrides
from sparsespike.neurons.numbers import (
    Given,
    check_choice,
    check_finite,
    check_share,
    check_tau,
    leak_of,
    number,
    shown,
    within,
)
from sparsespike.neurons.surrogates import FastSigmoid, Surrogate, shape_of


class LIF(Neuron):
    """Leaky integrate-and-fire neuron in discrete time (eq. 2).

        V[t+1] = alpha (V[t] - v_rest) + v_rest + gain I[t] - (v_th - v_reset) S[t]    reset "subtract"
        V[t+1] = alpha (U[t] - v_rest) + v_rest + gain I[t],  U = v_reset where S[t] = 1, else V[t]   "zero"
        V[t+1] = v_reset where S[t] = 1, whatever the input, else as without reset                   "clear"
        S[t]   = 1 if V[t] > v_th else 0;  alpha = exp(-dt / tau_mem);  V[0] = v_init, S[0] = 0

    The gradient of S goes only through *active* entries, |V[t] - v_th| < b_th (eq. 7-8). A number may be
    Python's, NumPy's or a 0-d tensor, a tensor (N,) with one for each neuron, or a `Gamma`, `Normal` or
    `Uniform`, from which a `Layer` draws one for each; `learn` makes parameters of them. All attributes are
    read at every call; one that was changed since counts from then on.

    A learned number that leaves its range counts as its end, and its gradient goes on as if it had not: a
    time constant below dt / 16, an alpha outside of [0, 1]. Adam moves a parameter by about its learning rate
    per step, whatever its unit: give time constants in seconds a group with a rate of their own.

    Args and attributes:
        tau_mem: membrane time constant, seconds, > 0 (`inf`: no leak).
        dt: time step, seconds, > 0.
        v_th: threshold, unit of potential.
        v_reset: potential after a spike, < v_th. "subtract" takes v_th - v_reset away; the others set it.
        v_rest: resting potential, to which V leaks.
        b_th: half-width B_th of the active band (Def. 1), > 0; `inf` gives ordinary surrogate-gradient
            backpropagation through time. The paper's Fig. 5 and the authors' code give v_th - b_th
            instead: their "0.8" is 0.2 here. `surrogate.half_width(0.95)` names it by the mass it keeps.
        surrogate: g(V) inside the band: a `Surrogate`, or any object with a `slope(distance)`.
        reset: "subtract" (the paper's), "zero" (to v_reset, before the next leak), "clear" (to v_reset in
            place of the next step) or "none".
        detach_reset: whether the reset counts as a constant in the gradient (the paper's choice).
        alpha: leak factor of one step, in [0, 1], in place of `tau_mem` and `dt`.
        gain: what the input current is multiplied by.
        lag: 1: the input of step t acts on V[t+1] (the paper's); 0: on V[t], as other libraries have it.
        v_init: potential at the start; None for v_rest.
        learn: names of the numbers that are learned: "tau_mem" or "alpha", "v_th", "v_reset", "v_rest",
            "gain", "v_init".

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """

    numbers = ("tau_mem", "alpha", "v_th", "v_reset", "v_rest", "gain", "v_init")
    below: ClassVar[Mapping[str, str]] = {"v_reset": "v_th"}

    reset: Reset

    if TYPE_CHECKING:  # from where `nn.Module` keeps it: an attribute, a buffer or a parameter
        tau_mem: Any
        alpha: Any
        v_th: Any
        v_reset: Any
        v_rest: Any
        gain: Any
        v_init: Any

    def __init__(
        self,
        tau_mem: Given | None = None,
        dt: float | None = None,
        v_th: Given = 1.0,
        v_reset: Given = 0.0,
        v_rest: Given = 0.0,
        b_th: float = 0.2,
        surrogate: Surrogate | None = None,
        reset: Reset = "subtract",
        detach_reset: bool = True,
        *,
        alpha: Given | None = None,
        gain: Given = 1.0,
        lag: int = 1,
        v_init: Given | None = None,
        learn: Sequence[str] = (),
    ) -> None:
        if alpha is None:
            if tau_mem is None or dt is None:
                raise ValueError("tau_mem: expected tau_mem and dt, or alpha, found neither")
            self.tau_mem, self.dt = tau_mem, number("dt", dt)
        elif tau_mem is not None or dt is not None:
            raise ValueError("alpha: expected it in place of tau_mem and dt, found both")
        else:
            self.alpha = alpha
        self.v_th, self.v_reset, self.v_rest, self.gain = v_th, v_reset, v_rest, gain
        if v_init is not None:
            self.v_init = v_init
        self.b_th = number("b_th", b_th)
        self.surrogate = FastSigmoid() if surrogate is None else surrogate
        self.reset, self.detach_reset, self.lag = reset, detach_reset, lag
        self.begin(learn)

    def __getattr__(self, name: str) -> Any:
        if name == "alpha" and "alpha" not in self._parameters and "alpha" not in self._buffers:
            return leak_of(self.tau_mem, number("dt", self.dt))
        if name == "v_init" and "v_init" not in self._parameters and "v_init" not in self._buffers:
            return self.v_rest
        if name in ("tau_mem", "dt") and name not in self._parameters and name not in self._buffers:
            return None  # alpha was given in their place
        return super().__getattr__(name)

    def settings(self) -> dict[str, Any]:
        """See `Neuron.settings`; without what follows from the others."""
        found = super().settings()
        for name in ("tau_mem", "dt") if self._has("alpha") else ("alpha",):
            found.pop(name, None)
        if not self._has("v_init"):
            del found["v_init"]
        return found

    def changed(self, **settings: Any) -> Self:
        """See `Neuron.changed`; alpha may take the place of tau_mem and dt, and they that of alpha."""
        if "alpha" in settings:
            settings = {"tau_mem": None, "dt": None} | settings
        elif "tau_mem" in settings:
            settings = {"alpha": None} | settings
        return super().changed(**settings)

    def matrices(self) -> Matrices:
        """See `Neuron.matrices`; s = V - v_rest."""
        alpha = within(self.alpha, 0.0, 1.0)
        v_th, v_reset, v_rest = self.v_th, self.v_reset, self.v_rest
        jump: dict[str, Any] = {}
        if self.reset == "subtract":
            jump = {"reset": [v_th - v_reset]}
        elif self.reset == "zero":
            jump = {"reset": [-(alpha * (v_reset - v_rest))], "A_1": [[0.0]]}
        elif self.reset == "clear":
            jump = {"reset": [-(v_reset - v_rest)], "A_1": [[0.0]], "b_1": [0.0]}
        start = [self.v_init - v_rest] if self._has("v_init") else ()
        return Matrices(
            [[alpha]], [self.gain], [1.0], v_th - v_rest, rest=v_rest, s_0=start, **jump
        )

    def initial(self, like: Tensor) -> tuple[Tensor, ...]:
        """State at step 0, which begins with V and S: silent; each the shape of `like`."""
        return self._equations(like).initial(like)

    def step(self, state: tuple[Tensor, ...], current: Tensor) -> tuple[Tensor, ...]:
        """State one step later, under the input current of this step; (B, N) or (N,)."""
        return self._equations(current).step(state, current)

    def spike(self, potential: Tensor) -> Tensor:
        """S = 1 where V > v_th; its derivative is the surrogate, cut at the band (eq. 4, 8)."""
        return self._equations(potential).spike(potential)

    def active(self, potential: Tensor) -> Tensor:
        """Bool: whether |V - v_th| < b_th (eq. 7)."""
        return self._equations(potential).active(potential)

    def weight_std(
        self, n_in: float, rate: float | None = None, *, share: float = 1.0
    ) -> float | None:
        """See `Neuron.weight_std`; `initial.spread` has the formula and its sources."""
        alpha, v_th, v_reset, v_rest, gain = (
            float(torch.as_tensor(getattr(self, name)).detach().double().mean())
            for name in ("alpha", "v_th", "v_reset", "v_rest", "gain")
        )
        if (self.reset == "none" and v_th <= v_rest) or not gain:
            return None  # it fires at every step, or never, whatever the weights
        std = initial.spread(
            alpha,
            v_th - v_rest,
            n_in,
            initial.RATE if rate is None else rate,
            reset=None if self.reset == "none" else v_th - v_reset,
            share=share,
        )
        return std / abs(gain)

    def describe(self, whole: bool = False) -> descriptions.Neuron:
        """See `Neuron.describe`; the short way is for what the paper has."""
        if overrides(self, LIF):
            return super().describe(whole)
        if not self._is_plain():
            return super().describe(whole)
        plain = self._numbers_now()
        return replace(self.formed(()), plain=plain) if whole else plain

    def _has(self, name: str) -> bool:
        """Whether this number was given, and does not follow from others."""
        return name in self.__dict__ or name in self._parameters or name in self._buffers

    def _is_plain(self) -> bool:
        """Whether this is the paper's neuron, one number for all neurons."""
        # A neuron that is frozen for a call has its parameters' values among its attributes.
        other = Tensor, Distribution  # else a float
        each = any(isinstance(self.__dict__.get(name), other) for name in self.numbers)
        return (
            type(self).matrices is LIF.matrices
            and not (self._parameters or self._buffers or each)
            and self.lag == 1
            and self.gain == 1.0
            and self.reset != "clear"
            and "v_init" not in self.__dict__
        )

    def _equations(self, like: Tensor) -> Any:
        """The equations for as many neurons as the last axis of `like` has."""
        if self._is_plain():
            return self._numbers_now()
        return equations_of(self, like)

    def _numbers_now(self) -> Equations:
        values = tuple(number(name, getattr(self, name)) for name in PLAIN)
        surrogate, shape = self.surrogate, shape_of(self.surrogate)
        if shape is None:
            # One's own surrogate may change before the backward pass; this is how it is now.
            return _checked(values, copy.copy(surrogate), shape, self.reset, self.detach_reset)
        return _cached(values, surrogate, shape, self.reset, self.detach_reset)

    def check(self) -> None:
        """See `Neuron.check`."""
        if self._has("alpha"):
            check_share("alpha", self.alpha, "a leak factor")
        else:
            check_tau("tau_mem", self.tau_mem, number("dt", self.dt))
        for name in ("v_th", "v_reset", "v_rest", "gain", "v_init"):
            check_finite(name, getattr(self, name))
        if not {"v_th", "v_reset"} & {*self._parameters}:
            room = torch.as_tensor(self.v_th - self.v_reset > 0)
            if not bool(room.all()):
                expected = f"less than v_th = {shown(self.v_th)}"
                raise ValueError(f"v_reset: expected {expected}, found {shown(self.v_reset)}")
        check_choice("reset", self.reset, get_args(Reset))
        check_form(self)


PLAIN = ("alpha", "v_th", "v_reset", "v_rest", "b_th")


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
    alpha, v_th, v_reset, v_rest, b_th = values
    LIF(
        None, None, v_th, v_reset, v_rest, b_th, surrogate, reset, detach_reset, alpha=alpha
    )  # for its checks: numbers may have been changed since it was made
    return Equations(
        alpha, v_th, v_reset, v_rest, b_th, reset, detach_reset, shape, surrogate.slope
    )


_cached = lru_cache(maxsize=256)(_checked)
