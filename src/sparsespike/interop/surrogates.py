"""Surrogates of other libraries that none of ours equals, as their mass is infinite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsespike.neurons.surrogates import Surrogate


@dataclass(frozen=True)
class Theirs(Surrogate):
    """A surrogate of infinite mass, by its derivative: only `b_th=inf` keeps its gradient.

    Attributes:
        name: of the function in its library.
        gradient: distance from the threshold to g.
    """

    name: str
    gradient: Callable[[Tensor], Tensor]

    def slope(self, distance: Tensor) -> Tensor:
        """g at `distance` = V - V_th."""
        return self.gradient(distance)

    def kept(self, b_th: float) -> float:
        """Refused: a mass that is infinite has no shares.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"mass: expected a surrogate whose mass is finite, found {self.name}")


@dataclass(frozen=True)
class Pulled:
    """The derivative that a function has in autograd, elementwise.

    Attributes:
        function: a `torch.autograd.Function` that transforms of functions take.
    """

    function: Callable[[Tensor], Tensor]

    def __call__(self, distance: Tensor) -> Tensor:
        """g at `distance`."""
        _, pull = torch.func.vjp(self.function, distance)  # pyright: ignore[reportAssignmentType]
        return pull(torch.ones_like(distance))[0]
