"""From the user's own data to the fields of `Spikes`: checked once, here, and nowhere after.

The docstrings of `Spikes.from_lists`, `from_dense` and `from_events` say what the arguments are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.spikes.arguments import described, integer, items
from sparsespike.spikes.lists import Lists, Shape
from sparsespike.spikes.words import Words

# What is taken for a 1-D tensor of integers.
Integers = Tensor | NDArray[Any]
# What is taken for (B, T, N).
Sizes = Sequence[SupportsIndex] | NDArray[Any] | Tensor


class Built(NamedTuple):
    """The first fields of a `Spikes`."""

    shape: Shape
    storage: Lists | Words
    value: Tensor


def of_lists(unit: Integers, offset: Integers, shape: Sizes) -> Built:
    """Plain input from ragged lists, as lists on their device."""
    n_batch, n_step, n_unit = _checked_shape(shape)
    unit, offset = _integers("unit", unit), _integers("offset", offset)
    _check_same_device("offset", offset, "unit", unit)
    if offset.shape != (n_batch * n_step + 1,):
        raise ValueError(
            f"offset: expected {n_batch * n_step + 1} entries (B*T + 1), found {tuple(offset.shape)}"
        )
    if offset[0] != 0 or offset[-1] != len(unit) or bool((offset.diff() < 0).any()):
        raise ValueError(
            f"offset: expected an ascending list from 0 to n_spikes = {len(unit)}, "
            f"found {int(offset[0])} to {int(offset[-1])}"
        )
    _check_range("unit", unit, n_unit)
    row_starts = torch.zeros(len(unit) + 1, dtype=torch.bool, device=unit.device)
    row_starts[offset] = True
    if bool(((unit.diff() <= 0) & ~row_starts[1:-1]).any()):
        raise ValueError("unit: expected strictly ascending units in each row, found unsorted ones")
    lists = Lists(unit.to(torch.int32).contiguous(), offset.contiguous())
    return Built((n_batch, n_step, n_unit), lists, torch.empty(0))


def of_dense(
    given: Tensor | NDArray[Any], time_first: bool, mask: Tensor | NDArray[Any] | None
) -> tuple[Built, tuple[int, ...]]:
    """Spikes, and their active entries if any, from a dense tensor of 0 and 1; and their unit shape."""
    dense, active = _tensor(given), _tensor(mask)
    if dense is None or not 3 <= dense.dim() <= 5:
        raise ValueError(
            "dense: expected a tensor of 0 and 1, (B, T, N), (B, T, C, L) or (B, T, C, H, W), "
            f"found {described(given)}"
        )
    if mask is not None:
        if active is None or active.shape != dense.shape or active.dtype != torch.bool:
            shape = tuple(dense.shape)
            raise ValueError(f"active: expected bool of shape {shape}, found {described(mask)}")
        _check_same_device("active", active, "dense", dense)
    if time_first:
        dense = dense.transpose(0, 1)
        active = None if active is None else active.transpose(0, 1)
    unit_shape = tuple(dense.shape[2:])
    shape = _checked_shape((*dense.shape[:2], math.prod(unit_shape)))
    fired = dense.detach() == 1
    if not bool((fired | (dense.detach() == 0)).all()):
        raise ValueError("dense: expected only 0 and 1, found other values (or NaN)")
    entry = _entries(fired)
    if active is None and dense.requires_grad:
        active = torch.ones_like(fired)
    if active is None:
        return of_entries(shape, entry), unit_shape
    value = dense[active] if dense.is_floating_point() else dense[active].float()
    return of_entries(shape, entry, _entries(active), value), unit_shape


def _entries(mask: Tensor) -> Tensor:
    """(n,) int64: where a mask is true, flat."""
    if mask.device.type == "cpu":  # NumPy's is two to seven times as fast as torch's
        return torch.from_numpy(np.flatnonzero(mask.flatten().numpy()))
    return mask.flatten().nonzero()[:, 0]


def of_events(
    sample: Integers, step: Integers, unit: Integers, shape: Sizes, drop_late: bool
) -> tuple[Built, Tensor]:
    """Plain input from (sample, step, unit) triples, and (B, 2) how many were duplicates, and late."""
    n_batch, n_step, n_unit = sizes = _checked_shape(shape)
    sample, step, unit = (
        _integers(name, index)
        for name, index in (("sample", sample), ("step", step), ("unit", unit))
    )
    last = 2**63 if drop_late else n_step
    for name, index, size in (
        ("sample", sample, n_batch),
        ("step", step, last),
        ("unit", unit, n_unit),
    ):
        if index.shape != sample.shape:
            raise ValueError(f"{name}: expected {len(sample)} entries, found {len(index)}")
        _check_same_device(name, index, "sample", sample)
        _check_range(name, index, size)
    n_late = torch.zeros(n_batch, dtype=torch.int64, device=sample.device)
    if drop_late:
        kept = step < n_step
        n_late = torch.bincount(sample[~kept], minlength=n_batch)
        sample, step, unit = sample[kept], step[kept], unit[kept]
    once = torch.unique((sample * n_step + step) * n_unit + unit)
    owner = torch.div(once, n_step * n_unit, rounding_mode="floor")
    n_clamped = torch.bincount(sample, minlength=n_batch) - torch.bincount(owner, minlength=n_batch)
    return of_entries(sizes, once), torch.stack([n_clamped, n_late], 1).cpu()


def of_entries(
    shape: Shape,
    entry: Tensor,
    active: Tensor | None = None,
    value: Tensor | None = None,
    graded: bool = False,
) -> Built:
    """Spikes of entries, stored as the backend of their device takes them; not checked.

    The entries are distinct unless graded.
    """
    kind = Words if entry.device.type == "cuda" else Lists
    storage, order = _stored(kind, entry, active, shape, graded)
    if value is None or order is None:
        return Built(shape, storage, torch.empty(0, device=entry.device))
    return Built(shape, storage, value[order])


def moved(
    storage: Lists | Words,
    entry: Tensor,
    active: Tensor | None,
    source: Tensor,
    shape: Shape,
    graded: bool,
) -> tuple[Lists | Words, Tensor]:
    """Other entries stored as `storage` is, and `source` of the active ones in the order of their values.

    Words whose values nobody keeps stay without.
    """
    made, order = _stored(type(storage), entry, active, shape, graded)
    if order is None:
        return made, source[:0]
    if isinstance(made, Words) and isinstance(storage, Words) and not len(storage.start):
        return made._replace(start=storage.start), source[:0]
    return made, source[order]


def _stored(
    kind: type[Lists] | type[Words],
    entry: Tensor,
    active: Tensor | None,
    shape: Shape,
    graded: bool,
) -> tuple[Lists | Words, Tensor | None]:
    """As `kind.of`: lists hold an entry that comes again as they hold all others, words in layers."""
    if kind is Words:
        return Words.of(entry, active, shape, graded)
    return Lists.of(entry, active, shape)


# A `Spikes` by its first fields.
Part = tuple[Shape, Lists | Words, Tensor]
AnySpikes = TypeVar("AnySpikes")


def checked_parts(parts: Any, kind: type[AnySpikes]) -> list[AnySpikes]:
    """What is to be joined, as a list of at least one `Spikes`, which `kind` is."""
    if isinstance(parts, kind):  # one can go through its samples
        raise ValueError(f"parts: expected a list of Spikes, found one: {described(parts)}")
    given = items("parts", parts, "a list of Spikes")
    for part in given:
        if not isinstance(part, kind):
            raise ValueError(f"parts: expected a list of Spikes, found {described(part)} in it")
    if not given:
        raise ValueError("parts: expected at least one Spikes, found none")
    return given


def graded_of(parts: Sequence[Any]) -> tuple[bool, float]:
    """Whether the parts joined are graded, and by which scale: that of all of them."""
    scale = parts[0].scale
    for part in parts:
        if part.scale != scale:
            raise ValueError(
                f"parts: expected one scale of all, found {scale:g} and {part.scale:g}; spikes of AvgPool2d "
                "and others go through connections of their own, whose currents add"
            )
    return any(part.graded for part in parts), scale


def side_by_side(parts: Sequence[Part], graded: bool) -> Built:
    """Spikes of (B, T, N_1), (B, T, N_2), ... as those of (B, T, N_1 + N_2 + ...)."""
    n_batch, n_step, _ = parts[0][0]
    for shape, storage, _ in parts:
        if shape[:2] != (n_batch, n_step):
            raise ValueError(
                f"parts: expected {n_batch} samples of {n_step} steps each, found {shape[:2]}"
            )
        _check_device(storage, parts[0][1])
    n_unit = sum(shape[2] for shape, _, _ in parts)
    entries, actives = [], []
    first = 0  # unit of the part
    for shape, storage, value in parts:
        for entry, moved in (
            (storage.entry(shape), entries),
            (storage.active_entry(shape)[: len(value)], actives),
        ):
            row = torch.div(entry, shape[2], rounding_mode="floor")
            moved.append(row * n_unit + first + entry % shape[2])
        first += shape[2]
    value = torch.cat([value for _, _, value in parts])
    shape = n_batch, n_step, n_unit
    return of_entries(shape, torch.cat(entries), torch.cat(actives), value, graded)


def channels_of(parts: Sequence[Any]) -> tuple[int, ...]:
    """The unit shape of parts side by side: more channels where all have the same positions, else flat."""
    shapes = [part.unit_shape for part in parts]
    positions = shapes[0][1:]
    if not positions or any(shape[1:] != positions for shape in shapes):
        return ()
    return sum(shape[0] for shape in shapes), *positions


def checked_units(unit_shape: Any, n_unit: int) -> tuple[int, ...]:
    """A unit shape of this many units, or a ValueError."""
    expected = f"(N,), (C, L) or (C, H, W) of {n_unit} units"
    try:
        sizes = tuple(integer("", size, 1) for size in items("unit_shape", unit_shape, expected))
    except ValueError:
        sizes = ()
    if not 1 <= len(sizes) <= 3 or math.prod(sizes) != n_unit:
        raise ValueError(f"unit_shape: expected {expected}, found {described(unit_shape)}")
    return sizes


def one_after_the_other(parts: Sequence[Part]) -> tuple[Built, Tensor | None]:
    """Spikes of (B_1, T, N), (B_2, T, N), ... as those of (B_1 + B_2 + ..., T, N).

    All are lists, or all words. Also the order in which their values come; see `Words.stacked`.
    """
    n_step, n_unit = parts[0][0][1:]
    for shape, storage, _ in parts:
        if shape[1:] != (n_step, n_unit):
            raise ValueError(
                f"parts: expected {n_step} steps of {n_unit} units each, found {shape[1:]}"
            )
        _check_device(storage, parts[0][1])
    shape = sum(shape[0] for shape, _, _ in parts), n_step, n_unit
    stored = [storage for _, storage, _ in parts]
    with_value = [len(value) > 0 for _, _, value in parts]
    kind: Any = type(stored[0])
    value = torch.cat([value for _, _, value in parts])
    storage, order = kind.stacked(stored, [shape for shape, _, _ in parts], with_value)
    return Built(shape, storage, value if order is None else value[order]), order


def converted(
    shape: Shape,
    storage: Lists | Words,
    value: Tensor,
    potential: Tensor | None,
    kind: type[Lists] | type[Words],
    graded: bool,
) -> tuple[Lists | Words, Tensor, Tensor | None]:
    """(storage, value, potential) of the same spikes, stored as `kind`."""
    if isinstance(storage, kind):
        return storage, value, potential
    entry, active = storage.entry(shape), None
    if storage.has_active:
        active = storage.active_entry(shape)
        if len(value) < len(active):  # words made without gradient keep the bits alone
            value, potential = torch.isin(active, entry).to(value.dtype), None
    stored, order = _stored(kind, entry, active, shape, graded)
    if order is None:
        return stored, value, potential
    return stored, value[order], None if potential is None else potential[order]


def _check_device(storage: Lists | Words, first: Lists | Words) -> None:
    if storage.device != first.device:
        raise ValueError(f"parts: expected all on {first.device}, found one on {storage.device}")


def _checked_shape(shape: Sizes) -> Shape:
    """(B, T, N) as integers, or a ValueError."""
    expected = "(B, T, N) with T >= 1 and N >= 1"
    sizes = items("shape", shape, expected)
    try:
        n_batch, n_step, n_unit = (
            integer("shape", size, i > 0) for i, size in enumerate(sizes[:4])
        )
    except ValueError:
        raise ValueError(f"shape: expected {expected}, found {described(shape)}") from None
    return n_batch, n_step, n_unit


def _tensor(value: Any) -> Tensor | None:
    """A tensor of a tensor or an array; None of anything else."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        # Torch has little for unsigned integers.
        value = value.astype(np.int64) if value.dtype.kind == "u" else np.ascontiguousarray(value)
        return torch.from_numpy(value)
    return value if isinstance(value, Tensor) else None


def _integers(name: str, value: Integers) -> Tensor:
    """1-D int64 of a tensor or an array of integers, or a ValueError."""
    index = _tensor(value)
    if (
        index is None
        or index.dim() != 1
        or index.dtype == torch.bool
        or (index.is_floating_point() or index.is_complex())
    ):
        raise ValueError(f"{name}: expected a 1-D tensor of integers, found {described(value)}")
    return index.to(torch.int64)


def _check_same_device(name: str, tensor: Tensor, beside: str, other: Tensor) -> None:
    if tensor.device != other.device:
        raise ValueError(
            f"{name}: expected it on {other.device}, as {beside}, found it on {tensor.device}"
        )


def _check_range(name: str, index: Tensor, size: int) -> None:
    """Raises a ValueError unless all values lie in [0, size)."""
    if len(index) and (int(index.min()) < 0 or int(index.max()) >= size):
        raise ValueError(
            f"{name}: expected values in [0, {size}), found {int(index.min())} to {int(index.max())}"
        )
