"""Readouts beside the leaky one: what classes are read from, linear and without threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from sparsespike.descriptions import Matrices
from sparsespike.neurons.checks import check_form
from sparsespike.neurons.neuron import Neuron
from sparsespike.neurons.numbers import (
    Given,
    check_each,
    check_finite,
    check_leak,
    check_tau,
    leak_given,
    leak_of,
    leak_taken,
    number,
)


class SumReadout(Neuron):
    """Integrator without leak: y[t+1] = y[t] + gain I[t], y[0] = 0.

    Numbers and `learn` are as in `LIF`.

    Args and attributes:
        gain: what the input current is multiplied by.
        lag: 1: the input of step t acts on y[t+1]; 0: on y[t].
        learn: ("gain",) if it is learned.
    """

    numbers = ("gain",)
    spiking = False

    if TYPE_CHECKING:  # from where `nn.Module` keeps it: an attribute, a buffer or a parameter
        gain: Any

    def __init__(self, gain: Given = 1.0, *, lag: int = 1, learn: Sequence[str] = ()) -> None:
        self.gain, self.lag = gain, lag
        self.begin(learn)

    def check(self) -> None:
        """See `Neuron.check`."""
        check_finite("gain", self.gain)
        check_form(self)

    def matrices(self) -> Matrices:
        """See `Neuron.matrices`."""
        return Matrices([[1.0]], [self.gain], [1.0], 0.0)


class CuBaReadout(Neuron):
    """Two leaky integrators in a row, without threshold.

        J[t+1] = alpha_syn J[t] + (1 - alpha_syn) I[t]
        y[t+1] = alpha_mem y[t] + (1 - alpha_mem) J[t+1],   y[0] = J[0] = 0

    Numbers and `learn` are as in `LIF`. States: y, J.

    Args and attributes:
        tau_mem: time constant of y, seconds, > 0.
        tau_syn: time constant of J, seconds, > 0.
        dt: time step, seconds, > 0.
        alpha_mem: leak factor of one step of y, in [0, 1], in place of `tau_mem`.
        alpha_syn: the same of J, in place of `tau_syn`.
        gain: takes the place of (1 - alpha_syn) (1 - alpha_mem), for another scale of y; None for these.
        lag: 1: the input of step t acts on y[t+1]; 0: on y[t].
        learn: of "tau_mem" or "alpha_mem", "tau_syn" or "alpha_syn", "gain", as far as they were given.
    """

    numbers = ("tau_mem", "tau_syn", "alpha_mem", "alpha_syn", "gain")
    spiking = False

    if TYPE_CHECKING:  # from where `nn.Module` keeps it: an attribute, a buffer or a parameter
        tau_mem: Any
        tau_syn: Any
        alpha_mem: Any
        alpha_syn: Any
        gain: Any

    def __init__(
        self,
        tau_mem: Given | None = None,
        tau_syn: Given | None = None,
        dt: float | None = None,
        *,
        alpha_mem: Given | None = None,
        alpha_syn: Given | None = None,
        gain: Given | None = None,
        lag: int = 1,
        learn: Sequence[str] = (),
    ) -> None:
        leak_given(self, "tau_mem", tau_mem, "alpha_mem", alpha_mem)
        leak_given(self, "tau_syn", tau_syn, "alpha_syn", alpha_syn)
        if dt is not None:
            self.dt = number("dt", dt)
        if gain is not None:
            self.gain = gain
        self.lag = lag
        self.begin(learn)

    def check(self) -> None:
        """See `Neuron.check`."""
        check_leak(self, "tau_mem", "alpha_mem")
        check_leak(self, "tau_syn", "alpha_syn")
        if hasattr(self, "gain"):
            check_finite("gain", self.gain)
        check_form(self)

    def matrices(self) -> Matrices:
        """See `Neuron.matrices`."""
        leak = leak_taken(self, "tau_mem", "alpha_mem")
        fade = leak_taken(self, "tau_syn", "alpha_syn")
        into, brought = 1.0 - leak, 1.0 - fade
        if hasattr(self, "gain"):
            into, brought = self.gain, 1.0
        return Matrices(
            [[leak, into * fade], [0.0, fade]], [into * brought, brought], [1.0, 0.0], 0.0
        )


class DoubleExponential(Neuron):
    """Difference of two exponentials, without threshold: y = X - Z.

        X[t+1] = slow X[t] + I[t],    Z[t+1] = fast Z[t] + I[t],    X[0] = Z[0] = 0

    slow = exp(-dt / tau_slow), fast = exp(-dt / tau_fast): the response rises and falls smoothly, as the
    kernels of van Rossum's distance and of many spike response models do. Numbers and `learn` are as in
    `LIF`. States: X, Z.

    Args and attributes:
        tau_slow: time constant of the fall, seconds, > tau_fast.
        tau_fast: time constant of the rise, seconds, > 0.
        dt: time step, seconds, > 0.
        lag: 1: the input of step t acts on y[t+1]; 0: on y[t].
        learn: of "tau_slow", "tau_fast".
    """

    below: ClassVar[Mapping[str, str]] = {"tau_fast": "tau_slow"}
    numbers = ("tau_slow", "tau_fast")
    spiking = False

    if TYPE_CHECKING:  # from where `nn.Module` keeps it: an attribute, a buffer or a parameter
        tau_slow: Any
        tau_fast: Any

    def __init__(
        self,
        tau_slow: Given,
        tau_fast: Given,
        dt: float,
        *,
        lag: int = 1,
        learn: Sequence[str] = (),
    ) -> None:
        self.tau_slow, self.tau_fast, self.dt = tau_slow, tau_fast, number("dt", dt)
        self.lag = lag
        self.begin(learn)

    def check(self) -> None:
        """See `Neuron.check`."""
        check_tau("tau_slow", self.tau_slow, self.dt)
        check_tau("tau_fast", self.tau_fast, self.dt)
        if not self._parameters:
            check_each(
                "tau_slow", self.tau_slow - self.tau_fast, "more than tau_fast", lambda x: x > 0
            )
        check_form(self)

    def matrices(self) -> Matrices:
        """See `Neuron.matrices`."""
        slow, fast = leak_of(self.tau_slow, self.dt), leak_of(self.tau_fast, self.dt)
        return Matrices([[slow, 0.0], [0.0, fast]], [1.0, 1.0], [1.0, -1.0], 0.0)
