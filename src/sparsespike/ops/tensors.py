"""`Spikes` as plain tensors, the form in which ops take and give them.

`value` and the four tensors of the storage:

    spike    unit of `Lists`             word of `Words`
    total    offset                      total
    active   active_unit                 active
    start    active_offset               start
"""

from __future__ import annotations

from torch import Tensor

from sparsespike.spikes.lists import Lists
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.words import Words


def tensors_of(spikes: Spikes, weight: Tensor) -> tuple[Tensor, ...]:
    """(value, spike, total, active, start); `value` in the dtype of `weight` where it is empty."""
    value = spikes.value if len(spikes.value) else spikes.value.to(weight.dtype)
    return (value, *spikes.storage)


def is_words(spike: Tensor) -> bool:
    """Whether the storage is `Words`, else `Lists`."""
    return spike.dim() == 3


def n_batch(spike: Tensor, total: Tensor, steps: int):
    """B, of words or of lists."""
    return spike.shape[0] if is_words(spike) else (total.shape[0] - 1) // steps


def spikes_of(
    shape: tuple[int, int, int],
    value: Tensor,
    spike: Tensor,
    total: Tensor,
    active: Tensor,
    start: Tensor,
    potential: Tensor | None = None,
) -> Spikes:
    """The `Spikes` that these tensors are."""
    kind = Words if is_words(spike) else Lists
    return Spikes(shape, kind(spike, total, active, start), value, potential)


def input_of(
    value: Tensor,
    spike: Tensor,
    total: Tensor,
    active: Tensor,
    start: Tensor,
    steps: int,
    weight: Tensor,
) -> Spikes:
    """What a layer with this weight is given."""
    shape = n_batch(spike, total, steps), steps, weight.shape[1]
    return spikes_of(shape, value, spike, total, active, start)
