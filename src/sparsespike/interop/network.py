"""`Converted`, a network of another library that is computed here, and how one is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparsespike.interop.bands import Band, Report, bands_of, report
from sparsespike.interop.convert import convert
from sparsespike.interop.layers import Dense
from sparsespike.interop.peer import Peer
from sparsespike.interop.signals import Asked, Body
from sparsespike.ops.module import Module
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.spikes import Spikes


class Converted(Module):
    """A network of another library, of our modules: the same spikes and gradients.

    It takes what theirs takes and gives what theirs gives, time first: (T, B, ...), or a list of T tensors
    (B, ...), as from a loop over steps; states that theirs would return come as None. For `Spikes` it gives
    `Spikes`, and potentials (B, T, ...). Each call is a whole recording: neurons start at rest, and nothing
    is kept for the next call.

    Attributes:
        body: the layers, by the names that they had, with the graph that connects them.
        takes: "spikes", or "dense" for values, which go into neurons or into layers computed as dense
            tensors.
        steps: of a loop over time in their `forward`; None where the input has as many as it has.
        static: whether that loop gives every step the same input: then x is (B, ...).
    """

    def __init__(self, body: Body, training: bool) -> None:
        super().__init__()
        self.body, self.takes, self._gives = body.body, body.takes, body.gives
        self.steps, self.static = body.steps, body.static
        self.training = training

    @property
    def gives_tensor(self) -> bool:
        """Whether the output is a tensor: it is, for a tensor."""
        return self._gives in ("spikes", "dense", "pooled", "last")

    @property
    def bands(self) -> list[Band]:
        """The active band of every layer of neurons, and what it cuts off the surrogate."""
        return bands_of(self.body)

    @property
    def dense(self) -> list[str]:
        """Names of the layers that are computed as dense tensors."""
        return [name for name, each in self.body.named_modules() if isinstance(each, Dense)]

    @uncompiled
    def forward(self, x: Tensor | Sequence[Tensor] | Spikes) -> Any:
        """A whole recording.

        Args:
            x: (T, B, ...), or its steps in a list; of 0 and 1 where the network takes spikes. Or `Spikes`.

        Raises:
            ValueError: if it is neither, or no spikes where spikes are wanted.
        """
        if isinstance(x, Spikes):
            if self.takes != "spikes":
                raise ValueError("x: expected a tensor (T, B, ...) of values, found Spikes")
            return self.body(x)
        if isinstance(x, list | tuple):
            x = torch.stack(list(x))
        expected = "(B, ...)" if self.static else "(T, B, ...), its steps in a list"
        if not isinstance(x, Tensor) or x.dim() < (2 if self.static else 3):
            found = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"x: expected {expected}, or Spikes, found {found}")
        if self.static:
            x = x.expand(self.steps or 1, *x.shape)
        elif self.steps is not None:
            if len(x) < self.steps:
                raise ValueError(f"x: expected {self.steps} steps, found {len(x)}")
            x = x[: self.steps]  # as their loop does
        return _as_theirs(self._gives, self.body(self._taken(x)))

    def report(self, x: Tensor | Sequence[Tensor] | Spikes, *, repeats: int = 9) -> Report:
        """What the bands cut off the gradients, and the time that they save, on a recording.

        Copies of the network take steps, forward and backward, with its bands and without, in turns; this
        one, its parameters' gradients and the random numbers of the program stay as they are.

        Args:
            x: as in a call.
            repeats: steps that count of each, >= 1; times are their medians.

        Returns:
            a report; `print` tells it in words.

        Raises:
            ValueError: if no layer has a finite band, no parameter is learned, or an argument is wrong.
        """
        return report(self, x, repeats)

    def extra_repr(self) -> str:
        """What it takes, and the bands, as shown by `print`."""
        return f"takes={self.takes!r}"

    def _taken(self, x: Tensor) -> Spikes | Tensor:
        if self.takes != "spikes":
            return x.transpose(0, 1)
        try:
            return Spikes.from_dense(x, time_first=True)
        except ValueError as error:
            raise ValueError(
                f'x: {error}; input="values" computes the first layers as dense tensors'
            ) from None


def _as_theirs(kind: Any, given: Any) -> Any:
    """The output, time first."""
    if isinstance(kind, tuple):
        return tuple(_as_theirs(each, part) for each, part in zip(kind, given, strict=True))
    if isinstance(kind, dict):
        return {name: _as_theirs(each, given[name]) for name, each in kind.items()}
    if isinstance(given, Spikes):
        given = given.to_dense()
    if kind == "listed":
        return list(given.unbind(1))
    if kind == "last":
        return given[:, -1]
    return given.transpose(0, 1) if kind in ("spikes", "dense") else given


def converted(
    peer: Peer,
    module: nn.Module,
    share: bool,
    mass: float | None,
    freeze: bool,
    input: str,
    dense: bool,
) -> Converted:
    """A network of a library, as `from_*` gives it; the arguments are theirs.

    Raises:
        ValueError: naming the layer that cannot be kept, and why; or an argument.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"module: expected an nn.Module, found {type(module).__name__}")
    if any(isinstance(each, Converted) for each in module.modules()):
        raise ValueError(f"module: expected layers of {peer.name}'s, found some converted already")
    if input not in ("spikes", "values"):
        raise ValueError(f'input: expected "spikes" or "values", found {input!r}')
    takes = "dense" if input == "values" else None
    return Converted(
        convert(peer, module, Asked(share, freeze, dense, mass), takes), module.training
    )
