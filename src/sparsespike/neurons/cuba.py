"""`CuBaLIF`, the current-based leaky integrate-and-fire neuron: a synaptic current charges the membrane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from sparsespike.descriptions import Matrices, Reset
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

Order = Literal["new", "old"]


class CuBaLIF(Neuron):
    """Leaky integrate-and-fire neuron with a synaptic current.

        J[t+1] = alpha_syn J[t] + I[t]
        V[t+1] = alpha_mem (V[t] - v_rest) + v_rest + gain J'  - reset,    J' = J[t+1] ("new") or J[t] ("old")
        S[t]   = 1 if V[t] > v_th else 0;  V[0] = v_rest, J[0] = 0

    "new" is what snnTorch's `Synaptic` and Norse's `LIF` compute; "old" is one step slower (Zenke & Ganguli,
    SuperSpike, Neural Computation 30(6), 2018, in the discrete form of Neftci, Mostafa & Zenke, IEEE Signal
    Processing Magazine 36(6), 2019). The resets are those of `LIF`, and act on V alone. Numbers, `learn` and
    what is not said here are as in `LIF`. States: V - v_rest, J.

    Args and attributes:
        tau_mem: membrane time constant, seconds, > 0.
        tau_syn: synaptic time constant, seconds, > 0.
        dt: time step, seconds, > 0.
        gain: what the synaptic current is multiplied by.
        order: which current charges the membrane.
        learn: of "tau_mem", "tau_syn", "v_th", "v_reset", "v_rest", "gain".
    """

    numbers = ("tau_mem", "tau_syn", "v_th", "v_reset", "v_rest", "gain")

    if TYPE_CHECKING:  # from where `nn.Module` keeps it: an attribute, a buffer or a parameter
        tau_mem: Any
        tau_syn: Any
        v_th: Any
        v_reset: Any
        v_rest: Any
        gain: Any

    def __init__(
        self,
        tau_mem: Given,
        tau_syn: Given,
        dt: float,
        v_th: Given = 1.0,
        v_reset: Given = 0.0,
        v_rest: Given = 0.0,
        b_th: float = 0.2,
        surrogate: Surrogate | None = None,
        reset: Reset = "subtract",
        detach_reset: bool = True,
        *,
        order: Order = "new",
        gain: Given = 1.0,
        lag: int = 1,
        learn: Sequence[str] = (),
    ) -> None:
        self.tau_mem, self.tau_syn, self.dt = tau_mem, tau_syn, number("dt", dt)
        self.v_th, self.v_reset, self.v_rest, self.gain = v_th, v_reset, v_rest, gain
        self.b_th = number("b_th", b_th)
        self.surrogate = FastSigmoid() if surrogate is None else surrogate
        self.reset, self.detach_reset, self.order, self.lag = reset, detach_reset, order, lag
        self.begin(learn)

    def check(self) -> None:
        """See `Neuron.check`."""
        check_tau("tau_mem", self.tau_mem, self.dt)
        check_tau("tau_syn", self.tau_syn, self.dt)
        for name in ("v_th", "v_reset", "v_rest", "gain"):
            check_finite(name, getattr(self, name))
        check_choice("reset", self.reset, get_args(Reset))
        check_choice("order", self.order, get_args(Order))
        check_form(self)

    def matrices(self) -> Matrices:
        """See `Neuron.matrices`."""
        leak, fade = leak_of(self.tau_mem, self.dt), leak_of(self.tau_syn, self.dt)
        new = self.order == "new"
        into = self.gain * fade if new else self.gain  # from the current of the step before
        jump: dict[str, Any] = {}
        if self.reset == "subtract":
            jump = {"reset": [self.v_th - self.v_reset, 0.0]}
        elif self.reset == "zero":
            start = -(leak * (self.v_reset - self.v_rest))
            jump = {"reset": [start, 0.0], "A_1": [[0.0, into], [0.0, fade]]}
        elif self.reset == "clear":
            start = -(self.v_reset - self.v_rest)
            jump = {"reset": [start, 0.0], "A_1": [[0.0, 0.0], [0.0, fade]], "b_1": [0.0, 1.0]}
        return Matrices(
            [[leak, into], [0.0, fade]],
            [self.gain if new else 0.0, 1.0],
            [1.0, 0.0],
            self.v_th - self.v_rest,
            rest=self.v_rest,
            **jump,
        )
