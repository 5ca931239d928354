"""The one form of nearly every neuron of the field: linear in a few states, with a jump where it spikes.

    s[t+1] = A s[t] + b I[t] - (reset + adapt) S[t],    d[t] = w . s[t] - theta,    S[t] = 1 if d[t] > 0
    V[t]   = w . s[t] + rest

A_1 and b_1 take the place of A and b in the step after a spike, where its jump depends on the state (reset
to a value) or swallows an input. From this come the oracle (`FormEquations` in plain PyTorch, differentiated
by autograd), the kernels and all gradients (`docs/method.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsespike.descriptions.jets import Jet

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


Entries = dict[str, list[Entry] | None]  # of every field of a form its entries in a row, as given


def followed(
    matrices_of: Callable[[Sequence[Any]], Matrices],
    number: Sequence[Tensor],
    n: int,
    trusted: bool,
) -> tuple[Entries, list[Entries]]:
    """The entries of n neurons, and their derivatives by each number, of which every neuron has its own.

    Args:
        matrices_of: the matrices as a function of the numbers.
        number: each (n,), or one for all.
        n: how many neurons.
        trusted: whether they are known to be computed neuron by neuron, by what a `Jet` can; else autograd
            finds the derivatives, in a pass for each entry, and it is looked whether neurons mix.

    Raises:
        ValueError: as `listed`; or, naming where, if neurons mix.
    """
    if not trusted:
        return _by_autograd(matrices_of, number, n)
    with torch.no_grad():
        jets = [Jet(each.detach(), {m: 1.0}) for m, each in enumerate(number)]
        entries = listed(matrices_of(jets), n)
    slopes = [_each(entries, partial(_slope_of, m)) for m in range(len(jets))]
    return _each(entries, _value_of), slopes


def _each(entries: Entries, of: Callable[[Any], Entry]) -> Entries:
    return {
        name: None if row is None else [of(entry) for entry in row] for name, row in entries.items()
    }


def _value_of(entry: Any) -> Entry:
    return entry.detach() if isinstance(entry, Tensor | Jet) else entry


def _slope_of(m: int, entry: Any) -> Entry:
    return entry.slopes.get(m, 0.0) if isinstance(entry, Jet) else 0.0


def _by_autograd(
    matrices_of: Callable[[Sequence[Tensor]], Matrices], number: Sequence[Tensor], n: int
) -> tuple[Entries, list[Entries]]:
    """The same of any matrices: the derivative of a sum over neurons is each neuron's own."""
    leaves = [each.detach().expand(n).clone().requires_grad_() for each in number]
    with torch.enable_grad():  # a layer calls this inside of an operation of its own
        entries = listed(matrices_of(leaves), n)
        slopes: list[Any] = [_each(entries, lambda _: 0.0) for _ in leaves]
        for name, row in entries.items():
            for i, entry in enumerate(row or ()):
                if not isinstance(entry, Tensor) or not entry.requires_grad:
                    continue
                each = entry.expand(n)
                found = _slopes(each, leaves, torch.ones_like(each))
                if n > 1:
                    _check_apart(name, each, leaves, found)
                for slope, own in zip(slopes, found, strict=True):
                    if own is not None:
                        slope[name][i] = own
    return _each(entries, _value_of), slopes


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


def listed(matrices: Matrices, n: int) -> Entries:
    """All entries of n neurons, by field.

    Raises:
        ValueError: if an entry is of another size, or there are too few or too many.
    """
    if not isinstance(matrices, Matrices):
        raise ValueError(f"matrices: expected ss.Matrices, found {type(matrices).__name__}")
    k = len(matrices.b)
    if not 1 <= k <= MOST_STATES:
        raise ValueError(f"matrices: expected 1 to {MOST_STATES} states, found {k} entries of b")
    found: Entries = {}
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
        found[name] = [_entry(name, each, n) for each in value]
    return found


def _check_length(name: str, row: Sequence[Any], k: int) -> None:
    if len(row) != k:
        raise ValueError(f"{name}: expected {k} entries in a row, found {len(row)}")


def _entry(name: str, value: Any, n: int) -> Any:
    """A number for all neurons, or a tensor or jet."""
    if not isinstance(value, Tensor | Jet):
        return float(value)
    if value.shape not in ((), (n,)):
        expected = f"one number, or ({n},), one per neuron"
        raise ValueError(f"{name}: expected {expected}, found {tuple(value.shape)}")
    return value


def stacked(entries: Entries, n: int, like: Tensor) -> Form:
    """The form of n neurons with these entries, in the dtype and on the device of `like`."""
    k = len(entries["b"] or ())
    known: dict[float, Tensor] = {}  # numbers for all neurons often come again
    parts: dict[str, Any] = {}
    for name, row in entries.items():
        if row is None:
            parts[name] = None
            continue
        each = [_for_each(entry, n, like, known) for entry in row]
        if name in ("theta", "rest"):
            parts[name] = each[0]
        else:
            parts[name] = torch.stack(each).unflatten(0, (k, k) if name in ("A", "A_1") else (k,))
    return Form(**parts)


def _for_each(entry: Entry, n: int, like: Tensor, known: dict[float, Tensor]) -> Tensor:
    """(n,): an entry of each neuron; `known`: of numbers for all, what was made before."""
    if isinstance(entry, Tensor):
        return entry.to(like.device, like.dtype).expand(n)
    if entry not in known:  # in the dtype wanted: the default one would round it
        known[entry] = torch.full((n,), entry, dtype=like.dtype, device=like.device)
    return known[entry]
