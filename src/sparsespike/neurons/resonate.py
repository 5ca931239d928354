"""`ResonateFire`, the resonate-and-fire neuron: a damped oscillation that spikes where it swings high."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from sparsespike.descriptions import Matrices
from sparsespike.neurons.checks import check_form
from sparsespike.neurons.neuron import Neuron
from sparsespike.neurons.numbers import Given, check_choice, check_each, check_finite, number
from sparsespike.neurons.surrogates import FastSigmoid, Surrogate

Kind = Literal["none", "to_i"]


class ResonateFire(Neuron):
    """Resonate-and-fire neuron, z = U + iV, by Euler steps.

        U[t+1] = (1 - damping dt) U[t] - omega dt V[t] + dt I[t]
        V[t+1] = omega dt U[t] + (1 - damping dt) V[t]

        reset "none"    S[t] = 1 if U[t] > v_th
        reset "to_i"    S[t] = 1 if V[t] > v_th; then z is set to i before the next step

    E. M. Izhikevich, Resonate-and-fire neurons, Neural Networks 14(6-7), 2001 ("to_i"); S. Higuchi, S.
    Kairat, S. M. Bohte, S. Otte, Balanced resonate-and-fire neurons, ICML 2024 ("none", their RF baseline).
    Numbers, `learn` and what is not said here are as in `LIF`. States: U, V.

    Args and attributes:
        omega: angular frequency, radians per second.
        damping: how fast the oscillation dies, 1 / seconds.
        dt: time step, seconds, > 0. (1 - damping dt)^2 + (omega dt)^2 must not exceed 1, or it grows.
        learn: of "omega", "damping", "v_th".
    """

    numbers = ("omega", "damping", "v_th")

    if TYPE_CHECKING:  # from where `nn.Module` keeps it: an attribute, a buffer or a parameter
        omega: Any
        damping: Any
        v_th: Any

    def __init__(
        self,
        omega: Given,
        damping: Given,
        dt: float,
        v_th: Given = 1.0,
        b_th: float = 0.2,
        surrogate: Surrogate | None = None,
        reset: Kind = "none",
        detach_reset: bool = True,
        *,
        lag: int = 1,
        learn: Sequence[str] = (),
    ) -> None:
        self.omega, self.damping, self.dt = omega, damping, number("dt", dt)
        self.v_th, self.b_th = v_th, number("b_th", b_th)
        self.surrogate = FastSigmoid() if surrogate is None else surrogate
        self.reset, self.detach_reset, self.lag = reset, detach_reset, lag
        self.begin(learn)

    def check(self) -> None:
        """See `Neuron.check`."""
        check_each(
            "dt", self.dt, "a finite time step in seconds > 0", lambda x: (x > 0) & (x < 1e300)
        )
        for name in ("omega", "damping", "v_th"):
            check_finite(name, getattr(self, name))
        if not self._parameters:
            growth = (1.0 - self.damping * self.dt) ** 2 + (self.omega * self.dt) ** 2
            expected = "with omega and dt (1 - damping dt)^2 + (omega dt)^2 <= 1"
            check_each("damping", growth, expected, lambda x: x <= 1)
        check_choice("reset", self.reset, get_args(Kind))
        check_form(self)

    def matrices(self) -> Matrices:
        """See `Neuron.matrices`."""
        keep, turn = 1.0 - self.damping * self.dt, self.omega * self.dt
        if self.reset == "none":
            return Matrices([[keep, -turn], [turn, keep]], [self.dt, 0.0], [1.0, 0.0], self.v_th)
        return Matrices(
            [[keep, -turn], [turn, keep]],
            [self.dt, 0.0],
            [0.0, 1.0],
            self.v_th,
            reset=[turn, -keep],
            A_1=[[0.0, 0.0], [0.0, 0.0]],
        )
