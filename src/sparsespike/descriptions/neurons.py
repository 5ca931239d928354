"""What a backend is told of a neuron."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from sparsespike.descriptions.matrices import Entries, Form, Matrices, followed, listed, stacked
from sparsespike.descriptions.terms import Connection

Reset = Literal["subtract", "zero", "clear", "none"]

FAST_SIGMOID, TRIANGLE, BOXCAR, ATAN, SIGMOID, GAUSSIAN, EXPONENTIAL, CIRCLE = range(8)


class Shape(NamedTuple):
    """A surrogate as kernels take it: g(V) = peak * shape(|V - v_th| / scale).

    Attributes:
        kind: which shape.
        scale: unit of its argument, in units of potential.
        peak: its value at the threshold.
    """

    kind: int
    scale: float
    peak: float


class Equations(Protocol):
    """One unit's dynamics in plain PyTorch: all that the oracle needs of a neuron."""

    def initial(self, like: Tensor) -> Any:
        """State before the first input, of tensors of the shape of `like`, (B, N).

        Of a spiking neuron a tuple that begins with V, S; of any other its output, or a tuple that begins
        with it.
        """
        ...

    def step(self, state: Any, current: Tensor) -> Any:
        """State one step later, under the input current of this step; any shape."""
        ...

    def active(self, potential: Tensor) -> Tensor:
        """Bool: through which potentials a gradient goes, of a spiking neuron."""
        ...


@dataclass(frozen=True)
class LIF:
    """The numbers of a leaky integrate-and-fire neuron; `neurons.LIF` says what they mean.

    Attributes:
        alpha: leak factor of one step, in [0, 1].
        v_th: threshold.
        v_reset: potential after a spike.
        v_rest: resting potential.
        b_th: half-width of the active band.
        reset: "subtract", "zero" or "none".
        detach_reset: whether the reset counts as a constant in the gradient.
        shape: of the surrogate, None for one that kernels do not know.
        slope: g at V - v_th.
    """

    alpha: float
    v_th: float
    v_reset: float
    v_rest: float
    b_th: float
    reset: Reset
    detach_reset: bool
    shape: Shape | None
    slope: Callable[[Tensor], Tensor] = field(compare=False, repr=False)

    spiking = True
    lag = 1

    @property
    def attached(self) -> bool:
        """Whether there is a reset, and a gradient goes through it."""
        return not self.detach_reset and self.reset != "none"


@dataclass(frozen=True)
class Readout:
    """The numbers of a leaky integrator; `neurons.Readout` says what they mean.

    Attributes:
        alpha: leak factor of one step, in [0, 1).
    """

    alpha: float

    spiking = False
    lag = 1


@dataclass(frozen=True, eq=False)
class Dynamics:
    """A neuron of the form that `matrices.py` has.

    Attributes:
        name: of its class.
        spiking: whether its output is spikes, else the potential.
        names: of the numbers that are learned, in the order of `Cell.number`.
        matrices: the form, of these numbers by name.
        lag: steps from an input to the potential that it acts on, 0 or 1.
        b_th: half-width of the active band.
        detach_reset: whether the reset counts as a constant in the gradient.
        shape: of the surrogate, None for one that kernels do not know.
        slope: g at V - v_th.
        trusted: whether its neurons are known not to mix: those of this library.
        plain: the same neuron's numbers where it is a `LIF` that has no more; else None.
    """

    name: str
    spiking: bool
    names: tuple[str, ...]
    matrices: Callable[[Mapping[str, Tensor]], Matrices]
    lag: int
    b_th: float
    detach_reset: bool
    shape: Shape | None
    slope: Callable[[Tensor], Tensor]
    trusted: bool
    plain: LIF | None = None

    def entries(self, number: Sequence[Tensor], n: int) -> Entries:
        """The entries of n neurons' form from the learned numbers, each (N,) or 0-d; differentiable."""
        return listed(self.matrices(dict(zip(self.names, number, strict=True))), n)

    def form(self, number: Sequence[Tensor], n: int, like: Tensor) -> Form:
        """The same as a form, in the dtype and on the device of `like`."""
        return stacked(self.entries(number, n), n, like)

    def followed(self, number: Sequence[Tensor], n: int) -> tuple[Entries, list[Entries]]:
        """The entries, and their derivatives by each learned number."""

        def of(numbers: Sequence[Tensor]) -> Matrices:
            return self.matrices(dict(zip(self.names, numbers, strict=True)))

        return followed(of, number, n, self.trusted)

    def tangents(self, number: Sequence[Tensor], n: int, like: Tensor) -> list[Form]:
        """The derivative of the form by each learned number."""
        return [stacked(slope, n, like) for slope in self.followed(number, n)[1]]


@dataclass(frozen=True)
class Own:
    """A neuron whose equations no kernel knows.

    Attributes:
        name: of its class.
        equations: its equations, of the numbers that are learned, by name.
        names: of these numbers.
        spiking: whether its output is spikes, else a potential.
        lag: steps from an input to the potential that it acts on, 0 or 1.
    """

    name: str
    equations: Callable[[Mapping[str, Tensor]], Equations]
    names: tuple[str, ...]
    spiking: bool
    lag: int


Neuron = LIF | Readout | Dynamics | Own


class Cell(NamedTuple):
    """What a layer is beside its terms.

    Attributes:
        neuron: what its neurons do.
        number: of these, the numbers that are learned, each 0-d or (N,), in the order of `neuron.names`.
        recurrent: the connection from its spikes to itself, None if there is none.
        weight: this connection's tensors.
        state: (B, n_kept, N), as the steps before left the neurons; None for the start. Of lag 1 the k states
            that the threshold is still to look at; of lag 0 those that it has looked at, then S. Where a
            connection has delays, 2 m rows more (`rows_waiting`): what arrives in each of the next m
            steps, by taps of even number and by those of odd number.
        returns_state: whether the same is wanted of the last step.
        record: (m,) int64, the neurons whose potential is wanted at every step; None for none.
        lazy: (B, n), `state` as the kernels left it that computed it; of use to them alone (`State.lazy`).
    """

    neuron: Neuron
    number: tuple[Tensor, ...] = ()
    recurrent: Connection | None = None
    weight: tuple[Tensor, ...] = ()
    state: Tensor | None = None
    returns_state: bool = False
    record: Tensor | None = None
    lazy: Tensor | None = None

    @property
    def plain(self) -> bool:
        """Whether the neurons are all there is to tell, and nothing of them is learned."""
        wanted = self.returns_state or self.record is not None
        return self.recurrent is None and self.state is None and not self.number and not wanted


class FormEquations:
    """The form in plain PyTorch: the oracle of every neuron that has one.

    The state is (V, S, s_1, ..., s_k), each (B, N).

    Args:
        form: the neuron's numbers.
        told: its band, surrogate and resets.
    """

    def __init__(self, form: Form, told: Dynamics) -> None:
        self.form, self.told = form, told

    def initial(self, like: Tensor) -> tuple[Tensor, ...]:
        """At the start: silent."""
        start = self.form.s_0
        states = [
            torch.zeros_like(like) if start is None else like.new_zeros(like.shape) + start[i]
            for i in range(self.form.k)
        ]
        return self.potential(states), torch.zeros_like(like), *states

    def resumed(self, state: Tensor) -> tuple[Tensor, ...]:
        """At the first step of those that go on from (B, k, N): where the threshold is still to look."""
        states = list(state.unbind(1))
        potential = self.potential(states)
        return potential, self.spike(potential), *states

    def step(self, state: tuple[Tensor, ...], current: Tensor) -> tuple[Tensor, ...]:
        """One step later."""
        states = self.moved(state, current)
        potential = self.potential(states)
        return potential, self.spike(potential), *states

    def moved(self, state: tuple[Tensor, ...], current: Tensor) -> list[Tensor]:
        """The k states one step later, each (B, N)."""
        form = self.form
        _, spike, *states = state
        reset = spike.detach() if self.told.detach_reset else spike
        after = []
        for i in range(form.k):
            row = sum(form.A[i, j] * states[j] for j in range(form.k)) + form.b[i] * current
            if form.A_1 is not None:
                change = form.A_1 - form.A
                row = row + reset * sum(change[i, j] * states[j] for j in range(form.k))
            if form.b_1 is not None:
                row = row + reset * (form.b_1[i] - form.b[i]) * current
            for taken, factor in (
                (form.reset, reset),
                (form.adapt, spike),
                (form.product, reset * spike),
            ):
                if taken is not None:
                    row = row - taken[i] * factor
            after.append(row)
        return after

    def potential(self, states: Sequence[Tensor]) -> Tensor:
        """V, (B, N)."""
        form = self.form
        return torch.stack([form.w[i] * states[i] for i in range(form.k)]).sum(0) + form.rest

    def spike(self, potential: Tensor) -> Tensor:
        """S, with the surrogate for its derivative (eq. 4, 8)."""
        distance = potential - (self.form.theta + self.form.rest)
        fired = (distance > 0).to(potential.dtype)
        near = distance.detach()
        slope = torch.where(near.abs() < self.told.b_th, self.told.slope(near), 0.0)
        # The second term is zero in value and hands the first its derivative: no backward by hand.
        return fired + slope * (distance - near)

    def active(self, potential: Tensor) -> Tensor:
        """Bool: whether V is in the band (eq. 7)."""
        level = (self.form.theta + self.form.rest).detach()
        return (potential.detach() - level).abs() < self.told.b_th
