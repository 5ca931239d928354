"""`Neuron`, what every neuron is: a module that turns a `Current` into spikes or a potential."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from sparsespike import descriptions, ops
from sparsespike.connections.current import Current
from sparsespike.neurons.numbers import number
from sparsespike.neurons.silence import warn_of_silence
from sparsespike.ops.module import Module
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.spikes import Spikes


class Neuron(Module):
    """Base of all neurons: how one unit's state goes on from step to step.

    A neuron of one's own gives `initial` and `step`, and `active` if it spikes; or it is a subclass of
    `LIF` or `Readout` that changes some of theirs. It runs on the dense backend, which needs no more; fast
    backends refuse it by name.

    Attributes:
        spiking: whether the output is `Spikes`; else it is the state itself, a potential (B, T, N).
    """

    spiking = True

    def __new__(cls, *_args: Any, **_settings: Any) -> Neuron:  # noqa: D102
        # Here, since a dataclass sets its fields before it could call `nn.Module.__init__`.
        neuron = super().__new__(cls)
        nn.Module.__init__(neuron)
        return neuron

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Parameter) and name in getattr(self, "__dataclass_fields__", ()):
            number(name, value)  # refuses it
        super().__setattr__(name, value)

    @property
    def gives_tensor(self) -> bool:
        """Whether the output is a potential."""
        return not self.spiking

    def initial(self, like: Tensor) -> Any:
        """State at step 0, of tensors of the shape of `like`; a spiking neuron's begins with V, S."""
        raise NotImplementedError

    def step(self, state: Any, current: Tensor) -> Any:
        """State one step later, under the input current of this step; any shape."""
        raise NotImplementedError

    def active(self, potential: Tensor) -> Tensor:
        """Bool: through which potentials a gradient goes (eq. 7)."""
        raise NotImplementedError

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
        return None

    def describe(self) -> descriptions.Neuron:
        """What a backend is told of this neuron, from what it is now.

        Raises:
            ValueError: naming the number that has no meaning.
        """
        if next(self.parameters(), None) is not None:
            raise ValueError(
                f"{type(self).__name__}: expected a neuron without parameters, found "
                f"{', '.join(name for name, _ in self.named_parameters())}; they would get no gradient"
            )
        return descriptions.Own(type(self).__name__, copy.copy(self), self.spiking)

    @uncompiled
    def forward(self, current: Current) -> Spikes | Tensor:
        """Current (B, T, N) -> Spikes (B, T, N), or a potential (B, T, N).

        Warns (`SilenceWarning`) where no neuron is active in a whole batch, so that nothing is learnt.

        Raises:
            ValueError: if `current` is none, or a parameter of its connections does not fit.
        """
        if not isinstance(current, Current):
            raise ValueError(
                f"current: expected a Current, as a connection gives it, found {type(current).__name__}"
            )
        out = ops.run(current.terms, self.describe(), self.spiking)
        if isinstance(out, Spikes) and not len(out.value) and out.value.requires_grad:
            warn_of_silence(out.shape)
        return out


def overrides(neuron: Neuron, base: type[Neuron]) -> bool:
    """Whether the neuron has equations other than those of the class `base`."""
    return any(
        name in vars(neuron) or getattr(type(neuron), name) is not getattr(base, name)
        for name in ("initial", "step", "active", "spike")
        if hasattr(base, name)
    )
