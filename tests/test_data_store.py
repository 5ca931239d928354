"""Event datasets: arrays are checked by name, files are whole, parts are disjoint."""

import json
import math
import os
import pickle
import resource
import time

import numpy as np
import pytest
import torch

from sparsespike.data import EventDataset, store
from test_data import STORES, assert_batch, drawn

# ---- arrays and files --------------------------------------------------------------------------

GOOD = {
    "unit": np.array([0, 1, 4]),
    "time": np.array([5, 0, 7]),
    "offset": np.array([0, 1, 3]),
    "label": np.array([0, 1]),
    "n_units": 5,
    "n_classes": 2,
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unit", np.array([0, 1, 5])),
        ("unit", np.array([0, -1, 4])),
        ("unit", np.array([0.0, 1.0, 4.0])),
        ("unit", np.array([[0, 1, 4]])),
        ("time", np.array([5, 0])),
        ("time", np.array([5, -1, 7])),
        ("time", np.array([5, 0, 2**63], np.uint64)),
        ("offset", np.array([0, 3])),
        ("offset", np.array([1, 2, 3])),
        ("offset", np.array([0, 1, 2])),
        ("offset", np.array([0, 4, 3])),
        ("label", np.array([0, 2])),
        ("label", np.array([True, False])),
        ("n_units", 0),
        ("n_units", 2**26),
        ("n_classes", 0),
        ("rounding", "ceil"),
    ],
)
def test_bad_arrays_are_named(name, value):
    if name == "offset" and value.tolist() == [0, 4, 3]:
        value = np.array([0, 3, 1, 3])
        given = {**GOOD, "label": np.array([0, 1, 0]), name: value}
    else:
        given = {**GOOD, name: value}
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        EventDataset.from_arrays(**given)


def test_arrays_are_kept_in_the_smallest_types():
    events = EventDataset.from_arrays(**GOOD)
    assert (events.unit.dtype, events.time.dtype) == (np.uint16, np.int32)
    events = EventDataset.from_arrays(
        **{**GOOD, "n_units": 70_000, "time": np.array([0, 2**31, 2**62])}
    )
    assert (events.unit.dtype, events.time.dtype) == (np.int32, np.int64)
    assert events.time.tolist() == [0, 2**31, 2**62]


def assert_same(one: EventDataset, other: EventDataset) -> None:
    assert one.about == other.about
    for name in store.DTYPES:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype


@STORES
def test_an_opened_dataset_is_the_saved_one(tmp_path, n_units, time_scale):
    events = drawn(n_units=n_units, time_scale=time_scale, rounding="nearest")
    events.save(tmp_path / "events.safetensors")
    opened = EventDataset.open(tmp_path / "events.safetensors")
    assert_same(opened, events)
    assert (opened.path, events.path) == (tmp_path / "events.safetensors", None)
    assert_batch(opened, [4, 1], 8, 1000 * time_scale)


def test_a_dataset_without_samples_can_be_kept(tmp_path):
    empty = drawn().subset([])
    empty.save(tmp_path / "empty.safetensors")
    opened = EventDataset.open(tmp_path / "empty.safetensors")
    assert (len(opened), opened.n_events, opened.n_units) == (0, 0, 5)
    assert opened.batch([], steps=3)[0].shape == (0, 3, 5)
    assert opened.count(3) == (0, 0, 0, 0)


def test_a_dataset_can_be_saved_over_the_file_it_is_mapped_from(tmp_path):
    path = tmp_path / "events.safetensors"
    drawn().save(path)
    opened = EventDataset.open(path)
    opened.subset([1, 5]).save(path)
    assert_same(EventDataset.open(path), drawn().subset([1, 5]))
    assert_same(opened, drawn())


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "events.safetensors"
    drawn().save(path)
    before = path.read_bytes()
    for name in ("replace", "fsync"):
        with monkeypatch.context() as broken:
            broken.setattr(os, name, lambda *_: (_ for _ in ()).throw(OSError("disk full")))
            with pytest.raises(OSError, match="cannot save"):
                drawn(seed=1).save(path)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="cannot save"):
        drawn().save(tmp_path / "no folder" / "events.safetensors")


def rich_dataset(n=12, seed=0) -> EventDataset:
    plain = drawn(n, seed=seed)
    return EventDataset.from_arrays(
        plain.unit,
        plain.time,
        plain.offset,
        plain.label,
        n_units=8,
        n_classes=3,
        sensor=(2, 2, 2),
        classes=("a", "b", "ç"),
        meta={"speaker": np.arange(n), "age": np.arange(n)[::-1] - 5},
    )


def test_what_else_is_known_is_kept(tmp_path):
    events = rich_dataset()
    events.save(tmp_path / "events")
    opened = EventDataset.open(tmp_path / "events")
    assert_same(opened, events)
    assert (opened.about.sensor, opened.about.classes) == ((2, 2, 2), ("a", "b", "ç"))
    assert list(opened.meta) == ["age", "speaker"]
    assert opened.subset([3, 0]).meta["age"].tolist() == [3, 6]
    opened.verify()


@pytest.mark.parametrize("piece", [1, 7, 10**6])
@pytest.mark.parametrize("time_scale", [1, 10**8], ids=["int32", "int64"])
def test_parts_are_written_one_after_the_other(tmp_path, monkeypatch, piece, time_scale):
    monkeypatch.setattr(store, "PIECE", piece)
    whole = drawn(12, time_scale=time_scale)
    parts = [drawn(12), whole, whole.subset([]), whole.subset([5, 2])]
    store.write(tmp_path / "joined", [part.recordings() for part in parts], whole.about)
    found = EventDataset.open(tmp_path / "joined")
    assert found.time.dtype == (np.int32 if time_scale == 1 else np.int64)
    for name in ("unit", "time", "label"):
        expected = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(getattr(found, name), expected)
    lengths = np.concatenate([np.diff(part.offset) for part in parts])
    np.testing.assert_array_equal(np.diff(found.offset), lengths)
    found.verify()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sensor", (2, 2, 3)),
        ("sensor", (4, 2)),
        ("classes", ("a", "b")),
        ("meta 'speaker'", np.zeros(11, np.int64)),
        ("meta 'speaker'", np.zeros(12)),
    ],
)
def test_bad_facts_are_named(name, value):
    plain = drawn(12)
    given_ = {"meta": {"speaker": value}} if name.startswith("meta") else {name: value}
    arrays = (plain.unit, plain.time, plain.offset, plain.label)
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        EventDataset.from_arrays(*arrays, n_units=8, n_classes=3, **given_)  # pyright: ignore[reportArgumentType]


def test_opening_reads_nothing_of_the_arrays(tmp_path):
    """A file of 4 GiB of nothing, which takes no room on the disk, opens at once."""
    n = 2**28
    sizes = {"offset": n + 1, "label": n, "time": 0, "unit": 0}
    entries: dict[str, object] = {}
    end = 0
    for name, size in sizes.items():
        kind, item = {"time": ("I32", 4), "unit": ("U16", 2)}.get(name, ("I64", 8))
        entries[name] = {"dtype": kind, "shape": [size], "data_offsets": [end, end + size * item]}
        end += size * item
    about = {"name": "x", "n_units": 1, "n_classes": 1}
    entries["__metadata__"] = {"format": store.FORMAT, "about": json.dumps(about)}
    text = json.dumps(entries).encode()
    with open(tmp_path / "large", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = EventDataset.open(tmp_path / "large")
    assert time.perf_counter() - start < 1, "0.01 s on a quiet machine"
    assert (len(found), found.n_events) == (n, 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 2**10


def test_pickling_sends_events_in_memory_and_the_path_of_a_file(tmp_path):
    events = drawn(400)
    path = tmp_path / "events.safetensors"
    events.save(path)
    mapped = EventDataset.open(path).subset(range(1, 400))
    mapped.batch([0], steps=5)
    sent = pickle.dumps(mapped)
    assert len(sent) < len(pickle.dumps(events)) / 2
    assert_same(pickle.loads(pickle.dumps(events)), events)
    assert_same(pickle.loads(sent), mapped)
    drawn(3).save(path)
    with pytest.raises(ValueError, match="was replaced by that of another dataset"):
        pickle.loads(sent)


def test_workers_of_torch_share_a_mapped_dataset(tmp_path):
    drawn(8).save(tmp_path / "events")
    events = EventDataset.open(tmp_path / "events")
    loader = torch.utils.data.DataLoader(
        range(8),  # pyright: ignore[reportArgumentType]
        batch_size=2,
        collate_fn=lambda index: events.batch(index, 5),
        num_workers=2,
    )
    for number, (spikes, label) in enumerate(loader):
        index = range(2 * number, 2 * number + 2)
        assert torch.equal(spikes.to_dense(), events.batch(index, 5)[0].to_dense())
        assert label.tolist() == events.label[index].tolist()


# ---- parts -------------------------------------------------------------------------------------


def test_a_subset_is_its_samples():
    events = drawn()
    part = events.subset([7, 1, 1]).subset([2, 0])
    assert len(part) == 2
    for i, j in ((0, 1), (1, 7)):
        mine, theirs = (slice(d.offset[k], d.offset[k + 1]) for d, k in ((part, i), (events, j)))
        np.testing.assert_array_equal(part.unit[mine], events.unit[theirs])
        np.testing.assert_array_equal(part.time[mine], events.time[theirs])
    assert part.label.tolist() == events.label[[1, 7]].tolist()
    assert part.n_events == part.offset[-1] == len(part.unit)
    assert_batch(part, [1, 0], 8, 1000)


def labelled(label: np.ndarray) -> EventDataset:
    n = len(label)
    times = np.arange(n)  # sample i has its number as time
    return EventDataset.from_arrays(
        np.zeros(n, np.int64), times, np.arange(n + 1), label, n_units=1, n_classes=10
    )


@pytest.mark.parametrize("share", [0.1, 0.26, 0.5, 0.9])
def test_split_is_stratified_disjoint_and_seeded(share):
    counts = np.array([100, 40, 20, 0, 10, 10, 10, 10, 10, 10])
    label = np.random.default_rng(0).permutation(np.repeat(np.arange(10), counts))
    events = labelled(label)
    training, validation = events.split(share, seed=3)
    assert sorted([*training.time, *validation.time]) == list(range(len(label)))
    for part in (training, validation):
        assert (np.diff(part.time) > 0).all(), "in the order of the whole"
        np.testing.assert_array_equal(part.label, label[part.time])
    held_out = np.bincount(validation.label, minlength=10)
    assert held_out.tolist() == [round(share * n) for n in counts]
    again = events.split(share, seed=3)
    assert_same(again[1], validation)
    assert again[0].time.tolist() == training.time.tolist()
    if share < 0.9:
        assert events.split(share, seed=4)[1].time.tolist() != validation.time.tolist()


@pytest.mark.parametrize(
    ("name", "share", "seed"),
    [
        ("share", 0.0, 0),
        ("share", 1.0, 0),
        ("share", math.nan, 0),
        ("share", 0.01, 0),
        ("seed", 0.5, -1),
    ],
)
def test_a_bad_split_is_named(name, share, seed):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        labelled(np.zeros(5, np.int64)).split(share, seed)


def test_repr_says_what_it_is(tmp_path):
    path = tmp_path / "events.safetensors"
    drawn().save(path)
    events = EventDataset.open(path)
    assert repr(events).startswith("EventDataset(events: 12 samples, 5 units, 3 classes, ")
    assert f"mapped from {path}" in repr(events)
    assert "part of" in repr(events.subset([0]))
    assert "in memory" in repr(drawn())
