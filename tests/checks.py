"""Comparisons that raise, each with what was compared, by how much it is off and where.

`test_checks.py` shows of every one of them that it can fail.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsespike import Spikes

# Sums of up to a few thousand terms in another order: sqrt(n) roundings of 1.1e-16, with room.
FLOAT64 = 1e-12
# The same with roundings of 6e-8, and potentials that differ by as much before the steep surrogate.
FLOAT32 = 2e-5


def tolerance_of(dtype: torch.dtype) -> float:
    """Largest relative error that rounding alone explains."""
    return {torch.float64: FLOAT64, torch.float32: FLOAT32}[dtype]


def assert_something_happened(spikes: Spikes, *gradient: Tensor) -> None:
    """Spikes > 0, active entries > 0, no gradient zero everywhere: else nothing is tested."""
    assert spikes.n_spikes > 0, f"nothing happened: no spike in {spikes}"
    assert spikes.n_active > 0, f"nothing happened: no active entry in {spikes}"
    for i, grad in enumerate(gradient):
        assert bool((grad != 0).any()), f"nothing happened: gradient {i} is zero everywhere"


def relative_error(found: Tensor, expected: Tensor) -> float:
    """max |found - expected| / max |expected|; where expected is all zero, max |found|."""
    if not expected.numel():
        return 0.0
    largest = expected.abs().max().item()
    return (found - expected).abs().max().item() / (largest or 1.0)


def assert_close(
    found: Tensor, expected: Tensor, what: str, tolerance: float | None = None
) -> None:
    """Same shape and dtype, nothing but finite numbers, relative error <= tolerance (by dtype)."""
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    assert found.dtype == expected.dtype, f"{what}: dtype {found.dtype}, expected {expected.dtype}"
    assert bool(expected.isfinite().all()), f"{what}: the reference itself is not finite"
    assert bool(found.isfinite().all()), (
        f"{what}: found {int((~found.isfinite()).sum())} not finite"
    )
    tolerance = tolerance_of(expected.dtype) if tolerance is None else tolerance
    error = relative_error(found, expected)
    assert error <= tolerance, (
        f"{what}: relative error {error:.3g} > {tolerance:g}{_worst(found, expected)}"
    )


def assert_same_gradient(
    found: Tensor | None, expected: Tensor | None, what: str, tolerance: float | None = None
) -> None:
    """`assert_close`, and small rows count too: none is zero on one side only.

    None, the gradient of what reached nothing, stands for zero.
    """
    if found is None or expected is None:
        other = found if expected is None else expected
        present = other is not None and bool((other != 0).any())
        assert not present, f"{what}: a gradient on one side only"
        return
    assert_close(found, expected, what, tolerance)
    if expected.dim() < 2 or not expected.numel():
        return
    floor = 1e-7 * expected.abs().max()  # beneath it a row is cancellation
    for side, other, name in ((found, expected, "found"), (expected, found, "expected")):
        lost = (side == 0).flatten(1).all(1) & (other.abs().flatten(1).amax(1) > floor)
        assert not bool(lost.any()), (
            f"{what}: rows {lost.nonzero()[:, 0].tolist()} zero in {name} only"
        )


def assert_same_lists(found: Spikes, expected: Spikes, what: str = "spikes") -> None:
    """The same spikes and the same active entries, bit by bit; potentials there within rounding."""
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    for name in ("offset", "unit", "active_offset", "active_unit", "value"):
        left, right = getattr(found, name), getattr(expected, name)
        assert left.dtype == right.dtype, f"{what}.{name}: {left.dtype}, expected {right.dtype}"
        assert torch.equal(left, right), f"{what}.{name}: {_first_difference(left, right)}"
    if expected.potential is None:
        assert found.potential is None, f"{what}.potential: expected None"
        return
    assert found.potential is not None, f"{what}.potential: found None"
    # About a threshold of zero all of them are near zero, and their rounding is that of what they are sums
    # of: weights and resets of about one unit of potential.
    largest = expected.potential.abs().max().item() if len(expected.potential) else 1.0
    allowed = tolerance_of(expected.potential.dtype) * max(1.0, 1.0 / (largest or 1.0))
    assert_close(found.potential, expected.potential, f"{what}.potential", allowed)


def assert_well_formed(spikes: Spikes) -> None:
    """Both lists ascend within rows, in range; `value` is the spike at each active entry.

    Of graded spikes units may come again, and the values of one are those of some of its spikes.
    """
    n_batch, n_step, n_unit = spikes.shape
    rows = n_batch * n_step
    for name, unit, offset in (
        ("unit", spikes.unit, spikes.offset),
        ("active_unit", spikes.active_unit, spikes.active_offset),
    ):
        assert unit.dtype == torch.int32, f"{name}: expected int32, found {unit.dtype}"
        assert offset.dtype == torch.int64, f"{name}: expected int64 bounds, found {offset.dtype}"
        if name == "active_unit" and not len(offset):
            assert not len(unit), "active_unit: entries without bounds"
            continue
        assert offset.shape == (rows + 1,), f"{name}: {len(offset)} bounds, expected {rows + 1}"
        assert int(offset[0]) == 0, f"{name}: bounds start at {int(offset[0])}"
        assert int(offset[-1]) == len(unit), f"{name}: bounds end at {int(offset[-1])}"
        assert bool((offset.diff() >= 0).all()), f"{name}: bounds descend"
        key = torch.repeat_interleave(offset.diff()) * n_unit + unit
        apart = 0 if spikes.graded else 1
        assert bool((key.diff() >= apart).all()), f"{name}: units do not ascend within rows"
        inside = bool(((unit >= 0) & (unit < n_unit)).all())
        assert inside, f"{name}: units outside [0, {n_unit})"
    assert len(spikes.value) == len(spikes.active_unit), "value: another length than active_unit"
    fired = torch.zeros(rows * n_unit, dtype=spikes.value.dtype)
    if spikes.graded:
        fired = torch.bincount(spikes.row() * n_unit + spikes.unit, minlength=len(fired))
        entry, value = spikes.active_row() * n_unit + spikes.active_unit, spikes.value.detach()
        assert bool(((value == 0) | (value == 1)).all()), "value: neither 0 nor 1"
        summed = torch.zeros(len(fired), dtype=value.dtype).index_add(0, entry, value)
        assert bool((summed <= fired).all()), "value: more than the spikes at active entries"
        return
    fired[spikes.row() * n_unit + spikes.unit] = 1
    at_active = fired[spikes.active_row() * n_unit + spikes.active_unit]
    assert torch.equal(spikes.value.detach(), at_active), "value: not the spikes at active entries"


def _worst(found: Tensor, expected: Tensor) -> str:
    index = int((found - expected).abs().argmax())
    where = tuple(int(i) for i in torch.unravel_index(torch.tensor(index), expected.shape))
    return f" at {where}: {found.flatten()[index].item()} for {expected.flatten()[index].item()}"


def _first_difference(found: Tensor, expected: Tensor) -> str:
    if found.shape != expected.shape:
        return f"{found.shape[0]} entries, expected {expected.shape[0]}"
    index = int((found != expected).nonzero()[0, 0])
    return f"differs first at {index}: {found[index].item()} for {expected[index].item()}"
