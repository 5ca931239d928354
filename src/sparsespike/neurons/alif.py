"""`ALIF`, the adaptive leaky integrate-and-fire neuron: each spike raises the threshold for a while."""

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

Scheme = Literal["2020", "2018"]


class ALIF(Neuron):
    """Adaptive leaky integrate-and-fire neuron. S[t] = 1 if V[t] > v_th + beta A[t].

        scheme "2020"    A[t+1] = rho A[t] + S[t]
                         V[t+1] = alpha V[t] + I[t] - v_th S[t]
        scheme "2018"    A[t+1] = rho A[t] + (1 - rho) S[t]
                         V[t+1] = alpha V[t] + (1 - alpha) I[t] - (v_th + beta A[t+1]) S[t]

    alpha = exp(-dt / tau_mem), rho = exp(-dt / tau_adapt). "2020": G. Bellec, F. Scherr, A. Subramoney, E.
    Hajek, D. Salaj, R. Legenstein, W. Maass, A solution to the learning dilemma for recurrent networks of
    spiking neurons, Nature Communications 11:3625, 2020 (eq. 6-9). "2018": G. Bellec, D. Salaj, A.
    Subramoney, R. Legenstein, W. Maass, Long short-term memory and learning-to-learn in networks of spiking
    neurons, NeurIPS 2018, as in their code. Adaptation is differentiated, the reset only where `detach_reset`
    is False. Numbers, `learn` and what is not said here are as in `LIF`. States: V, A.

    Args and attributes:
        tau_mem: membrane time constant, seconds, > 0.
        tau_adapt: time constant of the adaptation, seconds, > 0.
        beta: how far one unit of A raises the threshold.
        dt: time step, seconds, > 0.
        learn: of "tau_mem", "tau_adapt", "beta", "v_th".
    """

    numbers = ("tau_mem", "tau_adapt", "beta", "v_th")

    if TYPE_CHECKING:  # from where `nn.Module` keeps it: an attribute, a buffer or a parameter
        tau_mem: Any
        tau_adapt: Any
        beta: Any
        v_th: Any

    def __init__(
        self,
        tau_mem: Given,
        tau_adapt: Given,
        beta: Given,
        dt: float,
        v_th: Given = 1.0,
        b_th: float = 0.2,
        surrogate: Surrogate | None = None,
        detach_reset: bool = True,
        *,
        scheme: Scheme = "2020",
        lag: int = 1,
        learn: Sequence[str] = (),
    ) -> None:
        self.tau_mem, self.tau_adapt, self.beta = tau_mem, tau_adapt, beta
        self.dt, self.v_th, self.b_th = number("dt", dt), v_th, number("b_th", b_th)
        self.surrogate = FastSigmoid() if surrogate is None else surrogate
        self.detach_reset, self.scheme, self.lag = detach_reset, scheme, lag
        self.begin(learn)

    def check(self) -> None:
        """See `Neuron.check`."""
        check_tau("tau_mem", self.tau_mem, self.dt)
        check_tau("tau_adapt", self.tau_adapt, self.dt)
        check_finite("beta", self.beta)
        check_finite("v_th", self.v_th)
        check_choice("scheme", self.scheme, get_args(Scheme))
        check_form(self)

    def matrices(self) -> Matrices:
        """See `Neuron.matrices`."""
        leak, fade = leak_of(self.tau_mem, self.dt), leak_of(self.tau_adapt, self.dt)
        states = [[leak, 0.0], [0.0, fade]]
        sees = [1.0, -self.beta]
        if self.scheme == "2020":
            return Matrices(
                states, [1.0, 0.0], sees, self.v_th, reset=[self.v_th, 0.0], adapt=[0.0, -1.0]
            )
        # The reset takes the threshold that its own spike has raised: S times what holds S.
        return Matrices(
            states,
            [1.0 - leak, 0.0],
            sees,
            self.v_th,
            reset=[self.v_th, 0.0],
            adapt=[0.0, -(1.0 - fade)],
            product=[self.beta * (1.0 - fade), 0.0],
            A_1=[[leak, -(self.beta * fade)], [0.0, fade]],
        )
