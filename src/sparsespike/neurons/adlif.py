"""`AdLIF`, the adaptive neuron whose second state is driven by the potential as well as by spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from sparsespike.descriptions import Matrices
from sparsespike.neurons.checks import check_form
from sparsespike.neurons.neuron import Neuron
from sparsespike.neurons.numbers import (
    Given,
    check_choice,
    check_finite,
    check_tau,
    leak_of,
    number,
)
from sparsespike.neurons.surrogates import FastSigmoid, Surrogate

Scheme = Literal["euler", "symplectic"]


class AdLIF(Neuron):
    """Adaptive leaky integrate-and-fire neuron with subthreshold adaptation. S[t] = 1 if U[t] > v_th.

        scheme "euler"         W[t+1] = beta W[t] + a U[t] + b S[t]
                               U[t+1] = alpha (U[t] - v_th S[t]) + (1 - alpha) (I[t] - W[t+1])
        scheme "symplectic"    U[t+1] = alpha U'[t] + (1 - alpha) (I[t] - W[t+1]),   U'[t] = U[t] (1 - S[t])
                               W[t+1] = beta W[t] + (1 - beta) q (a U'[t] + b S[t])

    alpha = exp(-dt / tau_mem), beta = exp(-dt / tau_adapt). "euler": A. Bittar, P. N. Garner, A surrogate
    gradient spiking baseline for speech command recognition, Frontiers in Neuroscience 16:865897, 2022, as in
    their code. "symplectic": M. Baronig, R. Ferrand, S. Sabathiel, R. Legenstein, Advancing spatio-temporal
    processing in spiking neural networks through adaptation, arXiv:2408.07517, 2024 (SE-adLIF). Adaptation is
    differentiated, the reset only where `detach_reset` is False. Numbers, `learn` and what is not said here
    are as in `LIF`. A large `a` makes the potential swing, and may make it grow without bound. States: U, W.

    Args and attributes:
        tau_mem: membrane time constant, seconds, > 0.
        tau_adapt: time constant of the adaptation, seconds, > 0.
        a: how much the potential drives the adaptation.
        b: how much a spike does.
        dt: time step, seconds, > 0.
        q: what both are multiplied by in the scheme "symplectic", so that a and b may lie near 1.
        learn: of "tau_mem", "tau_adapt", "a", "b", "v_th".
    """

    numbers = ("tau_mem", "tau_adapt", "a", "b", "v_th")

    if TYPE_CHECKING:  # from where `nn.Module` keeps it: an attribute, a buffer or a parameter
        tau_mem: Any
        tau_adapt: Any
        a: Any
        b: Any
        v_th: Any

    def __init__(
        self,
        tau_mem: Given,
        tau_adapt: Given,
        a: Given,
        b: Given,
        dt: float,
        v_th: Given = 1.0,
        b_th: float = 0.2,
        surrogate: Surrogate | None = None,
        detach_reset: bool = True,
        *,
        scheme: Scheme = "euler",
        q: float = 120.0,
        lag: int = 1,
        learn: Sequence[str] = (),
    ) -> None:
        self.tau_mem, self.tau_adapt, self.a, self.b = tau_mem, tau_adapt, a, b
        self.dt, self.v_th, self.b_th = number("dt", dt), v_th, number("b_th", b_th)
        self.surrogate = FastSigmoid() if surrogate is None else surrogate
        self.detach_reset, self.scheme, self.lag = detach_reset, scheme, lag
        self.q = number("q", q)
        self.begin(learn)

    def check(self) -> None:
        """See `Neuron.check`."""
        check_tau("tau_mem", self.tau_mem, self.dt)
        check_tau("tau_adapt", self.tau_adapt, self.dt)
        for name in ("a", "b", "v_th", "q"):
            check_finite(name, getattr(self, name))
        check_choice("scheme", self.scheme, get_args(Scheme))
        check_form(self)

    def matrices(self) -> Matrices:
        """See `Neuron.matrices`."""
        leak, fade = leak_of(self.tau_mem, self.dt), leak_of(self.tau_adapt, self.dt)
        a, b, in_ = self.a, self.b, 1.0 - leak
        jump: dict[str, Any] = {"reset": [leak * self.v_th, 0.0]}
        if self.scheme == "symplectic":
            a, b = (1.0 - fade) * self.q * a, (1.0 - fade) * self.q * b
            jump = {"A_1": [[0.0, -(in_ * fade)], [0.0, fade]]}
        return Matrices(
            [[leak - in_ * a, -(in_ * fade)], [a, fade]],
            [in_, 0.0],
            [1.0, 0.0],
            self.v_th,
            adapt=[in_ * b, -b],
            **jump,
        )
