"""`Neuron`, what every neuron is: a module that turns a `Current` into spikes or a potential."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from sparsespike import descriptions, ops
from sparsespike.backends.held import once_of
from sparsespike.connections.current import Current
from sparsespike.descriptions import Matrices
from sparsespike.descriptions.neurons import FormEquations
from sparsespike.neurons import initial
from sparsespike.neurons.checks import check_form, check_resumable, checked_units
from sparsespike.neurons.numbered import Numbered
from sparsespike.neurons.numbers import number, shown
from sparsespike.neurons.silence import warn_of_silence
from sparsespike.neurons.state import State
from sparsespike.neurons.surrogates import FastSigmoid, shape_of
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.spikes import Spikes


class Neuron(Numbered):
    """Base of all neurons: how one unit's state goes on from step to step.

    A neuron of one's own gives `matrices`, the form in which nearly every neuron of the field can be
    written (`Matrices`): it then runs on every backend that knows the form. One that is not linear between
    spikes gives `initial` and `step`, and `active` if it spikes, and runs on the dense backend alone; so
    does a subclass that changes some of another's. What it learns are its own `nn.Parameter`s, each one
    number for all neurons or one for each.

    Attributes:
        numbers: names of the attributes that are numbers: each may be a float, a 0-d tensor, a tensor (N,)
            with one for each neuron, an `nn.Parameter`, which is learned, or a `Gamma`, `Normal` or
            `Uniform`, from which one for each is drawn when a `Layer` is built, or by `draw`.
        below: of each of these names, another whose number is larger.
        spiking: whether the output is `Spikes`; else it is a potential (B, T, N).
        lag: 1: the input of step t acts on the potential of step t + 1 (the paper's); 0: on that of step t.
        b_th: half-width of the active band.
        surrogate: g(V) inside the band.
        detach_reset: whether the reset counts as a constant in the gradient.
    """

    spiking = True
    lag: int = 1
    b_th: float = 0.2
    surrogate: Any = FastSigmoid()
    detach_reset: bool = True

    @property
    def gives_tensor(self) -> bool:
        """Whether the output is a potential."""
        return not self.spiking

    def check(self) -> None:
        """Raises a ValueError that names what has no meaning; looked at whenever the neuron is called."""
        check_form(self)

    def matrices(self) -> Matrices:
        """The neuron in the form of `Matrices`, computed from its numbers as they are now, differentiably."""
        raise NotImplementedError

    def initial(self, like: Tensor) -> Any:
        """State before the first input, of tensors of the shape of `like`; of V, S, ... if it spikes."""
        return equations_of(self, like).initial(like)

    def step(self, state: Any, current: Tensor) -> Any:
        """State one step later, under the input current of this step; (B, N) or (N,)."""
        return equations_of(self, current).step(state, current)

    def active(self, potential: Tensor) -> Tensor:
        """Bool: through which potentials a gradient goes (eq. 7)."""
        return equations_of(self, potential).active(potential)

    def spike(self, potential: Tensor) -> Tensor:
        """S = 1 above threshold; its derivative is the surrogate, cut at the band (eq. 4, 8)."""
        return equations_of(self, potential).spike(potential)

    def settings(self) -> dict[str, Any]:
        """What the constructor was given, by name, as it is now, as far as it was kept by that name."""
        names = [name for name in inspect.signature(type(self)).parameters if name != "learn"]
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def changed(self, **settings: Any) -> Self:
        """A neuron like this one, with other settings; what is learned starts from where it is now.

        Args:
            settings: as in the constructor.
        """
        values = {
            name: value.detach().clone() if isinstance(value, Tensor) else value
            for name, value in self.settings().items()
        }
        learned = (*self._parameters, *self._to_learn)
        return type(self)(**({"learn": learned} | values | settings))

    def extra_repr(self) -> str:
        """Its settings, as shown by `print`."""
        values = [
            (name, shown(value) if name in self.numbers else repr(value))
            for name, value in self.settings().items()
        ]
        values = [(n, f"{v} (to be learned)" if n in self._to_learn else v) for n, v in values]
        return ", ".join(f"{name}={value}" for name, value in values)

    def weight_std(
        self, n_in: float, rate: float | None = None, *, share: float = 1.0
    ) -> float | None:
        """How wide a connection into this neuron starts, so that the layer is alive; None for as it is.

        Args:
            n_in: inputs of one neuron, >= 1; the mean, where they differ.
            rate: of the input, spikes per unit and step, in (0, 1]; None: 1 %.
            share: of the variance, in (0, 1]: 1 / m for each of m connections into one layer.

        Returns:
            standard deviation of the weights, unit of potential per spike.
        """
        if type(self).matrices is Neuron.matrices:
            return None
        return initial.std_of_form(
            equations_of(self, torch.zeros(self._n_own(), dtype=torch.float64)).form,
            n_in,
            initial.RATE if rate is None else rate,
            share=share,
            spiking=self.spiking,
        )

    def describe(self, whole: bool = False) -> descriptions.Neuron:
        """What a backend is told of this neuron, from what it is now.

        Args:
            whole: whether it is to be told in the form of `Matrices`, as recurrence and states need, where
                there is a shorter way as well.

        Raises:
            ValueError: naming the number that has no meaning.
        """
        self.check_drawn()
        names = tuple(name for name, each in self._parameters.items() if each is not None)
        for name, _ in self.named_parameters():
            if name not in names:
                raise ValueError(
                    f"{type(self).__name__}: expected parameters of the neuron itself, found {name}"
                )
        if type(self).matrices is Neuron.matrices or steps_itself(self):
            frozen = self._frozen()
            return descriptions.Own(type(self).__name__, frozen, names, self.spiking, self.lag)
        return self.formed(names)

    def formed(self, names: tuple[str, ...]) -> descriptions.Dynamics:
        """The neuron in the form of `Matrices`, of the values of these of its parameters.

        Raises:
            ValueError: naming the number that has no meaning.
        """
        self.check_drawn()
        self.check()
        frozen = self._frozen()
        return descriptions.Dynamics(
            type(self).__name__,
            self.spiking,
            names,
            lambda learned: frozen(learned).matrices(),
            self.lag,
            number("b_th", self.b_th),
            self.detach_reset,
            shape_of(self.surrogate),
            copy.copy(self.surrogate).slope,
            type(self).__module__.startswith("sparsespike.") and "matrices" not in vars(self),
        )

    @uncompiled
    def forward(
        self,
        current: Current,
        state: State | None = None,
        return_state: bool = False,
        *,
        record: Sequence[int] | Tensor | None = None,
        recurrent: tuple[descriptions.Connection, tuple[Tensor, ...]] | None = None,
    ) -> Any:
        """Current (B, T, N) -> Spikes (B, T, N), or a potential (B, T, N).

        Warns (`SilenceWarning`) where no neuron is active in a whole batch, so that nothing is learnt.

        Args:
            current: what drives the neurons.
            state: where they start: what a call on the steps before returned; None for the start.
            return_state: whether the state after the last step is wanted as well.
            record: neurons whose potential is wanted as well, at every step; a loss on it has a gradient.
            recurrent: the connection from the spikes to the neurons themselves, as `Layer` passes it.

        Returns:
            the output; with what else was asked for a tuple (output, state, record), where record is
            (B, T, len(record)), the potential w . s + rest of `Matrices`, V of a `LIF`.

        Raises:
            ValueError: if `current` is none, or a parameter of its connections does not fit.
        """
        if not isinstance(current, Current):
            raise ValueError(
                f"current: expected a Current, as a connection gives it, found {type(current).__name__}"
            )
        units = None if record is None else checked_units(record, current)
        resumes = state is not None or return_state
        waits = any(term.waits for term in current.terms)
        whole = recurrent is not None or units is not None or resumes or waits
        told = once_of(whole, self, self.version, lambda: self.describe(whole))
        if resumes:
            check_resumable(self, told, state)
        number = learned(self)
        cell = descriptions.Cell(
            told,
            number,
            *(recurrent or (None, ())),
            None if state is None else state.value,
            return_state,
            units,
            None if state is None else state.lazy,
        )
        out, last, seen, lazy = ops.run(current.terms, cell)
        if isinstance(out, Spikes) and not len(out.value) and out.value.requires_grad:
            warn_of_silence(out.shape)
        after = None if last is None else State(last, lazy)
        more = [each for each in (after, seen) if each is not None]
        return (out, *more) if more else out


def overrides(neuron: Neuron, base: type[Neuron]) -> bool:
    """Whether the neuron has equations other than those of the class `base`."""
    return any(
        name in vars(neuron) or getattr(type(neuron), name) is not getattr(base, name)
        for name in ("initial", "step", "active", "spike")
        if hasattr(base, name)
    )


def learned(neuron: Neuron) -> tuple[Tensor, ...]:
    """The neuron's own parameters, in the order in which a description names them."""
    return tuple(each for each in neuron._parameters.values() if each is not None)


def steps_itself(neuron: Neuron) -> bool:
    """Whether the neuron has a step, or a start, of its own beside the form that it may give as well."""
    given = next(kind for kind in type(neuron).__mro__ if "matrices" in vars(kind))
    return overrides(neuron, given)


def equations_of(neuron: Neuron, like: Tensor) -> FormEquations:
    """The form of a neuron in plain PyTorch, for as many neurons as the last axis of `like` has."""
    names = tuple(name for name, each in neuron._parameters.items() if each is not None)
    told = neuron.formed(names)
    return FormEquations(told.form(learned(neuron), like.shape[-1], like), told)
