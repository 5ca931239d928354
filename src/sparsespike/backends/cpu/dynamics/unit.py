"""The numbers of a neuron of the form as kernels take them: one per neuron, at the places of the state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.simd import aligned
from sparsespike.descriptions import Cell, Dynamics, Form


class Unit(NamedTuple):
    """A neuron of k states; every array is flat, a row of n places for each of its numbers.

    Attributes:
        states: 0, ..., k - 1; kernels are compiled for their number.
        n: places of a row.
        A: (k * k * n).
        b, w: (k * n).
        theta: (n); infinite where there is no neuron.
        taken: (k * n), what a spike takes from each state one step later.
        change: (k * k * n), A_1 - A, or (0,) where a spike changes neither.
        swallowed: (k * n), b_1 - b, or (0,).
        kick: (k * n), the derivative of each state by the spike one step before, but for
        product: (k * n), what this spike then takes from it; or (0,), and for
        attached: whether `change` and `swallowed` take part.
        kicked: whether any of these is other than zero.
        rest: (n), added to w . s for the potential.
        start: (k * n), the states at the start.
        b_th: half-width of the active band.
        floor: what a scan for near neurons looks above: -b_th or 0, less rounding.
        lag: steps from an input to the potential that it acts on.
        learned: the derivatives by each of the P numbers that are learned.
    """

    states: tuple[int, ...]
    n: int
    A: NDArray
    b: NDArray
    w: NDArray
    theta: NDArray
    taken: NDArray
    change: NDArray
    swallowed: NDArray
    kick: NDArray
    product: NDArray
    attached: bool
    kicked: bool
    rest: NDArray
    start: NDArray
    b_th: np.floating
    floor: np.floating
    lag: int
    learned: Learned


class Learned(NamedTuple):
    """The derivatives of a `Unit` by P numbers, each a row of blocks as there; of none, of length 0.

    Attributes:
        A: (P * k * k * n).
        b, w, taken, start: (P * k * n).
        change, swallowed: as in `Unit`.
        theta, rest: (P * n).
        number: P.
    """

    A: NDArray
    b: NDArray
    w: NDArray
    taken: NDArray
    change: NDArray
    swallowed: NDArray
    start: NDArray
    theta: NDArray
    rest: NDArray
    number: int


def unit_of(cell: Cell, n_out: int, like: Tensor, n: int, place: NDArray | None) -> Unit:
    """The kernels' form of a cell's neurons.

    Args:
        cell: of `Dynamics`.
        n_out: how many neurons.
        like: in their dtype.
        n: places of the state.
        place: (n_out or more,) of each neuron; None: side by side.
    """
    told = cell.neuron
    assert isinstance(told, Dynamics)
    with torch.no_grad():
        form = told.form(cell.number, n_out, like)
    slopes = told.tangents(cell.number, n_out, like) if cell.number else []
    index = slice(n_out) if place is None else place[:n_out]
    zero = torch.zeros(form.k, n_out, dtype=like.dtype)

    def rows(tensor: Tensor | None, padding: float = 0.0) -> NDArray:
        """A tensor (..., n_out) at the places, flat; (0,) for None."""
        if tensor is None:
            return aligned((0,), like_numpy)
        flat = tensor.detach().reshape(-1, n_out).numpy()
        placed = aligned((len(flat), n), like_numpy, padding)
        placed[:, index] = flat
        return placed.reshape(-1)

    like_numpy = np.dtype(np.float32 if like.dtype == torch.float32 else np.float64)
    kind = like_numpy.type
    # The derivative by S of -(reset S + adapt S + product S S), of whose factors one is the reset's.
    kick = -_sum(form, ("adapt",), zero)
    if not told.detach_reset:
        kick = kick - _sum(form, ("reset",), zero)
    product = form.product
    if product is not None and not told.detach_reset:
        product = 2 * product
    attached = not told.detach_reset and not (form.A_1 is None and form.b_1 is None)
    b_th = float(told.b_th)
    width = b_th if np.isfinite(b_th) else 0.0
    largest = float(form.theta.abs().max()) if n_out else 0.0
    rounding = 8 * np.finfo(kind).eps * (largest + width + 1.0) * form.k
    return Unit(
        tuple(range(form.k)),
        n,
        rows(form.A),
        rows(form.b),
        rows(form.w),
        rows(form.theta, np.inf),
        rows(_sum(form, TAKEN, zero)),
        rows(_change(form.A, form.A_1)),
        rows(_change(form.b, form.b_1)),
        rows(kick),
        rows(product),
        attached,
        attached or product is not None or bool((kick != 0).any()),
        rows(form.rest),
        rows(zero if form.s_0 is None else form.s_0),
        kind(b_th),
        kind(min(-b_th, 0.0) - rounding),
        told.lag,
        _learned(slopes, rows, form, zero),
    )


TAKEN = "reset", "adapt", "product"


def _sum(form: Form, names: Sequence[str], zero: Tensor) -> Tensor:
    found = zero
    for name in names:
        part = getattr(form, name)
        found = found if part is None else found + part
    return found


def _change(usual: Tensor, after: Tensor | None) -> Tensor | None:
    return None if after is None else after - usual


def _learned(slopes: list[Form], rows, form: Form, zero: Tensor) -> Learned:
    def all_of(parts: list[Tensor | None]) -> NDArray:
        known = [part for part in parts if part is not None]
        return rows(torch.stack(known) if known else None)

    return Learned(
        all_of([slope.A for slope in slopes]),
        all_of([slope.b for slope in slopes]),
        all_of([slope.w for slope in slopes]),
        all_of([_sum(slope, TAKEN, zero) for slope in slopes]),
        all_of([_change(slope.A, slope.A_1) for slope in slopes]),
        all_of([_change(slope.b, slope.b_1) for slope in slopes]),
        all_of([zero if slope.s_0 is None else slope.s_0 for slope in slopes]),
        all_of([slope.theta for slope in slopes]),
        all_of([slope.rest for slope in slopes]),
        len(slopes),
    )
