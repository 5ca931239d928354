"""What `torch.utils.data` needs beside a dataset: samples to a batch, and its wrappers undone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from sparsespike.data import recordings, store
from sparsespike.data.dataset import EventDataset
from sparsespike.spikes.arguments import described, integer, items
from sparsespike.spikes.spikes import Spikes


def collate(samples: Sequence[tuple[Spikes, int | Tensor]]) -> tuple[Spikes, Tensor]:
    """Samples as a batch: `DataLoader(dataset, 256, collate_fn=sparsespike.data.collate)`.

    Args:
        samples: (spikes, label) of each, as `dataset[i]` gives them.

    Returns:
        spikes: (B, T, N).
        label: (B,) int64.

    Raises:
        ValueError: if a sample is no such pair, or steps or units differ, or there is none.
    """
    expected = "a list of (Spikes, label)"
    given = items("samples", samples, expected)
    if not given:
        raise ValueError(f"samples: expected {expected}, found none")
    for pair in given:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], Spikes)):
            raise ValueError(f"samples: expected {expected}, found {described(pair)} in it")
        if pair[0].shape[0] != 1 or pair[0].shape[1:] != given[0][0].shape[1:]:
            raise ValueError(
                f"samples: expected (1, T, N), the same T and N of all, found {pair[0].shape}"
            )
    label = [integer("label", label, 0, 2**63) for _, label in given]
    return Spikes.stack([spikes for spikes, _ in given]), torch.tensor(label)


def joined(datasets: Sequence[EventDataset]) -> EventDataset:
    """Datasets one after the other, as one.

    Parts of one dataset go on sharing its arrays; others are copied into memory.

    Args:
        datasets: at least one, of the same sensor, classes, rounding and grid; of `meta`, what all know
            stays.

    Raises:
        ValueError: if one of these differs.
    """
    parts = items("datasets", datasets, "a list of EventDataset")
    for part in parts:
        if not isinstance(part, EventDataset):
            raise ValueError(f"datasets: expected a list of EventDataset, found {described(part)}")
    if not parts:
        raise ValueError("datasets: expected at least one EventDataset, found none")
    first = parts[0]
    for what in ("sensor", "n_classes", "rounding"):
        one = getattr(first.about, what)
        other = next((p for p in parts if getattr(p.about, what) != one), None)
        if other is not None:
            raise ValueError(
                f"datasets: expected the same {what}, found {one} of {first.name} and "
                f"{getattr(other.about, what)} of {other.name}"
            )
    if any(part.grid != first.grid for part in parts):
        raise ValueError(f"datasets: expected the same grid, found {[part.grid for part in parts]}")
    shared = first.joined_with(parts[1:])
    if shared is not None:
        return shared
    read = [part.recordings() for part in parts]
    names = [name for name in read[0].meta if all(name in part.meta for part in read)]
    whole = recordings.joined(
        [part._replace(meta={name: part.meta[name] for name in names}) for part in read]
    )
    texts = {
        field: "; ".join(dict.fromkeys(filter(None, (getattr(p.about, field) for p in parts))))
        for field in ("name", "licence", "citation")
    }
    about = dataclasses.replace(
        first.about, **texts, n_dropped=sum(part.about.n_dropped for part in parts)
    )
    return EventDataset(store.narrowed(whole, about), about, grid=first.grid)


def as_event_dataset(dataset: Any) -> EventDataset:
    """An `EventDataset` of itself, or of what `random_split`, `Subset` and `ConcatDataset` make of some.

    Raises:
        ValueError: if it is anything else.
    """
    if isinstance(dataset, EventDataset):
        return dataset
    if isinstance(dataset, Subset):
        return as_event_dataset(dataset.dataset).subset(dataset.indices)
    if isinstance(dataset, ConcatDataset):
        return joined([as_event_dataset(part) for part in dataset.datasets])
    raise ValueError(
        "dataset: expected an EventDataset, or a Subset or ConcatDataset of such, found "
        f"{described(dataset)}; for other datasets there is torch's "
        "DataLoader(dataset, collate_fn=sparsespike.data.collate)"
    )
