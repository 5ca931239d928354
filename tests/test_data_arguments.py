"""Arguments of data: taken where the meaning is clear, else refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sparsespike import data
from sparsespike.data import EventDataset, EventLoader, encoders

EVENTS = np.zeros(3, [("x", "u2"), ("y", "u2"), ("p", "?"), ("t", "i8")])


def events(**more: Any) -> EventDataset:
    given: dict[str, Any] = {
        "events": [EVENTS, EVENTS],
        "label": [0, 1],
        "sensor": (2, 8, 8),
        "n_classes": 2,
    }
    return EventDataset.from_events(**{**given, **more})


def loader(**more: Any) -> EventLoader:
    return EventLoader(**{"dataset": events(), "batch_size": 2, **more})


CLEAR: dict[str, list[Any]] = {
    "sensor": [np.array([2, 8, 8]), [2, 8, 8], torch.tensor([2, 8, 8]), (np.int64(2), 8, 8)],
    "label": [np.array([0, 1], np.int32), torch.tensor([0, 1]), (0, 1), np.array([0, 1], np.uint8)],
    "n_classes": [np.int64(2), np.uint8(2), torch.tensor(2)],
    "events": [(EVENTS, EVENTS), np.stack([EVENTS, EVENTS])],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, many in CLEAR.items() for v in many])
def test_what_is_clear_is_taken(name, value):
    made = events(**{name: value})
    assert made.about == events().about
    assert made.n_events == 6
    assert made.label.tolist() == [0, 1]


INTEGERS = [np.int64(1), np.uint8(1), np.int32(1), torch.tensor(1), np.array(1)]


@pytest.mark.parametrize("value", INTEGERS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", ["batch_size", "steps", "seed"])
def test_integers_of_a_loader(name, value):
    made = loader(**{name: value})
    assert type(getattr(made, name)) is int
    assert len(next(iter(made))[1]) == made.batch_size


@pytest.mark.parametrize("dt", [np.float32(1e-3), np.float64(1e-3), torch.tensor(1e-3)])
def test_a_step_of_32_bits_is_that_of_64(dt):
    assert loader(dt=dt).dt == 1e-3
    assert events().count(100, dt) == events().count(100, 1e-3)
    for other in (np.float32(1.0000005), np.float32(1.5e-6), np.float16(1e-3)):
        with pytest.raises(ValueError, match=r"^dt: expected a whole number of microseconds"):
            loader(dt=other)


WRONG: dict[str, list[Any]] = {
    "batch_size": [0, -1, 2.0, "2", None, True, [2], np.float32(2)],
    "steps": [0, 1.5, "100", [100], True, torch.tensor(1.0)],
    "seed": [-1, 0.5, None, "0", [0]],
    "dt": [0, -1e-3, "1e-3", [1e-3], float("nan"), float("inf"), True],
    "shuffle": ["yes", 1, None],
    "augment": [data.Shift(1), "Shift", [1], [data.Shift], 3],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, many in WRONG.items() for v in many])
def test_others_of_a_loader_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*found"):
        loader(**{name: value})


WRONG_EVENTS: dict[str, list[Any]] = {
    "label": [[0], [0, 1, 1], 0, [0.0, 1.0], [[0, 1]], None, "ab", [0, 2], [-1, 0]],
    "sensor": [4, (2, 8), (2, 8.0, 8), "288", None, (0, 8, 8), np.zeros((2, 2), int)],
    "n_classes": [0, 2.0, "2", None, True],
    "events": [None, 3, "events"],
    "rounding": ["up", None, 1],
    "origin": ["start", None, 0],
}


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, many in WRONG_EVENTS.items() for v in many]
)
def test_others_of_a_dataset_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*found"):
        events(**{name: value})


def test_from_dense_takes_arrays_and_refuses_by_name():
    dense = np.ones((1, 3, 2))
    for given in (dense, torch.from_numpy(dense), dense.astype(bool), dense.astype(np.int32)):
        assert EventDataset.from_dense(given, [0], n_classes=2).n_events == 6
    spikes: Any
    for spikes in (dense[0], dense * 2, None, [[[1]]], 1, dense.astype(str)):
        with pytest.raises(
            ValueError, match=r"^spikes: expected 0 and 1 of shape \(n, T, N\), found"
        ):
            EventDataset.from_dense(spikes, [0], n_classes=2)
    with pytest.raises(
        ValueError, match=r"^label: expected 1 integers, one for each sample, found 2"
    ):
        EventDataset.from_dense(dense, [0, 1], n_classes=2)


def test_select_takes_one_or_many():
    for one in (
        1,
        np.int64(1),
        torch.tensor(1),
        [1],
        {1},
        range(1, 2),
        np.array([1]),
        torch.tensor([1]),
    ):
        assert events().select("label", one).label.tolist() == [1]  # pyright: ignore
    wrong: Any
    for wrong in ("1", 1.0, None, [0.5], ["a"]):
        with pytest.raises(ValueError, match=r"^values: expected .*found"):
            events().select("label", wrong)
    with pytest.raises(
        ValueError, match=r"^what: expected one of label, found 'labels'; did you mean"
    ):
        events().select("labels", 1)


def test_indices_and_shares():
    mine = events(events=[EVENTS] * 4, label=[0, 0, 1, 1])
    assert len(mine.subset(torch.tensor([1, 0]))) == len(mine.subset(range(2))) == 2
    assert [len(part) for part in mine.split(np.float32(0.5), np.int64(0))] == [2, 2]
    wrong: Any
    for wrong in (1, None, "01", [0.5], [[0]], [4], [True, False, True, False]):
        with pytest.raises(ValueError, match=r"^index: expected .*found"):
            mine.subset(wrong)
        with pytest.raises(ValueError, match=r"^index: expected .*found"):
            mine.batch(wrong, 10)
    for wrong in (0, 1, 2, "half", None, [0.5]):
        with pytest.raises(ValueError, match=r"^share: expected .*found"):
            mine.split(wrong, 0)
    for wrong in (data.FoldPolarity, 3, [data.FoldPolarity()], None, "FoldPolarity"):
        with pytest.raises(ValueError, match=r"^transforms: expected .*found"):
            mine.transformed(wrong)


@pytest.mark.parametrize("kind", [data.EventDrop, data.UnitDrop, data.TimeJitter, data.TimeShift])
def test_numbers_of_augmentations(kind):
    made: Any
    for made in (np.float64(0.5), np.array(0.5), torch.tensor(0.5)):
        assert kind(made) == kind(0.5)
    for made in ("0.5", None, [0.5], True, torch.zeros(2)):
        with pytest.raises(ValueError, match=rf"^{kind.__name__}: expected .*found"):
            kind(made)


@pytest.mark.parametrize("kind", [data.Pool, data.Shift, data.OnePolarity])
def test_integers_of_transforms(kind):
    made: Any
    for made in INTEGERS:
        assert kind(made) == kind(1)
    for made in ("1", None, 1.0, [1], True, -1):
        with pytest.raises(ValueError, match=rf"^{kind.__name__}: expected .*found"):
            kind(made)


@pytest.mark.parametrize("value", [None, 3, [[0.5]], torch.zeros(1, 2)])
def test_encoders_refuse_what_is_no_array(value):
    for name, use in {
        "images": encoders.latency_events,
        "intensity": lambda x: encoders.poisson_events(x, max_rate=1.0, duration=1.0, seed=0),
        "signal": lambda x: encoders.delta_events(x, sample_rate=1.0, threshold=1.0),
        "value": lambda x: encoders.population_events(x, 0.0, 1.0, n_fields=3, duration=1.0),
    }.items():
        with pytest.raises(ValueError, match=rf"^{name}: expected an array.*found"):
            use(value)


@pytest.mark.parametrize("name", [None, 3, ["nmnist"]])
def test_a_dataset_has_a_name(name):
    with pytest.raises(ValueError, match=r"^name: expected a name or a path, found"):
        data.load(name)
