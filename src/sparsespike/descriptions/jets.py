"""`Jet`, a number of each neuron that is computed together with its derivatives.

What the neurons of this library do with their numbers is done to jets as to tensors, neuron by neuron, and
the rules of differentiation are applied along the way. That gives the values of plain PyTorch, bit by bit,
and all derivatives in one pass, in a fraction of the time of autograd, which would go back for each entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from torch import Tensor

Slope = float | Tensor


class Jet:
    """A number and its derivatives.

    Args:
        value: (N,), or 0-d: one for all neurons.
        slopes: by which of the numbers that it comes from, the derivative: one for all, or (N,). What is not
            there is zero.
    """

    __slots__ = "slopes", "value"

    def __init__(self, value: Tensor, slopes: Mapping[int, Slope]) -> None:
        self.value, self.slopes = value, slopes

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value."""
        return self.value.shape

    def detach(self) -> Tensor:
        """The value alone."""
        return self.value

    def exp(self) -> Self:
        """The exponential function."""
        value = self.value.exp()
        return self._with(value, lambda slope: slope * value)

    def log(self) -> Self:
        """The natural logarithm."""
        return self._with(self.value.log(), lambda slope: slope / self.value)

    def __neg__(self) -> Self:
        return self._with(-self.value, lambda slope: -slope)

    def __add__(self, other: Any) -> Self:
        if isinstance(other, Jet):
            return type(self)(self.value + other.value, _sum(self.slopes, other.slopes))
        return type(self)(self.value + other, self.slopes)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Self:
        if isinstance(other, Jet):
            slopes = {m: -slope for m, slope in other.slopes.items()}
            return type(self)(self.value - other.value, _sum(self.slopes, slopes))
        return type(self)(self.value - other, self.slopes)

    def __rsub__(self, other: Any) -> Self:
        return self._with(other - self.value, lambda slope: -slope)

    def __mul__(self, other: Any) -> Self:
        if not isinstance(other, Jet):
            return self._with(self.value * other, lambda slope: slope * other)
        mine = {m: slope * other.value for m, slope in self.slopes.items()}
        theirs = {m: slope * self.value for m, slope in other.slopes.items()}
        return type(self)(self.value * other.value, _sum(mine, theirs))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Self:
        if not isinstance(other, Jet):
            return self._with(self.value / other, lambda slope: slope / other)
        value = self.value / other.value
        mine = {m: slope / other.value for m, slope in self.slopes.items()}
        theirs = {m: -(slope * value / other.value) for m, slope in other.slopes.items()}
        return type(self)(value, _sum(mine, theirs))

    def __rtruediv__(self, other: Any) -> Self:
        value = other / self.value
        return self._with(value, lambda slope: -(slope * value / self.value))

    def _with(self, value: Tensor, slope_of: Callable[[Slope], Slope]) -> Self:
        return type(self)(value, {m: slope_of(slope) for m, slope in self.slopes.items()})


def _sum(a: Mapping[int, Slope], b: Mapping[int, Slope]) -> dict[int, Slope]:
    found = {**a, **b}
    for m in a.keys() & b.keys():
        found[m] = a[m] + b[m]
    return found
