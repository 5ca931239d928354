"""`Cell`: one layer of another library's neurons, as ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sparsespike.connections.current import Current
from sparsespike.connections.injected import injected
from sparsespike.connections.looped import looped
from sparsespike.interop.numbers import just_below
from sparsespike.neurons.neuron import Neuron
from sparsespike.ops.module import Module
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.spikes import Spikes

Gives = Literal["spikes", "potential", "both"]


def _furthest(potential: Tensor) -> Tensor:
    high, low = potential.max(1).values, potential.min(1).values
    return torch.where(high.abs() > low.abs(), high, low)


# The words of SpikingJelly's readouts.
DECODE: dict[str, Callable[[Tensor], Tensor]] = {
    "max-mem": lambda potential: potential.max(1).values,
    "max-abs-mem": _furthest,
    "mean-mem": lambda potential: potential.mean(1),
    "last_mem": lambda potential: potential[:, -1],
}


class Inclusive(NamedTuple):
    """A threshold that a potential need only reach.

    Attributes:
        v_th: the threshold.
        taken: what a spike takes away; None for a reset to a value.
    """

    v_th: float
    taken: float | None


class Cell(Module):
    """Neurons with all that their layer had beside the equations of one neuron.

    Args and attributes:
        neuron: with `lag` as the layer has it.
        gives: "spikes", "potential" (which a readout gives as well) or "both", a tuple.
        connection: of the layer itself, where it takes spikes; else None.
        recurrent: from the layer's spikes to its neurons; else None.
        graded: what each spike is worth to what comes after, > 0.
        inclusive: of a threshold that is met by V >= v_th; else None.
        decode: how a readout's potential is read over time, a word of `DECODE`; None for every step.
    """

    def __init__(
        self,
        neuron: Neuron,
        *,
        gives: Gives = "spikes",
        connection: nn.Module | None = None,
        recurrent: nn.Module | None = None,
        graded: float = 1.0,
        inclusive: Inclusive | None = None,
        decode: str | None = None,
    ) -> None:
        super().__init__()
        self.neuron, self.gives, self.graded, self.inclusive = neuron, gives, graded, inclusive
        self.connection, self.recurrent, self.decode = connection, recurrent, decode
        self._settled: torch.dtype | None = None

    @property
    def gives_tensor(self) -> bool:
        """Whether the output is a potential."""
        return self.gives == "potential"

    @uncompiled
    def forward(self, given: Current | Tensor | Spikes) -> Any:
        """A current, sparse (B, T, N) or dense (B, T, ...), or spikes where the layer has a connection.

        Returns:
            Spikes, the potential (B, T, ...), or both, laid out as the current.
        """
        current: Any = given
        if isinstance(given, Tensor):
            current = injected(given.flatten(2))
        elif self.connection is not None:
            current = self.connection(given)
        units = given.shape[2:] if isinstance(given, Tensor) else current.unit_shape
        self._settle(current.dtype)
        again = None if self.recurrent is None else looped(self.recurrent, current)
        n_unit = current.shape[2]
        wanted = range(n_unit) if self.gives != "spikes" and self.neuron.spiking else None
        out: Any = self.neuron(current, record=wanted, recurrent=again)
        if not self.neuron.spiking:
            out = out.unflatten(2, units)
            return out if self.decode is None else DECODE[self.decode](out)
        spikes, potential = out if isinstance(out, tuple) else (out, None)
        spikes = spikes.with_unit_shape(units)
        if self.graded != 1.0:
            spikes = replace(spikes, graded=True, scale=self.graded)
        if potential is None:
            return spikes
        potential = potential.unflatten(2, units)
        return potential if self.gives == "potential" else (spikes, potential)

    def extra_repr(self) -> str:
        """What differs from the usual, as shown by `print`."""
        said = [f"gives={self.gives!r}"] if self.gives != "spikes" else []
        said += [f"graded={self.graded:g}"] if self.graded != 1.0 else []
        said += ["spikes where V >= v_th"] if self.inclusive else []
        return ", ".join(said)

    def _settle(self, dtype: torch.dtype) -> None:
        """Puts the threshold below the one that need only be reached, among numbers of this dtype."""
        if self.inclusive is None or self._settled is dtype:
            return
        neuron: Any = self.neuron
        below = just_below(self.inclusive.v_th, neuron.v_rest, dtype)
        neuron.v_th = below
        if self.inclusive.taken is not None:
            neuron.v_reset = below - self.inclusive.taken
        self._settled = dtype
