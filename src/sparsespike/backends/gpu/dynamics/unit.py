"""The numbers of neurons of the form, a row (N,) for each: what a thread loads of its neuron, once a launch.

Rows of k states, in this order: A (k k), b, w, taken (k each), change (k k), swallowed (k), theta, rest,
b_th, kick, product (k each). `forward.py` and `backward.py` read them by these places.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparsespike.descriptions import Cell, Dynamics, Form


class Unit(NamedTuple):
    """A neuron of k states.

    Attributes:
        told: its description.
        k: states.
        rows: (n_rows, N). Beside the fields of `Form`: taken, what a spike takes from each state one step
            later; change, A_1 - A, and swallowed, b_1 - b, or zeros; kick, the derivative of each state by
            the spike one step before, but for product, what this spike then takes from it, and for what of
            it depends on the state.
        learned: (P, n_rows, N), the derivatives of the rows by each of the learned numbers.
        level: (N,), the threshold for V.
        start: (k, N), the states at the start.
        trace: (P, k, N), their derivatives.
        changes: whether a spike changes A.
        swallows: whether it changes b.
        squared: whether there is a product.
        attached: whether `change` and `swallowed` take part in the derivative by the spike.
        kicked: whether that derivative is anything at all.
    """

    told: Dynamics
    k: int
    rows: Tensor
    learned: Tensor
    level: Tensor
    start: Tensor
    trace: Tensor
    changes: bool
    swallows: bool
    squared: bool
    attached: bool
    kicked: bool

    @property
    def n_learned(self) -> int:
        """P, how many numbers are learned."""
        return len(self.learned)

    @property
    def n_kept(self) -> int:
        """How many rows a state has: of lag 0 the spikes follow the states of neurons that spike."""
        return self.k + (self.told.spiking and self.told.lag == 0)

    @property
    def n_kicks(self) -> int:
        """How many numbers of the derivative by a spike depend on the state."""
        return self.k if self.attached else 0

    def part(self, name: str) -> Tensor:
        """Of `rows` those of one name: (k, N), or (k, k, N) of "A" and "change"."""
        at, found = 0, self.rows
        for known, n in _layout(self.k):
            if known == name:
                found = self.rows[at : at + n]
            at += n
        return found.unflatten(0, (self.k, self.k)) if name in ("A", "change") else found


def unit_of(cell: Cell, n_out: int, like: Tensor) -> Unit:
    """The numbers of a cell's neurons.

    Args:
        cell: of `Dynamics`.
        n_out: how many neurons.
        like: in their dtype, on their device.
    """
    told = cell.neuron
    assert isinstance(told, Dynamics)
    with torch.no_grad():
        form = told.form(cell.number, n_out, like)
    k, differentiated = form.k, ("adapt",) if told.detach_reset else ("reset", "adapt")
    slopes = told.tangents(cell.number, n_out, like) if cell.number else []
    zero = torch.zeros_like(form.b)
    changes, swallows, squared = (
        getattr(form, name) is not None for name in ("A_1", "b_1", "product")
    )
    # The derivative by S of -(reset S + adapt S + product S S), of whose factors one is the reset's.
    product = _sum(form, ("product",)) * (1 if told.detach_reset else 2)
    rows = _rows(form, told.b_th, -_sum(form, differentiated), product)
    attached = not told.detach_reset and (changes or swallows)
    constant = squared or any(getattr(form, name) is not None for name in differentiated)
    return Unit(
        told,
        k,
        rows,
        _stacked([_rows(slope, 0.0, zero, zero) for slope in slopes], rows),
        form.theta + form.rest,
        _sum(form, ("s_0",)),
        _stacked([_sum(slope, ("s_0",)) for slope in slopes], zero),
        changes,
        swallows,
        squared,
        attached,
        attached or constant,
    )


def _stacked(parts: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(parts) if parts else like.new_empty((0, *like.shape))


def _layout(k: int) -> tuple[tuple[str, int], ...]:
    return (
        ("A", k * k),
        ("b", k),
        ("w", k),
        ("taken", k),
        ("change", k * k),
        ("swallowed", k),
        ("theta", 1),
        ("rest", 1),
        ("b_th", 1),
        ("kick", k),
        ("product", k),
    )


def _rows(form: Form, b_th: float, kick: Tensor, product: Tensor) -> Tensor:
    parts = {
        "A": form.A.flatten(0, 1),
        "b": form.b,
        "w": form.w,
        "taken": _sum(form, ("reset", "adapt", "product")),
        "change": _change(form.A, form.A_1).flatten(0, 1),
        "swallowed": _change(form.b, form.b_1),
        "theta": form.theta[None],
        "rest": form.rest[None],
        "b_th": torch.full_like(form.theta[None], b_th),
        "kick": kick,
        "product": product,
    }
    return torch.cat([parts[name] for name, _ in _layout(form.k)])


def _sum(form: Form, names: tuple[str, ...]) -> Tensor:
    parts = [getattr(form, name) for name in names]
    return sum((part for part in parts if part is not None), torch.zeros_like(form.b))


def _change(usual: Tensor, after: Tensor | None) -> Tensor:
    return torch.zeros_like(usual) if after is None else after - usual
