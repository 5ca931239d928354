"""`Alpha`, the neuron whose potential is a difference of two filtered currents: its response is smooth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from sparsespike.descriptions import Matrices
from sparsespike.neurons.checks import check_form
from sparsespike.neurons.neuron import Neuron
from sparsespike.neurons.numbers import (
    Given,
    Number,
    check_choice,
    check_each,
    check_finite,
    check_tau,
    leak_of,
    number,
)
from sparsespike.neurons.surrogates import FastSigmoid, Surrogate

Kind = Literal["zero", "subtract", "none"]


class Alpha(Neuron):
    """Neuron with an alpha-shaped response, as snnTorch's `Alpha`. S[t] = 1 if V[t] > v_th.

        E[t+1] = slow E[t] + I[t],    H[t+1] = fast H[t] - I[t],    V[t+1] = c (E[t+1] + H[t+1])

    slow = exp(-dt / tau_slow), fast = exp(-dt / tau_fast), c = log(slow) / (log(fast) - log(slow)) + 1. After
    a spike: "zero" makes all three zero, with the input of that step; "subtract" takes v_th from E, the
    change of H from H, and adds H[t] to V; "none" leaves them. (J. K. Eshraghian et al., Training spiking
    neural networks using lessons from deep learning, Proceedings of the IEEE 111(9), 2023; their code,
    release 1.0.) Numbers, `learn` and what is not said here are as in `LIF`. States: E, H, and with
    "subtract" V.

    Args and attributes:
        tau_slow: time constant of the rise of V, seconds, > tau_fast.
        tau_fast: the shorter one, seconds, > 0.
        dt: time step, seconds, > 0.
        reset: what a spike does.
        learn: of "tau_slow", "tau_fast", "v_th".
    """

    below: ClassVar[Mapping[str, str]] = {"tau_fast": "tau_slow"}
    numbers = ("tau_slow", "tau_fast", "v_th")

    if TYPE_CHECKING:  # from where `nn.Module` keeps it: an attribute, a buffer or a parameter
        tau_slow: Any
        tau_fast: Any
        v_th: Any

    def __init__(
        self,
        tau_slow: Given,
        tau_fast: Given,
        dt: float,
        v_th: Given = 1.0,
        b_th: float = 0.2,
        surrogate: Surrogate | None = None,
        reset: Kind = "zero",
        detach_reset: bool = True,
        *,
        lag: int = 1,
        learn: Sequence[str] = (),
    ) -> None:
        self.tau_slow, self.tau_fast, self.dt = tau_slow, tau_fast, number("dt", dt)
        self.v_th, self.b_th = v_th, number("b_th", b_th)
        self.surrogate = FastSigmoid() if surrogate is None else surrogate
        self.reset, self.detach_reset, self.lag = reset, detach_reset, lag
        self.begin(learn)

    def check(self) -> None:
        """See `Neuron.check`."""
        check_tau("tau_slow", self.tau_slow, self.dt)
        check_tau("tau_fast", self.tau_fast, self.dt)
        if not self._parameters:
            check_each(
                "tau_slow", self.tau_slow - self.tau_fast, "more than tau_fast", lambda x: x > 0
            )
        check_finite("v_th", self.v_th)
        check_choice("reset", self.reset, get_args(Kind))
        check_form(self)

    def matrices(self) -> Matrices:
        """See `Neuron.matrices`."""
        slow, fast = leak_of(self.tau_slow, self.dt), leak_of(self.tau_fast, self.dt)
        c = _log(slow) / (_log(fast) - _log(slow)) + 1.0
        states = [[slow, 0.0], [0.0, fast]]
        if self.reset == "none":
            return Matrices(states, [1.0, -1.0], [c, c], self.v_th)
        if self.reset == "zero":
            nothing = [[0.0, 0.0], [0.0, 0.0]]
            return Matrices(states, [1.0, -1.0], [c, c], self.v_th, A_1=nothing, b_1=[0.0, 0.0])
        # V is a state of its own: after a spike it is no function of the other two.
        return Matrices(
            [[slow, 0.0, 0.0], [0.0, fast, 0.0], [c * slow, c * fast, 0.0]],
            [1.0, -1.0, 0.0],
            [0.0, 0.0, 1.0],
            self.v_th,
            reset=[self.v_th, 0.0, 0.0],
            A_1=[[slow, 0.0, 0.0], [0.0, 0.0, 0.0], [c * slow, c * fast + 1.0, 0.0]],
            b_1=[1.0, 0.0, 0.0],
        )


def _log(value: Number) -> Any:
    return math.log(value) if isinstance(value, float | int) else value.log()
