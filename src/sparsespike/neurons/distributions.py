"""`Gamma`, `Normal` and `Uniform`: what the numbers of a layer's neurons are drawn from, one for each.

Networks whose neurons differ learn tasks with a rich temporal structure better, and more reliably, than
networks of equal ones, learned or not: N. Perez-Nieves, V. C. H. Leung, P. L. Dragotti, D. F. M. Goodman,
Neural heterogeneity promotes robust learning, Nature Communications 12:5791, 2021; they draw time constants
from gamma distributions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparsespike.spikes import arguments

ROUNDS = 100  # draws after which a range in which hardly anything lies is refused


class Distribution:
    """Base of the distributions: what a neuron takes in place of a number until it is drawn.

    `Layer` draws one number for each neuron when it is built, from torch's global generator; `Neuron.draw`
    does for a neuron by itself. What falls outside of a number's range is drawn again.

    Attributes:
        mean: unit of the number.
    """

    mean: float

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n,) float64, on the device of the generator."""
        raise NotImplementedError

    def draw(
        self, n: int, low: float, high: float, generator: torch.Generator | None = None
    ) -> Tensor:
        """(n,) float64 in the open interval (low, high): what lies outside is drawn again.

        Raises:
            ValueError: if hardly anything lies in it.
        """
        found = self.sample(n, generator)
        for _ in range(ROUNDS):
            wrong = ~((found > low) & (found < high))
            n_wrong = int(wrong.sum())
            if not n_wrong:
                return found
            found[wrong] = self.sample(n_wrong, generator)
        raise ValueError(f"expected a distribution over ({low:g}, {high:g}), found {self}")


@dataclass(frozen=True)
class Gamma(Distribution):
    """Gamma distribution: positive, with a tail towards large numbers; its variance is mean^2 / shape.

    Args and attributes:
        mean: unit of the number, > 0.
        shape: > 0; 1 is an exponential distribution, large ones are nearly normal.

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """

    mean: float
    shape: float

    def __post_init__(self) -> None:
        _keep(self, mean=_positive("mean", self.mean), shape=_positive("shape", self.shape))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """See `Distribution.sample`."""
        device = None if generator is None else generator.device
        shape = torch.full((n,), self.shape, dtype=torch.float64, device=device)
        # What `torch.distributions.Gamma` draws, which takes no generator.
        drawn = torch._standard_gamma(shape, generator=generator)  # pyright: ignore[reportPrivateImportUsage]
        return drawn * (self.mean / self.shape)


@dataclass(frozen=True)
class Normal(Distribution):
    """Normal distribution.

    Args and attributes:
        mean: unit of the number, finite.
        std: standard deviation, >= 0.

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        _keep(self, mean=_finite("mean", self.mean), std=arguments.at_least("std", self.std, 0))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """See `Distribution.sample`."""
        return self.mean + self.std * _empty(n, generator).normal_(generator=generator)


@dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform distribution over [low, high).

    Args and attributes:
        low, high: unit of the number, finite, low < high.

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _keep(self, low=_finite("low", self.low), high=_finite("high", self.high))
        if not self.low < self.high:
            raise ValueError(f"high: expected more than low = {self.low}, found {self.high}")

    @property
    def mean(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The mean, unit of the number."""
        return (self.low + self.high) / 2

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """See `Distribution.sample`."""
        return _empty(n, generator).uniform_(self.low, self.high, generator=generator)


def _empty(n: int, generator: torch.Generator | None) -> Tensor:
    device = None if generator is None else generator.device
    return torch.empty(n, dtype=torch.float64, device=device)


def _keep(distribution: Distribution, **numbers: float) -> None:
    """Keeps the arguments as Python's own floats."""
    for name, value in numbers.items():
        object.__setattr__(distribution, name, value)


def _finite(name: str, value: Any) -> float:
    found = arguments.number(name, value, "a finite number")
    if not math.isfinite(found):
        raise ValueError(f"{name}: expected a finite number, found {found}")
    return found


def _positive(name: str, value: Any) -> float:
    found = arguments.number(name, value, "a finite number > 0")
    if not (math.isfinite(found) and found > 0):
        raise ValueError(f"{name}: expected a finite number > 0, found {found}")
    return found
