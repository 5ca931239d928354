"""`Spikes` as plain tensors, the form in which autograd sees them.

`value` and the four tensors of the storage:

    spike    unit of `Lists`             word of `Words`
    total    offset                      total
    active   active_unit                 active
    start    active_offset               start
"""

from __future__ import annotations

from torch import Tensor

from sparsespike.spikes.lists import Lists, Shape
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.words import Words


def tensors_of(spikes: Spikes, weight: Tensor) -> tuple[Tensor, ...]:
    """(value, spike, total, active, start); `value` in the dtype of `weight` where it is empty."""
    value = spikes.value if len(spikes.value) else spikes.value.to(weight.dtype)
    return (value, *spikes.storage)


def spikes_of(
    shape: Shape,
    value: Tensor,
    spike: Tensor,
    total: Tensor,
    active: Tensor,
    start: Tensor,
    *,
    potential: Tensor | None = None,
    unit_shape: tuple[int, ...] = (),
    graded: bool = False,
) -> Spikes:
    """The `Spikes` that these tensors are."""
    kind = Words if spike.dim() == 3 else Lists
    storage = kind(spike, total, active, start)
    return Spikes(shape, storage, value, potential, unit_shape=unit_shape, graded=graded)
