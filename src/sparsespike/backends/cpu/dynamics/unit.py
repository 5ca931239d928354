"""The numbers of a neuron of the form as kernels take them: one per neuron, at the places of the state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.backends.cpu.borrowed import borrowed
from sparsespike.backends.cpu.form import numpy_dtype
from sparsespike.backends.cpu.simd import aligned
from sparsespike.descriptions import Cell, Dynamics, Entries

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
    if traced and cell.number:
        entries, derivatives = told.followed(cell.number, n_out)
    else:
        with torch.no_grad():
            entries, derivatives = told.entries(cell.number, n_out), []
    own, *slopes = [_numbers(each, like) for each in (entries, *derivatives)]
    dtype = numpy_dtype(like)
    kind = dtype.type
    zero: Numbers = [kind(0)] * len(own["b"])
    # The derivative by S of -(reset S + adapt S + product S S), of whose factors one is the reset's.
    factor = kind(1 if told.detach_reset else 2)
    kick = _sum(own, ("adapt",) if told.detach_reset else ("adapt", "reset"), zero)
    product = [factor * each for each in own["product"]]
    attached = not told.detach_reset and bool(own["A_1"] or own["b_1"])
    numbers = {
        "theta": own["theta"],
        "A": own["A"],
        "b": own["b"],
        "w": own["w"],
        "taken": _sum(own, TAKEN, zero),
        "change": _change(own["A"], own["A_1"]),
        "swallowed": _change(own["b"], own["b_1"]),
        "kick": [-each for each in kick],
        "product": product,
        "rest": own["rest"],
        "start": own["s_0"] or zero,
    }
    used, followed = _followed(slopes, zero)
    index = slice(n_out) if place is None else place[:n_out]
    rows = _rows([*numbers.values(), *followed.values()], dtype, n, index)
    b_th = float(told.b_th)
    width = b_th if np.isfinite(b_th) else 0.0
    largest = float(np.abs(own["theta"][0]).max()) if n_out else 0.0
    rounding = 8 * np.finfo(kind).eps * (largest + width + 1.0) * len(zero)
    return Unit(
        states=tuple(range(len(zero))),
        n=n,
        enters=_known(own["b"]),
        sees=_known(own["w"]),
        attached=attached,
        kicked=attached or bool(product) or not all(_is(each, 0) for each in kick),
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


TAKEN = "reset", "adapt", "product"

# For each entry a number for all neurons, or an array (N,); [] where there are no entries.
Numbers = list[Any]


def _numbers(entries: Entries, like: Tensor) -> dict[str, Numbers]:
    """The entries in the dtype of `like`, by field."""
    kind = numpy_dtype(like).type
    return {
        name: [
            borrowed(each.to(like.device, like.dtype)) if isinstance(each, Tensor) else kind(each)
            for each in row or ()
        ]
        for name, row in entries.items()
    }


def _is(number: Any, value: float) -> bool:
    """Whether the number is this for all neurons."""
    same = number == value
    return bool(same.all()) if isinstance(number, np.ndarray) else bool(same)


def _is_nothing(number: Any) -> bool:
    """Whether a derivative is known to be zero."""
    return not isinstance(number, np.ndarray) and number == 0


def _known(vector: Numbers) -> int:
    """What all neurons have in common in this vector."""
    if not all(_is(each, 0) for each in vector[1:]):
        return ANY
    return SELF if _is(vector[0], 1) else FIRST


def _sum(own: dict[str, Numbers], names: Sequence[str], zero: Numbers) -> Numbers:
    parts = [own[name] for name in names if own[name]]
    return [sum(each[1:], each[0]) for each in zip(*parts, strict=True)] if parts else zero


def _change(usual: Numbers, after: Numbers) -> Numbers:
    return [new - old for new, old in zip(after, usual, strict=True)] if after else []


def _followed(
    slopes: list[dict[str, Numbers]], zero: Numbers
) -> tuple[NDArray, dict[str, Numbers]]:
    """`used` of `Learned`, and the derivatives that it has, by name."""
    k, used, terms = len(zero), np.zeros(len(slopes), np.uint64), []
    for m, slope in enumerate(slopes):
        bits = 0
        for i in range(k):
            for j, each in enumerate((*slope["A"][i * k : i * k + k], slope["b"][i])):
                if not _is_nothing(each):
                    bits |= 1 << (i * (k + 1) + j)
                    terms.append(each)
        used[m] = bits

    def unless_zero(name: str) -> Numbers:
        found = [each for slope in slopes for each in slope[name]]
        return [] if all(map(_is_nothing, found)) else found

    def all_of(parts: Iterable[Numbers]) -> Numbers:
        return [each for part in parts for each in part]

    return used, {
        "slope": terms,
        "w": unless_zero("w"),
        "taken": all_of(_sum(slope, TAKEN, zero) for slope in slopes),
        "change": all_of(_change(slope["A"], slope["A_1"]) for slope in slopes),
        "swallowed": all_of(_change(slope["b"], slope["b_1"]) for slope in slopes),
        "start": all_of(slope["s_0"] or zero for slope in slopes),
        "theta": unless_zero("theta"),
        "rest": all_of(slope["rest"] for slope in slopes),
    }


def _rows(
    parts: Sequence[Numbers], dtype: np.dtype, n: int, index: slice | NDArray
) -> list[NDArray]:
    """Each part at the places, flat; in one array, which begins with theta, infinite between neurons."""
    placed = aligned((sum(len(part) for part in parts), n), dtype)
    placed[0] = np.inf
    found, row = [], 0
    for part in parts:
        start = row
        for number in part:
            placed[row, index] = number
            row += 1
        found.append(placed[start:row].reshape(-1))
    return found


KEPT = "theta", "A", "b", "w", "taken", "change", "swallowed", "kick", "product", "rest", "start"
N_KEPT = 2


def kept_of(unit: Unit) -> list[Tensor]:
    """What a backward pass needs of a unit, as tensors; all but what is learned."""
    parts = [getattr(unit, name) for name in KEPT]
    facts = unit.enters, unit.sees, unit.attached, unit.kicked, unit.floor, *map(len, parts)
    whole: Any = unit.theta.base  # of which they are the first rows
    whole = whole[: sum(map(len, parts)) // unit.n]
    return [torch.from_numpy(whole), torch.tensor(facts, dtype=torch.float64)]


def unit_from(kept: Sequence[Tensor], told: Dynamics) -> Unit:
    """The unit of `kept_of`, without what is learned."""
    whole, facts = kept
    flat, at, own = whole.numpy().reshape(-1), 0, {}
    enters, sees, attached, kicked, floor, *sizes = facts.tolist()
    for name, size in zip(KEPT, map(int, sizes), strict=True):
        own[name] = flat[at : at + size]
        at += size
    n, nothing, kind = len(own["theta"]), flat[:0], flat.dtype.type
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
