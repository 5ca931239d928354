"""The one form of nearly every neuron of the field: linear in a few states, with a jump where it spikes.

    s[t+1] = A s[t] + b I[t] - (reset + adapt) S[t],    d[t] = w . s[t] - theta,    S[t] = 1 if d[t] > 0
    V[t]   = w . s[t] + rest

A_1 and b_1 take the place of A and b in the step after a spike, where its jump depends on the state (reset
to a value) or swallows an input. From this come the oracle (`Equations` in plain PyTorch, differentiated by
autograd), the kernels and all gradients (`docs/method.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Entry = float | Tensor  # one number for all neurons, or (N,)
MOST_STATES = 3


class Matrices(NamedTuple):
    """A neuron's numbers in the form above; k states, 1 to 3.

    Each entry is a number for all neurons, Python's or a 0-d tensor, or one for each: a tensor (N,).

    Attributes:
        A: k rows of k entries.
        b: k entries: what the input current does to each state.
        w: k entries: what the threshold sees.
        theta: the threshold for w . s.
        reset: k entries: what a spike takes from each state; () for nothing. With A_1 and b_1 it is what
            `detach_reset` keeps out of the gradient.
        adapt: the same for what is differentiated in any case, as adaptation is.
        product: k entries that a spike also takes, as a product of S with itself, one factor of which
            belongs to the reset: where a reset takes an adaptive threshold that its own spike has raised.
        A_1, b_1: of the step after a spike; () for A and b.
        rest: added to w . s, to give the potential V that people see.
        s_0: k entries: the states at the start; () for zeros.
    """

    A: Sequence[Sequence[Entry]]
    b: Sequence[Entry]
    w: Sequence[Entry]
    theta: Entry
    reset: Sequence[Entry] = ()
    adapt: Sequence[Entry] = ()
    product: Sequence[Entry] = ()
    A_1: Sequence[Sequence[Entry]] = ()
    b_1: Sequence[Entry] = ()
    rest: Entry = 0.0
    s_0: Sequence[Entry] = ()


class Form(NamedTuple):
    """`Matrices` as tensors of one dtype, one number per neuron; None for what was left out.

    Attributes:
        A, A_1: (k, k, N).
        b, w, reset, adapt, product, b_1, s_0: (k, N).
        theta, rest: (N,).
    """

    A: Tensor
    b: Tensor
    w: Tensor
    theta: Tensor
    reset: Tensor | None
    adapt: Tensor | None
    product: Tensor | None
    A_1: Tensor | None
    b_1: Tensor | None
    rest: Tensor
    s_0: Tensor | None

    @property
    def k(self) -> int:
        """How many states."""
        return self.A.shape[0]

    @property
    def n(self) -> int:
        """How many neurons."""
        return self.A.shape[2]


Entries = dict[str, list[Tensor] | None]  # of every field of a form its numbers in a row, each (N,)


def formed(matrices: Matrices, n: int, like: Tensor) -> Form:
    """The form of n neurons, in the dtype and on the device of `like`; differentiable.

    Raises:
        ValueError: if an entry is of another size, or there are too few or too many.
    """
    return _stacked(_entries(matrices, n, like))


def tangents(
    matrices_of: Callable[[Sequence[Tensor]], Matrices],
    number: Sequence[Tensor],
    n: int,
    like: Tensor,
    trusted: bool,
) -> list[Form]:
    """The derivative of a form by each of its numbers, of which every neuron has its own.

    Neurons do not mix, so that the derivative of a sum over neurons is each neuron's own.

    Args:
        matrices_of: the matrices as a function of the numbers.
        number: each (n,).
        n: how many neurons.
        like: in the form's dtype.
        trusted: whether neurons are known not to mix; else a sum over every second neuron is looked at too.

    Raises:
        ValueError: if neurons mix, naming where.
    """
    leaves = [each.detach().clone().requires_grad_() for each in number]
    with torch.enable_grad():
        entries = _entries(matrices_of(leaves), n, like)
    zero = torch.zeros(n, dtype=like.dtype, device=like.device)
    slopes: list[Entries] = [{} for _ in leaves]
    for name, row in entries.items():
        for slope in slopes:
            slope[name] = None if row is None else [zero] * len(row)
        for i, entry in enumerate(row or ()):
            if not entry.requires_grad:
                continue
            found = _slopes(entry, leaves, torch.ones_like(entry))
            if not trusted and n > 1:
                _check_apart(name, entry, leaves, found)
            for slope, each in zip(slopes, found, strict=True):
                own = slope[name]
                if each is not None and own is not None:
                    own[i] = each.to(like.dtype)
    return [_stacked(slope, zero) for slope in slopes]


def _slopes(entry: Tensor, leaves: Sequence[Tensor], share: Tensor) -> tuple[Tensor | None, ...]:
    """The derivative of the sum of share * entry by each number."""
    return torch.autograd.grad(entry, leaves, share, retain_graph=True, allow_unused=True)


def _check_apart(
    name: str, entry: Tensor, leaves: Sequence[Tensor], found: Sequence[Tensor | None]
) -> None:
    """Raises a ValueError unless each neuron's entry depends on its own numbers alone."""
    second = (torch.arange(len(entry), device=entry.device) % 2).to(entry)
    for slope, half in zip(found, _slopes(entry, leaves, second), strict=True):
        if slope is None or half is None:
            continue
        if not torch.allclose(half, second.to(slope) * slope, rtol=1e-3, atol=0.0):
            raise ValueError(
                f"matrices: expected {name} of each neuron to depend on its own numbers alone, as this "
                'backend takes it to, found one that mixes them; "dense" computes it'
            )


def _entries(matrices: Matrices, n: int, like: Tensor) -> Entries:
    """All numbers of n neurons, by field."""
    if not isinstance(matrices, Matrices):
        raise ValueError(f"matrices: expected ss.Matrices, found {type(matrices).__name__}")
    k = len(matrices.b)
    if not 1 <= k <= MOST_STATES:
        raise ValueError(f"matrices: expected 1 to {MOST_STATES} states, found {k} entries of b")
    found: Entries = {}
    known: dict[float, Tensor] = {}
    for name in Form._fields:
        value: Any = getattr(matrices, name)
        if name in ("theta", "rest"):
            value = [value]
        elif not len(value):
            if name in ("A", "b", "w"):
                raise ValueError(f"{name}: expected {k} entries, found none")
            found[name] = None
            continue
        elif name in ("A", "A_1"):
            if len(value) != k:
                raise ValueError(f"{name}: expected {k} rows, found {len(value)}")
            for row in value:
                _check_length(name, row, k)
            value = [entry for row in value for entry in row]
        else:
            _check_length(name, value, k)
        found[name] = [_entry(name, each, n, like, known) for each in value]
    return found


def _check_length(name: str, row: Sequence[Any], k: int) -> None:
    if len(row) != k:
        raise ValueError(f"{name}: expected {k} entries in a row, found {len(row)}")


def _entry(name: str, value: Any, n: int, like: Tensor, known: dict[float, Tensor]) -> Tensor:
    """A number for each neuron; `known`: of those for all, which often come again, what was made before."""
    if not isinstance(value, Tensor):  # in the dtype wanted: the default one would round it
        number = float(value)
        if number not in known:
            known[number] = torch.full((n,), number, dtype=like.dtype, device=like.device)
        return known[number]
    if value.shape not in ((), (n,)):
        expected = f"one number, or ({n},), one per neuron"
        raise ValueError(f"{name}: expected {expected}, found {tuple(value.shape)}")
    return value.to(like.device, like.dtype).expand(n)


def _stacked(entries: Entries, zero: Tensor | None = None) -> Form:
    """The form of these entries; `zero`: what those are that need no place of their own where all are."""
    k = len(entries["b"] or ())
    parts: dict[str, Any] = {}
    for name, row in entries.items():
        if row is None:
            parts[name] = None
        elif name in ("theta", "rest"):
            parts[name] = row[0]
        else:
            shape = (k, k) if name in ("A", "A_1") else (k,)
            if zero is not None and all(each is zero for each in row):
                parts[name] = zero.expand(*shape, -1)
            else:
                parts[name] = torch.stack(row).unflatten(0, shape)
    return Form(**parts)
