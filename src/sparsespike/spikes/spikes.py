"""Events and `Spikes`: what layers pass to each other (storage of the sparse quantities in eq. 7-12).

A batch of spike trains is stored as ragged lists (`lists.py`, on the CPU) or as bits packed along time
(`words.py`, on the GPU): which entries, (sample, step, unit), hold a spike, and which are *active* (eq. 7).
`value` holds the spike, 0 or 1, at each active entry, in the storage's order. It is the only tensor that
autograd sees between layers: its gradient is ε (eq. 12) at the active entries, n_active numbers, never
batch x time x unit. What only reads a batch is in `reading.py`; here it is built, moved and cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import register_pytree_node
from torch.utils.data._utils.collate import default_collate_fn_map

from sparsespike.spikes import building
from sparsespike.spikes.indexing import Index, chosen
from sparsespike.spikes.lists import Lists, Shape
from sparsespike.spikes.reading import Reading
from sparsespike.spikes.words import Words


@dataclass(frozen=True, eq=False, repr=False)
class Spikes(Reading):
    """A batch of spike trains as events, with the entries through which gradients go.

    The constructor trusts its arguments: it is meant for backends. Build from your own data with
    `from_dense`, `from_events` or `from_lists`, which check everything once.

    Attributes:
        shape: (B, T, N), samples, steps, units.
        storage: which entries hold a spike, and which are active: `Lists` on the CPU, `Words` on a GPU.
        value: (n_active,) float, the spike (0 or 1) at each active entry; carries the gradient. Empty on
            a GPU where none is recorded (`torch.no_grad`).
        potential: like `value`, the membrane potential there (no gradient), or None.
        n_clamped: how many duplicate events of one (sample, step, unit) were clamped to one spike.
        n_late: how many events came at step T or later, and are not among the spikes.
        unit_shape: how the N units are laid out, flattened in this order: (N,), (C, L) or (C, H, W).
        graded: whether an entry may come several times, as in sums over windows: its number is how often,
            times `scale`. `value` is that of each source. Lists name it again, words have more layers.
        scale: of the numbers; 1.0 unless graded. Connections multiply their weights by it.
        lost: (B, 2) int64 on the CPU, `n_clamped` and `n_late` of each sample, so that a part of a batch
            has its own; None where only their sums are known.
    """

    shape: Shape
    storage: Lists | Words
    value: Tensor = field(default_factory=lambda: torch.empty(0))
    potential: Tensor | None = None
    n_clamped: int = 0
    n_late: int = 0
    lost: Tensor | None = None
    unit_shape: tuple[int, ...] = ()
    graded: bool = False
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.unit_shape:
            object.__setattr__(self, "unit_shape", (self.shape[2],))

    # ---- building ------------------------------------------------------------------------------

    @classmethod
    def from_lists(
        cls, unit: building.Integers, offset: building.Integers, shape: building.Sizes
    ) -> Spikes:
        """Spikes from ragged lists, checked.

        Args:
            unit: (n_spikes,) integers in [0, N), strictly ascending within each row; tensor or array.
            offset: (B*T + 1,) integers, from 0 to n_spikes, never descending; row = sample * T + step.
            shape: (B, T, N), each >= 1 (B >= 0).

        Raises:
            ValueError: naming the argument that breaks one of these rules.
        """
        spikes = cls(*building.of_lists(unit, offset, shape))
        return spikes.to(spikes.device)  # lists on a GPU become words

    @classmethod
    def from_dense(
        cls,
        dense: Tensor | NDArray[Any],
        *,
        time_first: bool = False,
        active: Tensor | NDArray[np.bool_] | None = None,
    ) -> Spikes:
        """Spikes from a dense tensor of 0 and 1.

        Args:
            dense: (B, T, N), (B, T, C, L) or (B, T, C, H, W), or (T, B, ...) with `time_first`; tensor or
                array of any dtype. If it requires a gradient, every entry counts as active unless `active`
                says otherwise.
            time_first: whether time is the first dimension.
            active: bool, the shape of `dense`: the entries whose gradient is wanted.

        Raises:
            ValueError: if an entry is neither 0 nor 1 (NaN included) or a shape is wrong.
        """
        built, unit_shape = building.of_dense(dense, time_first, active)
        return cls(*built, unit_shape=unit_shape)

    @classmethod
    def from_events(
        cls,
        sample: building.Integers,
        step: building.Integers,
        unit: building.Integers,
        *,
        shape: building.Sizes,
        drop_late: bool = False,
    ) -> Spikes:
        """Spikes from (sample, step, unit) triples in any order; duplicates are clamped and counted.

        Args:
            sample: (n,) integers in [0, B), tensor or array, as the next two.
            step: (n,) integers in [0, T), or >= 0 with `drop_late`.
            unit: (n,) integers in [0, N).
            shape: (B, T, N).
            drop_late: whether events at step T or later are dropped and counted, not refused.

        Returns:
            Spikes whose `n_clamped` is the number of events that shared their entry with another,
            and `n_late` that of the events dropped.

        Raises:
            ValueError: naming the argument that is out of range, of another length or not integer.
        """
        built, lost = building.of_events(sample, step, unit, shape, drop_late)
        n_clamped, n_late = lost.sum(0).tolist()
        return cls(*built, n_clamped=n_clamped, n_late=n_late, lost=lost)

    @staticmethod
    def cat(parts: Sequence[Spikes]) -> Spikes:
        """Concatenates along units: (B, T, N_1), (B, T, N_2), ... -> (B, T, N_1 + N_2 + ...).

        Where all are of one height and width, that is along channels: (C_1, H, W), (C_2, H, W), ... ->
        (C_1 + C_2 + ..., H, W). Else the units lie flat.

        Raises:
            ValueError: if `parts` is empty, or samples, steps or scales differ.
        """
        parts = building.checked_parts(parts, Spikes)
        graded = building.graded_of(parts)
        built = building.side_by_side([(p.shape, p.storage, p.value) for p in parts], graded[0])
        lost = [part.lost for part in parts if part.lost is not None]
        by_sample = torch.stack(lost).sum(0) if len(lost) == len(parts) else None
        n_clamped, n_late = sum(p.n_clamped for p in parts), sum(p.n_late for p in parts)
        unit_shape = building.channels_of(parts)
        return Spikes(*built, None, n_clamped, n_late, by_sample, unit_shape, *graded)

    @staticmethod
    def stack(parts: Sequence[Spikes]) -> Spikes:
        """Joins samples to a batch: (B_1, T, N), (B_2, T, N), ... -> (B_1 + B_2 + ..., T, N).

        Stored as the first part is; differentiable. Visits events only: O(n_spikes + n_active + B T).

        Raises:
            ValueError: if `parts` is empty, or steps, units, devices or scales differ.
        """
        parts = building.checked_parts(parts, Spikes)
        parts = [part._as(type(parts[0].storage)) for part in parts]
        graded = building.graded_of(parts)
        built, order = building.one_after_the_other([(p.shape, p.storage, p.value) for p in parts])
        of_parts = [p.potential for p in parts if p.potential is not None]
        potential = torch.cat(of_parts) if len(of_parts) == len(parts) else None
        if potential is not None and len(potential) != len(built.value):
            potential = None
        if potential is not None and order is not None:
            potential = potential[order]
        lost = [part.lost for part in parts if part.lost is not None]
        by_sample = torch.cat(lost) if len(lost) == len(parts) else None
        n_clamped, n_late = sum(p.n_clamped for p in parts), sum(p.n_late for p in parts)
        alike = all(part.unit_shape == parts[0].unit_shape for part in parts)
        unit_shape = parts[0].unit_shape if alike else ()
        return Spikes(*built, potential, n_clamped, n_late, by_sample, unit_shape, *graded)

    # ---- moving and converting -----------------------------------------------------------------

    def to(self, target: torch.device | str | torch.dtype) -> Spikes:
        """The same spikes on another device, as its backend stores them; or `value` in another dtype."""
        if isinstance(target, torch.dtype):
            if not target.is_floating_point:
                raise ValueError(f"target: expected a device or a floating dtype, found {target}")
            potential = None if self.potential is None else self.potential.to(target)
            return replace(self, value=self.value.to(target), potential=potential)
        try:
            device = torch.device(target)
        except (TypeError, RuntimeError):
            raise ValueError(
                f"target: expected a device or a floating dtype, found {target!r}"
            ) from None
        moved = self
        if device.type != self.device.type or device.index not in (None, self.device.index):
            moved = replace(
                self,
                storage=self.storage.to(device),
                value=self.value.to(device),
                potential=None if self.potential is None else self.potential.to(device),
            )
        return moved.to_words() if device.type == "cuda" else moved.to_lists()

    def to_lists(self) -> Spikes:
        """The same spikes as `Lists`, on the same device; differentiable."""
        return self._as(Lists)

    def to_words(self) -> Spikes:
        """The same spikes as `Words`, on the same device; differentiable."""
        return self._as(Words)

    def _as(self, kind: type[Lists] | type[Words]) -> Spikes:
        storage, value, potential = building.converted(
            self.shape, self.storage, self.value, self.potential, kind, self.graded
        )
        return replace(self, storage=storage, value=value, potential=potential)

    def with_unit_shape(self, unit_shape: Sequence[int]) -> Spikes:
        """The same spikes, their units laid out anew: `spikes.with_unit_shape((2, 34, 34))`.

        Args:
            unit_shape: (N,), (C, L) or (C, H, W) whose product is N.

        Raises:
            ValueError: if it is none of these.
        """
        return replace(self, unit_shape=building.checked_units(unit_shape, self.shape[2]))

    def at_entries(
        self,
        entry: Tensor,
        active: Tensor | None,
        source: Tensor,
        unit_shape: tuple[int, ...] | None = None,
        graded: bool | None = None,
    ) -> Spikes:
        """Spikes of as many samples and steps at other entries, stored alike; not checked, for modules.

        Args:
            entry: (n,) int64, distinct unless graded: the flat indices (b * T + t) * N + n that hold a spike.
            active: (m,) int64, distinct unless graded: those that are active; None for plain spikes.
            source: (m,) int64, the active entry here, in the order of `value`, from which each takes its
                value and potential, and to which its gradient goes.
            unit_shape: of the new spikes; None: as here.
            graded: whether an entry may come several times; None: as here.
        """
        graded = self.graded if graded is None else graded
        unit_shape = unit_shape or self.unit_shape
        shape = *self.shape[:2], math.prod(unit_shape)
        storage, kept = building.moved(self.storage, entry, active, source, shape, graded)
        potential = None if self.potential is None else self.potential[kept]
        return replace(
            self,
            shape=shape,
            storage=storage,
            value=self.value.index_select(0, kept),
            potential=potential,
            unit_shape=unit_shape,
            graded=graded,
        )

    def detach(self) -> Spikes:
        """The same spikes, without history and without active set."""
        nothing = self.value.new_empty(0)
        return replace(self, storage=self.storage.plain(), value=nothing, potential=None)

    # ---- parts ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Spikes]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Index) -> Spikes:
        """Some samples, `spikes[samples]`, or some steps of them, `spikes[samples, steps]`.

        Differentiable. A slice of samples alone is a view, but of graded words; everything else is a copy.

        Args:
            index: samples are an int (which gives a batch of one), a slice, a list or 1-D array or
                tensor of ints (which may repeat), or a mask of B bools. Steps are an int (which gives
                one step) or a slice of step 1.

        Returns:
            (b, t, N). Its `n_clamped` and `n_late` are those of the samples, whatever the steps, where
            they are known by sample, as of a data set's batch; else those of the whole.

        Raises:
            IndexError: if a sample or a step is out of range.
            ValueError: if the index is of another kind, or leaves no step.
        """
        samples, start, stop = chosen(index, self.shape)
        part = self._samples(samples)
        if (start, stop) == (0, self.shape[1]):
            return part
        storage, kept = part.storage.steps(start, stop, part.shape)
        return part._kept((part.shape[0], stop - start, part.shape[2]), storage, kept)

    def _samples(self, samples: slice | Tensor) -> Spikes:
        if isinstance(samples, slice):
            n = samples.stop - samples.start
            storage, kept = self.storage.samples(samples.start, samples.stop, self.shape)
        else:
            n = len(samples)
            storage, kept = self.storage.taken(samples.to(self.device), self.shape)
        part = self._kept((n, *self.shape[1:]), storage, kept)
        totals = [self.n_clamped, self.n_late]
        if self.lost is None or self.lost.sum(0).tolist() != totals:
            return part
        lost = self.lost[samples]
        n_clamped, n_late = lost.sum(0).tolist()
        return replace(part, n_clamped=n_clamped, n_late=n_late, lost=lost)

    def _kept(self, shape: Shape, storage: Lists | Words, kept: slice | Tensor) -> Spikes:
        potential = None if self.potential is None else self.potential[kept]
        return replace(
            self, shape=shape, storage=storage, value=self.value[kept], potential=potential
        )

    # ---- keeping -------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # Workers and caches want the events; a gradient history cannot leave its process.
        potential = None if self.potential is None else _alone(self.potential)
        return dict(self.__dict__) | {
            "storage": type(self.storage)(*(_alone(part) for part in self.storage)),
            "value": _alone(self.value.detach()),
            "potential": potential,
            "lost": None if self.lost is None else _alone(self.lost),
        }


def _collate(batch: list[Spikes], *, collate_fn_map: object = None) -> Spikes:
    """What `torch.utils.data.default_collate` does with samples: they are joined to a batch."""
    return Spikes.stack(batch)


default_collate_fn_map[Spikes] = _collate
# DistributedDataParallel and fully_shard look for tensors with a gradient in what a module gives.
register_pytree_node(
    Spikes,
    lambda spikes: ([spikes.value], spikes),
    lambda leaves, spikes: replace(spikes, value=next(iter(leaves))),
    serialized_type_name="sparsespike.Spikes",
)


def _alone(part: Tensor) -> Tensor:
    """A slice by itself, not with the batch it looks into."""
    return part.clone() if part.untyped_storage().nbytes() > part.nbytes else part
