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
    check_leak,
    leak_given,
    leak_taken,
    number,
)
from sparsespike.neurons.surrogates import FastSigmoid, Surrogate

Order = Literal["new", "old"]


class CuBaLIF(Neuron):
    """Leaky integrate-and-fire neuron with a synaptic current.

        J[t+1] = alpha_syn J[t] + I[t]
        V[t+1] = alpha_mem (V[t] - v_rest) + v_rest + gain J'  - reset,    J' = J[t+1] ("new") or J[t] ("old")
        S[t]   = 1 if V[t] > v_th else 0;  V[0] = v_init, J[0] = 0

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
        alpha_mem: leak factor of one step of V, in [0, 1], in place of `tau_mem`.
        alpha_syn: the same of J, in place of `tau_syn`; `dt` is wanted where a time constant is.
        v_init: potential at the start; None for v_rest.
        learn: of "tau_mem" or "alpha_mem", "tau_syn" or "alpha_syn", "v_th", "v_reset", "v_rest", "gain",
            "v_init", as far as they were given.
    """

    numbers = (
        *("tau_mem", "tau_syn", "alpha_mem", "alpha_syn"),
        *("v_th", "v_reset", "v_rest", "gain", "v_init"),
    )

    if TYPE_CHECKING:  # from where `nn.Module` keeps it: an attribute, a buffer or a parameter
        tau_mem: Any
        tau_syn: Any
        alpha_mem: Any
        alpha_syn: Any
        v_th: Any
        v_reset: Any
        v_rest: Any
        gain: Any
        v_init: Any

    def __init__(
        self,
        tau_mem: Given | None = None,
        tau_syn: Given | None = None,
        dt: float | None = None,
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
        alpha_mem: Given | None = None,
        alpha_syn: Given | None = None,
        v_init: Given | None = None,
        lag: int = 1,
        learn: Sequence[str] = (),
    ) -> None:
        leak_given(self, "tau_mem", tau_mem, "alpha_mem", alpha_mem)
        leak_given(self, "tau_syn", tau_syn, "alpha_syn", alpha_syn)
        if dt is not None:
            self.dt = number("dt", dt)
        if v_init is not None:
            self.v_init = v_init
        self.v_th, self.v_reset, self.v_rest, self.gain = v_th, v_reset, v_rest, gain
        self.b_th = number("b_th", b_th)
        self.surrogate = FastSigmoid() if surrogate is None else surrogate
        self.reset, self.detach_reset, self.order, self.lag = reset, detach_reset, order, lag
        self.begin(learn)

    def check(self) -> None:
        """See `Neuron.check`."""
        check_leak(self, "tau_mem", "alpha_mem")
        check_leak(self, "tau_syn", "alpha_syn")
        for name in ("v_th", "v_reset", "v_rest", "gain", "v_init"):
            if hasattr(self, name):
                check_finite(name, getattr(self, name))
        check_choice("reset", self.reset, get_args(Reset))
        check_choice("order", self.order, get_args(Order))
        check_form(self)

    def matrices(self) -> Matrices:
        """See `Neuron.matrices`."""
        leak = leak_taken(self, "tau_mem", "alpha_mem")
        fade = leak_taken(self, "tau_syn", "alpha_syn")
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
        start = [self.v_init - self.v_rest, 0.0] if hasattr(self, "v_init") else ()
        return Matrices(
            [[leak, into], [0.0, fade]],
            [self.gain if new else 0.0, 1.0],
            [1.0, 0.0],
            self.v_th - self.v_rest,
            rest=self.v_rest,
            s_0=start,
            **jump,
        )
