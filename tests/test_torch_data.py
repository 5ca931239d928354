"""Datasets of events in the hands of `torch.utils.data`."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, default_collate, random_split

from checks import assert_same_lists
from sparsespike import data
from sparsespike.data import EventDataset, EventLoader
from sparsespike.spikes.spikes import Spikes


def numbered(n: int, first: int = 0, **more) -> EventDataset:
    """n samples of two events that share a step; sample i has unit and label first + i."""
    unit = np.repeat(np.arange(first, first + n), 2)
    time, offset = np.zeros(2 * n, np.int64), np.arange(0, 2 * n + 1, 2)
    meta = {"speaker": np.arange(n) % 2}
    return EventDataset.from_arrays(
        unit, time, offset, np.arange(first, first + n), n_units=20, n_classes=20, meta=meta, **more
    )


def labels(batches) -> list[list[int]]:
    found = []
    for spikes, label in batches:
        assert isinstance(spikes, Spikes)
        assert spikes.shape == (len(label), 100, 20)
        assert spikes.unit.tolist() == label.tolist()  # the events are those of the labels
        assert spikes.n_clamped == len(label) > 0
        assert label.dtype == torch.int64
        found.append(label.tolist())
    return found


def test_items_are_samples_on_the_grid():
    mine = numbered(5)
    for i in (3, np.int64(3), torch.tensor(3), -2):
        spikes, label = mine[i]
        assert (spikes.shape, label, spikes.unit.tolist()) == ((1, 100, 20), 3, [3])
        assert type(label) is int
    assert mine.with_grid(7, dt=0.5)[0][0].shape == (1, 7, 20)
    assert mine.with_grid(7).subset([1]).select("label", 1).with_grid(8).grid.steps == 8
    assert [label for _, label in mine] == [0, 1, 2, 3, 4]
    for i in (5, -6):
        with pytest.raises(IndexError, match=f"sample {i} of 5"):
            mine[i]
    for index in (1.0, "1", [0, 1], slice(2), None, True, np.zeros(5, bool)):
        with pytest.raises(ValueError, match=r"^index: expected an integer.*subset and .batch"):
            mine[index]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("collate", [data.collate, default_collate])
def test_a_dataloader_gives_the_batches_of_a_loader(collate):
    mine = numbered(10)
    batches = list(DataLoader(mine, 4, collate_fn=collate))
    assert labels(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    for (spikes, label), (other, same) in zip(
        batches, EventLoader(mine, 4).batches(0), strict=True
    ):
        assert_same_lists(spikes, other)
        assert spikes.n_clamped == other.n_clamped == len(label)
        assert torch.equal(label, same)
    shuffled = labels(DataLoader(mine, 4, shuffle=True, collate_fn=collate))
    assert sorted(itertools.chain(*shuffled)) == list(range(10))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers(tmp_path, method):
    numbered(10).save(tmp_path / "mine.events")
    for mine in (numbered(10), EventDataset.open(tmp_path / "mine.events")):
        loader = DataLoader(
            mine, 4, num_workers=1, multiprocessing_context=method, collate_fn=data.collate
        )
        assert labels(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_parts_and_joins_of_torch():
    mine = numbered(10)
    a, b = random_split(mine, [7, 3], torch.Generator().manual_seed(0))
    assert sorted(itertools.chain(*labels(DataLoader(a, 4, collate_fn=data.collate)))) == sorted(
        a.indices
    )
    assert labels(EventLoader(a, 4)) == [a.indices[:4], a.indices[4:]]
    assert labels(EventLoader(b, 4)) == [b.indices]
    assert labels(EventLoader(Subset(a, [2, 0]), 4)) == [[a.indices[2], a.indices[0]]]
    both = ConcatDataset([b, a])
    assert labels(EventLoader(both, 20)) == [[*b.indices, *a.indices]]
    assert labels(DataLoader(both, 20, collate_fn=data.collate)) == [[*b.indices, *a.indices]]
    assert labels(EventLoader(mine + numbered(3, 10), 20)) == [list(range(13))]
    assert labels(EventLoader(Subset(ConcatDataset([mine, numbered(3, 10)]), [12, 0]), 2)) == [
        [12, 0]
    ]


def test_parts_of_one_dataset_join_without_a_copy():
    mine = numbered(10)
    whole = data.joined([mine.subset([3, 4]), mine.subset([0])])
    assert whole._recordings is mine._recordings
    assert whole.label.tolist() == [3, 4, 0]


def test_others_join_with_what_all_know():
    other = EventDataset.from_arrays(
        [19], [5], [0, 1], [7], n_units=20, n_classes=20, name="other", licence="MIT"
    )
    whole = data.joined([numbered(2), other])
    assert (whole.unit.tolist(), whole.label.tolist()) == ([0, 0, 1, 1, 19], [0, 1, 7])
    assert (whole.name, whole.about.licence, whole.meta) == ("events; other", "MIT", {})
    assert data.joined([numbered(2), numbered(1, 9)]).meta["speaker"].tolist() == [0, 1, 0]
    folded = data.joined(
        [numbered(2).transformed(data.Pool(2)), numbered(2).transformed(data.Pool(2))]
    )
    assert folded.n_units == 10


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ([], "datasets: expected at least one"),
        (None, "datasets: expected a list of EventDataset, found None"),
        ([1], "datasets: expected a list of EventDataset, found 1"),
        ([numbered(1), numbered(1).transformed(data.Pool(2))], "the same sensor, found"),
        ([numbered(1), numbered(1, rounding="nearest")], "the same rounding, found"),
        ([numbered(1), numbered(1).with_grid(3)], "the same grid, found"),
    ],
    ids=["none", "no_list", "number", "sensor", "rounding", "grid"],
)
def test_what_cannot_be_joined_is_refused(datasets, message):
    with pytest.raises(ValueError, match=message):
        data.joined(datasets)


OTHERS: Any = [1, 2]


@pytest.mark.parametrize("wrong", [None, [1], Subset(OTHERS, [0]), torch.zeros(2), "nmnist"])
def test_a_loader_of_something_else_is_refused_with_the_way_out(wrong):
    with pytest.raises(ValueError, match=r"^dataset: expected an EventDataset.*collate_fn="):
        EventLoader(wrong, 2)


@pytest.mark.parametrize(
    "samples", [None, 3, [1], [(1, 2)], [numbered(1)[0][0]], [(numbered(1)[0][0], 0, 1)]]
)
def test_collate_refuses_what_are_no_pairs(samples):
    with pytest.raises(ValueError, match=r"^samples: expected a list of \(Spikes, label\)"):
        data.collate(samples)
    with pytest.raises(ValueError, match=r"^label: expected an integer"):
        data.collate([(numbered(1)[0][0], 0.5)])  # pyright: ignore[reportArgumentType]


def test_a_loader_takes_the_grid_of_its_dataset_unless_told():
    mine = numbered(2).with_grid(30, dt=2e-3)
    assert (EventLoader(mine, 2).steps, EventLoader(mine, 2).dt) == (30, 2e-3)
    assert (EventLoader(mine, 2, steps=5).steps, EventLoader(mine, 2, steps=5).dt) == (5, 2e-3)
    assert EventLoader(numbered(2), 2).grid == (100, 1000)
