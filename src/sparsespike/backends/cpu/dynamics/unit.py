"""The numbers of a neuron of the form as kernels take them: one per neuron, at the places of the state."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.simd import aligned
from sparsespike.descriptions import Cell, Dynamics, Form

ANY, FIRST, SELF = 0, 1, 2  # of k numbers: any; none but the first other than zero; and that is one


class Unit(NamedTuple):
    """A neuron of k states; every array is flat, a row of n places for each of its numbers.

    Attributes:
        states: 0, ..., k - 1; kernels are compiled for their number.
        n: places of a row.
        A: (k * k * n).
        b, w: (k * n).
        enters, sees: what all neurons have in common in b, and in w: ANY, FIRST or SELF.
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
    enters: int
    sees: int
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

    Most derivatives of A and b are zero: what the states and the inflow add to eligibility i of number m,
    row i of its k, is a sum of few terms.

    Attributes:
        used: (P), bits i (k + 1) + j: whether row i has a term of state j, or of the inflow, which is j = k.
        slope: (terms * n), what each is multiplied by, by number, row and j.
        taken, start: (P * k * n).
        w: the same; (0,) where all are zero.
        change, swallowed: as in `Unit`.
        rest: (P * n).
        theta: the same; (0,) where all are zero.
        number: P.
    """

    used: NDArray
    slope: NDArray
    w: NDArray
    taken: NDArray
    change: NDArray
    swallowed: NDArray
    start: NDArray
    theta: NDArray
    rest: NDArray
    number: int


def unit_of(
    cell: Cell, n_out: int, like: Tensor, n: int, place: NDArray | None, traced: bool
) -> Unit:
    """The kernels' form of a cell's neurons.

    Args:
        cell: of `Dynamics`.
        n_out: how many neurons.
        like: in their dtype.
        n: places of the state.
        place: (n_out or more,) of each neuron; None: side by side.
        traced: whether the derivatives by learned numbers are wanted, else there are none of these.
    """
    told = cell.neuron
    assert isinstance(told, Dynamics)
    with torch.no_grad():
        form = _arrays(told.form(cell.number, n_out, like))
    slopes = told.tangents(cell.number, n_out, like) if traced and cell.number else []
    k, kind = len(form.b), form.b.dtype.type
    zero = np.zeros((k, n_out), kind)
    # The derivative by S of -(reset S + adapt S + product S S), of whose factors one is the reset's.
    kick = -_sum(form, ("adapt",), zero)
    if not told.detach_reset:
        kick = kick - _sum(form, ("reset",), zero)
    product = form.product
    if product is not None and not told.detach_reset:
        product = 2 * product
    attached = not told.detach_reset and not (form.A_1 is None and form.b_1 is None)
    numbers = {
        "A": form.A,
        "b": form.b,
        "w": form.w,
        "taken": _sum(form, TAKEN, zero),
        "change": _change(form.A, form.A_1),
        "swallowed": _change(form.b, form.b_1),
        "kick": kick,
        "product": product,
        "rest": form.rest,
        "start": zero if form.s_0 is None else form.s_0,
    }
    followed, used = _followed([_arrays(slope) for slope in slopes], zero)
    index = slice(n_out) if place is None else place[:n_out]
    rows = _rows([*numbers.values(), *followed.values()], zero, n, index)
    theta = aligned((n,), zero.dtype, np.inf)
    theta[index] = form.theta
    b_th = float(told.b_th)
    width = b_th if np.isfinite(b_th) else 0.0
    largest = float(np.abs(form.theta).max()) if n_out else 0.0
    rounding = 8 * np.finfo(kind).eps * (largest + width + 1.0) * k
    return Unit(
        states=tuple(range(k)),
        n=n,
        enters=_known(form.b),
        sees=_known(form.w),
        theta=theta,
        attached=attached,
        kicked=attached or product is not None or bool(kick.any()),
        b_th=kind(b_th),
        floor=kind(min(-b_th, 0.0) - rounding),
        lag=told.lag,
        learned=Learned(
            used=used,
            number=len(slopes),
            **dict(zip(followed, rows[len(numbers) :], strict=True)),
        ),
        **dict(zip(numbers, rows, strict=False)),
    )


def _arrays(form: Form) -> Any:
    """The same of arrays, which small sums take less time with."""
    return Form(*(None if part is None else part.detach().numpy() for part in form))  # pyright: ignore


TAKEN = "reset", "adapt", "product"


def _known(vector: NDArray) -> int:
    """What all neurons have in common in this vector (k, N)."""
    if vector[1:].any():
        return ANY
    return SELF if (vector[0] == 1).all() else FIRST


def _sum(form: Any, names: Sequence[str], zero: NDArray) -> NDArray:
    found = zero
    for name in names:
        part = getattr(form, name)
        found = found if part is None else found + part
    return found


def _change(usual: NDArray, after: NDArray | None) -> NDArray | None:
    return None if after is None else after - usual


def _followed(slopes: list[Any], zero: NDArray) -> tuple[dict[str, NDArray | None], NDArray]:
    """The derivatives that `Learned` has, by name, None for none; and its `used`."""

    def all_of(parts: list[NDArray | None]) -> NDArray | None:
        known = [part for part in parts if part is not None]
        return np.stack(known) if known else None

    def unless_zero(parts: list[NDArray]) -> NDArray | None:
        return np.stack(parts) if any(part.any() for part in parts) else None

    # Of each row of the eligibilities the derivatives of its row of A, and of b.
    k, n_out = zero.shape
    terms = np.empty((len(slopes), k, k + 1, n_out), zero.dtype)
    for own, slope in zip(terms, slopes, strict=True):
        own[:, :k], own[:, k] = slope.A, slope.b
    terms = terms.reshape(len(slopes), k * (k + 1), n_out)
    used = terms.any(-1)
    followed = {
        "slope": terms[used],
        "w": unless_zero([slope.w for slope in slopes]),
        "taken": all_of([_sum(slope, TAKEN, zero) for slope in slopes]),
        "change": all_of([_change(slope.A, slope.A_1) for slope in slopes]),
        "swallowed": all_of([_change(slope.b, slope.b_1) for slope in slopes]),
        "start": all_of([zero if slope.s_0 is None else slope.s_0 for slope in slopes]),
        "theta": unless_zero([slope.theta for slope in slopes]),
        "rest": all_of([slope.rest for slope in slopes]),
    }
    bits = used << np.arange(k * (k + 1), dtype=np.uint64)
    return followed, bits.sum(1, dtype=np.uint64)


def _rows(
    parts: Sequence[NDArray | None], zero: NDArray, n: int, index: slice | NDArray
) -> list[NDArray]:
    """Each part (..., N) at the places, flat, (0,) for None; in one array, as filling many takes long."""
    n_out = zero.shape[1]
    ends = list(itertools.accumulate(0 if part is None else part.size // n_out for part in parts))
    placed = aligned((ends[-1], n), zero.dtype)
    found, start = [], 0
    for part, end in zip(parts, ends, strict=True):
        own = placed[start:end]
        if part is not None:
            own[:, index] = part.reshape(-1, n_out)
        found.append(own.reshape(-1))
        start = end
    return found


KEPT = "A", "b", "w", "theta", "taken", "change", "swallowed", "kick", "product", "rest", "start"
N_KEPT = len(KEPT) + 1


def kept_of(unit: Unit) -> list[Tensor]:
    """What a backward pass needs of a unit, as tensors; all but what is learned."""
    facts = unit.enters, unit.sees, unit.attached, unit.kicked, unit.floor
    arrays = [torch.from_numpy(getattr(unit, name)) for name in KEPT]
    return [*arrays, torch.tensor(facts, dtype=torch.float64)]


def unit_from(kept: Sequence[Tensor], told: Dynamics) -> Unit:
    """The unit of `kept_of`, without what is learned."""
    *arrays, facts = kept
    own = {name: array.numpy() for name, array in zip(KEPT, arrays, strict=True)}
    enters, sees, attached, kicked, floor = facts.tolist()
    n = len(own["theta"])
    nothing, kind = own["theta"][:0], own["theta"].dtype.type
    no_bits = np.zeros(0, np.uint64)
    return Unit(
        states=tuple(range(len(own["b"]) // n)),
        n=n,
        enters=int(enters),
        sees=int(sees),
        attached=bool(attached),
        kicked=bool(kicked),
        b_th=kind(told.b_th),
        floor=kind(floor),
        lag=told.lag,
        learned=Learned._make([no_bits, *[nothing] * 8, 0]),
        **own,
    )
