"""Surrogates as kernels take them: each is peak * shape(|V - v_th| / scale).

`neurons.surrogates` defines them, and the tests hold the kernels to it. A surrogate of the user's own has
no shape here; it is evaluated by its own `slope`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sparsespike.neurons import surrogates

FAST_SIGMOID, TRIANGLE, BOXCAR, ATAN, SIGMOID, GAUSSIAN = range(6)


class Shape(NamedTuple):
    """A surrogate as a kernel takes it.

    Attributes:
        kind: which shape.
        scale: unit of its argument, in units of potential.
        peak: its value at the threshold.
    """

    kind: int
    scale: float
    peak: float


def shape_of(surrogate: surrogates.Surrogate) -> Shape | None:
    """The surrogate's shape, None for one of another class."""
    # Not by isinstance: a subclass may have another slope.
    if type(surrogate) is surrogates.FastSigmoid:
        return Shape(FAST_SIGMOID, 1 / surrogate.beta, 1.0)
    if type(surrogate) is surrogates.Triangle:
        return Shape(TRIANGLE, surrogate.width, 1.0)
    if type(surrogate) is surrogates.Boxcar:
        return Shape(BOXCAR, surrogate.width, 0.5 / surrogate.width)
    if type(surrogate) is surrogates.ATan:
        return Shape(ATAN, 2 / (math.pi * surrogate.alpha), surrogate.alpha / 2)
    if type(surrogate) is surrogates.Sigmoid:
        return Shape(SIGMOID, 1 / surrogate.alpha, surrogate.alpha)
    if type(surrogate) is surrogates.Gaussian:
        return Shape(GAUSSIAN, surrogate.sigma, 1 / (surrogate.sigma * math.sqrt(2 * math.pi)))
    return None
