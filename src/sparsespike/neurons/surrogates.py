"""Surrogate derivatives g(V) of the spike function, and what a band of half-width B_th cuts off them.

A surrogate replaces the derivative of the step in eq. 4. The sparse gradient uses it only inside the
band |V - V_th| < B_th (eq. 8), so what matters beside its shape is how much of its mass lies there:
`kept(b_th)` tells the share, `half_width(share)` inverts it. A slope-100 fast sigmoid keeps 95 % within
0.2; ATan(2) and Sigmoid(4), the defaults elsewhere, keep 36 % and 38 %.

Every surrogate has a `scale` as well, by keyword: what its formula is multiplied by, a finite number > 0,
1 unless given. Other libraries differ from these formulas by such a factor; no band changes with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sparsespike.descriptions import (
    ATAN,
    BOXCAR,
    CIRCLE,
    EXPONENTIAL,
    FAST_SIGMOID,
    GAUSSIAN,
    SIGMOID,
    TRIANGLE,
    Shape,
)
from sparsespike.neurons.surrogate import Surrogate


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """g(V) = 1 / (beta |V - V_th| + 1)^2, the paper's (section 3; Zenke & Ganguli 2018).

    Attributes:
        beta: steepness, 1 / unit of potential, > 0.
    """

    beta: float = 100.0
    scale: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_positive("beta", "scale")

    def slope(self, distance: Tensor) -> Tensor:
        """g at `distance` = V - V_th."""
        root = distance.abs().mul_(self.beta).add_(1.0)
        return root.mul_(root).reciprocal_().mul_(self.scale)

    def shape(self) -> Shape:
        """What kernels are told."""
        return Shape(FAST_SIGMOID, 1 / self.beta, self.scale)

    def kept(self, b_th: float) -> float:
        """beta b / (beta b + 1)."""
        return 1.0 if math.isinf(b_th) else self.beta * b_th / (self.beta * b_th + 1)


@dataclass(frozen=True)
class Triangle(Surrogate):
    """g(V) = max(0, 1 - |V - V_th| / width) (Bellec et al. 2018; Esser et al. 2016).

    Attributes:
        width: half-width of the triangle's foot, unit of potential, > 0: an exact band.
    """

    width: float = 1.0
    scale: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_positive("width", "scale")

    def slope(self, distance: Tensor) -> Tensor:
        """g at `distance` = V - V_th."""
        return distance.abs().mul_(-1.0 / self.width).add_(1.0).clamp_(min=0.0).mul_(self.scale)

    def shape(self) -> Shape:
        """What kernels are told."""
        return Shape(TRIANGLE, self.width, self.scale)

    def kept(self, b_th: float) -> float:
        """1 - (1 - b / width)^2 inside the foot."""
        return 1.0 - (1.0 - min(b_th / self.width, 1.0)) ** 2


@dataclass(frozen=True)
class Boxcar(Surrogate):
    """g(V) = 1 / (2 width) for |V - V_th| < width, else 0 (Esser et al. 2016, rectangular).

    Attributes:
        width: half-width of the box, unit of potential, > 0: an exact band.
    """

    width: float = 0.5
    scale: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_positive("width", "scale")

    def slope(self, distance: Tensor) -> Tensor:
        """g at `distance` = V - V_th."""
        inside = (distance.abs() < self.width).to(distance.dtype)
        return inside.mul_(self.scale * 0.5 / self.width)

    def shape(self) -> Shape:
        """What kernels are told."""
        return Shape(BOXCAR, self.width, self.scale * 0.5 / self.width)

    def kept(self, b_th: float) -> float:
        """b / width inside the box."""
        return min(b_th / self.width, 1.0)


@dataclass(frozen=True)
class ATan(Surrogate):
    """g(V) = (alpha / 2) / (1 + (pi / 2 * alpha (V - V_th))^2) (Fang et al. 2021).

    Attributes:
        alpha: steepness, 1 / unit of potential, > 0.
    """

    alpha: float = 2.0
    scale: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_positive("alpha", "scale")

    def slope(self, distance: Tensor) -> Tensor:
        """g at `distance` = V - V_th."""
        scaled = distance * (math.pi / 2 * self.alpha)
        return scaled.mul_(scaled).add_(1.0).reciprocal_().mul_(self.scale * self.alpha / 2)

    def shape(self) -> Shape:
        """What kernels are told."""
        return Shape(ATAN, 2 / (math.pi * self.alpha), self.scale * self.alpha / 2)

    def kept(self, b_th: float) -> float:
        """(2 / pi) arctan(pi / 2 * alpha b)."""
        return 2 / math.pi * math.atan(math.pi / 2 * self.alpha * b_th)


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """g(V) = alpha s (1 - s), s = 1 / (1 + exp(-alpha (V - V_th))): the logistic density.

    Attributes:
        alpha: steepness, 1 / unit of potential, > 0.
    """

    alpha: float = 4.0
    scale: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_positive("alpha", "scale")

    def slope(self, distance: Tensor) -> Tensor:
        """g at `distance` = V - V_th."""
        steep = distance * self.alpha
        # s (1 - s) would cancel far above threshold.
        return torch.sigmoid(steep) * torch.sigmoid(-steep) * (self.scale * self.alpha)

    def shape(self) -> Shape:
        """What kernels are told."""
        return Shape(SIGMOID, 1 / self.alpha, self.scale * self.alpha)

    def kept(self, b_th: float) -> float:
        """tanh(alpha b / 2)."""
        return math.tanh(self.alpha * b_th / 2)


@dataclass(frozen=True)
class Gaussian(Surrogate):
    """g(V) = exp(-(V - V_th)^2 / (2 sigma^2)) / (sigma sqrt(2 pi)) (Yin et al. 2020).

    Attributes:
        sigma: standard deviation, unit of potential, > 0.
    """

    sigma: float = 0.5
    scale: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_positive("sigma", "scale")

    def slope(self, distance: Tensor) -> Tensor:
        """g at `distance` = V - V_th."""
        density = torch.exp((distance / self.sigma).square_().mul_(-0.5))
        return density.mul_(self._peak())

    def shape(self) -> Shape:
        """What kernels are told."""
        return Shape(GAUSSIAN, self.sigma, self._peak())

    def kept(self, b_th: float) -> float:
        """erf(b / (sigma sqrt 2))."""
        return math.erf(b_th / (self.sigma * math.sqrt(2)))

    def _peak(self) -> float:
        return self.scale / (self.sigma * math.sqrt(2 * math.pi))


@dataclass(frozen=True)
class Exponential(Surrogate):
    """g(V) = (alpha / 2) exp(-alpha |V - V_th|): the density of a spike's escape over the threshold.

    Shrestha & Orchard, SLAYER, NeurIPS 2018, section 3.3; SpikingJelly's `PiecewiseExp`.

    Attributes:
        alpha: steepness, 1 / unit of potential, > 0.
    """

    alpha: float = 1.0
    scale: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_positive("alpha", "scale")

    def slope(self, distance: Tensor) -> Tensor:
        """g at `distance` = V - V_th."""
        return distance.abs().mul_(-self.alpha).exp_().mul_(self.scale * self.alpha / 2)

    def shape(self) -> Shape:
        """What kernels are told."""
        return Shape(EXPONENTIAL, 1 / self.alpha, self.scale * self.alpha / 2)

    def kept(self, b_th: float) -> float:
        """1 - exp(-alpha b)."""
        return -math.expm1(-self.alpha * b_th)


@dataclass(frozen=True)
class Circle(Surrogate):
    """g(V) = 1 / (1 + ((V - V_th) / alpha)^2)^1.5, the derivative of alpha x / sqrt(alpha^2 + x^2).

    Norse's "circ" (Pehle & Pedersen, Norse, 2021, doi:10.5281/zenodo.4422025).

    Attributes:
        alpha: width, unit of potential, > 0.
    """

    alpha: float = 1.0
    scale: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_positive("alpha", "scale")

    def slope(self, distance: Tensor) -> Tensor:
        """g at `distance` = V - V_th."""
        scaled = distance / self.alpha
        root = scaled.mul_(scaled).add_(1.0).rsqrt_()
        return (root * root).mul_(root).mul_(self.scale)

    def shape(self) -> Shape:
        """What kernels are told."""
        return Shape(CIRCLE, self.alpha, self.scale)

    def kept(self, b_th: float) -> float:
        """b / sqrt(alpha^2 + b^2)."""
        return 1.0 if math.isinf(b_th) else b_th / math.hypot(self.alpha, b_th)


@dataclass(frozen=True)
class QPseudoSpike(Surrogate):
    """g(V) = (1 + 2 |V - V_th| / (q - 1))^-q: a tail whose weight is chosen; q = 2 is `FastSigmoid(2)`.

    Herranz-Celotti & Rouat, Stabilizing Spiking Neuron Training, arXiv:2202.00282, 2022. Fast backends take
    g from here, at the active entries; for q = 2 they have a kernel.

    Attributes:
        q: power of the tail, > 1.
    """

    q: float = 1.5
    scale: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_positive("q", "scale")
        if not self.q > 1:
            raise ValueError(f"QPseudoSpike.q: expected a number > 1, found {self.q}")

    def slope(self, distance: Tensor) -> Tensor:
        """g at `distance` = V - V_th."""
        return distance.abs().mul_(2 / (self.q - 1)).add_(1.0).pow_(-self.q).mul_(self.scale)

    def shape(self) -> Shape | None:
        """What kernels are told."""
        return Shape(FAST_SIGMOID, 0.5, self.scale) if self.q == 2 else None

    def kept(self, b_th: float) -> float:
        """1 - (1 + 2 b / (q - 1))^(1 - q)."""
        return 1.0 - (1.0 + 2 * b_th / (self.q - 1)) ** (1 - self.q)


SURROGATES = (
    FastSigmoid,
    Triangle,
    Boxcar,
    ATan,
    Sigmoid,
    Gaussian,
    Exponential,
    Circle,
    QPseudoSpike,
)


def shape_of(surrogate: object) -> Shape | None:
    """The surrogate's shape; None where its `slope` is not the one that the shape belongs to."""
    if type(surrogate) in SURROGATES:
        return surrogate.shape()  # pyright: ignore[reportAttributeAccessIssue]
    return None
