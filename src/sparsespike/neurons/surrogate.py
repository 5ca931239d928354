"""`Surrogate`, what every surrogate derivative of the spike function offers; `surrogates.py` has them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparsespike.neurons.numbers import number


class Surrogate:
    """Base of all surrogates: a derivative, and the distribution function of its mass.

    One's own needs only `slope`, and may be any class with any attributes. Fast backends know the
    shapes of `surrogates.py`; any other surrogate they evaluate by its `slope` at the active entries.
    """

    def slope(self, distance: Tensor) -> Tensor:
        """g at `distance` = V - V_th, any shape, the same shape back; not cut by the band."""
        raise NotImplementedError

    def kept(self, b_th: float) -> float:
        """Share of the surrogate's mass with |V - V_th| < b_th, in [0, 1]."""
        raise NotImplementedError

    def cut(self, b_th: float) -> float:
        """Share of the surrogate's mass that a band of half-width b_th cuts off, in [0, 1]."""
        return 1.0 - self.kept(b_th)

    def half_width(self, kept: float) -> float:
        """The b_th that keeps this share of the mass, found by bisection.

        Args:
            kept: share in (0, 1); 1 is allowed for surrogates of bounded support.

        Raises:
            ValueError: if no finite band keeps that share.
        """
        if not 0 < kept <= 1:
            raise ValueError(f"kept: expected a share in (0, 1], found {kept}")
        low, high = 0.0, 1.0
        while self.kept(high) < kept:
            high *= 2
            if high > 1e12:
                raise ValueError(f"kept: no finite band keeps {kept} of {self}")
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (low, middle) if self.kept(middle) >= kept else (middle, high)
        beyond = torch.tensor(high * 1.001, dtype=torch.float64)
        if kept == 1 and self.slope(beyond) > 0:  # its tail is lost in rounding, not zero
            raise ValueError(f"kept: no finite band keeps {kept} of {self}")
        return high

    def _check_positive(self, *names: str) -> None:
        for name in names:
            found = number(f"{type(self).__name__}.{name}", getattr(self, name))
            if not (math.isfinite(found) and found > 0):
                raise ValueError(
                    f"{type(self).__name__}.{name}: expected a finite number > 0, found {found}"
                )
            object.__setattr__(self, name, found)
