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


def arrays(**more: Any) -> EventDataset:
    given: dict[str, Any] = {"unit": [0, 1, 2], "time": [0, 1, 2], "offset": [0, 1, 3]}
    given |= {"label": [0, 1], "n_units": 3, "n_classes": 2}
    return EventDataset.from_arrays(**{**given, **more})


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
    "steps": [0, 1.5, 2**31, 2**70, "100", [100], True, torch.tensor(1.0)],
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
    "label": [[0], [0, 1, 1], [[0, 1], [2]], 0, [0.0, 1.0], [[0, 1]], None, "ab", [0, 2], [-1, 0]],
    "sensor": [4, (2, 8), (2, 8.0, 8), "288", None, (0, 8, 8), np.zeros((2, 2), int)],
    "n_classes": [0, 2.0, "2", None, True],
    "events": [None, 3, "events"],
    "rounding": ["up", None, 1],
    "origin": ["start", None, 0],
    "name": [None, 3, ["a"], b"a"],
}
RAGGED = [[0, 1], [2]]
NO_ARRAYS = [
    *(None, 3, "abc", RAGGED, [0.0, 1.0, 2.0], [True] * 3, ["0"] * 3, {0: 1}, [2**70] * 3),
    *(torch.zeros(3, requires_grad=True), torch.zeros(3, dtype=torch.bfloat16)),
    *(torch.tensor([0, 1, 2]).to_sparse(), torch.zeros(3, dtype=torch.int64, device="meta")),
]
WRONG_ARRAYS: dict[str, list[Any]] = {
    **dict.fromkeys(("unit", "time", "offset", "label"), NO_ARRAYS),
    "sensor": [3, None, "3", True, (2,), (1, 3)],
    "classes": [3, None, "ab", ["a"], [0, 1], [None, None], {"a": 0, "b": 1}, [b"a", b"b"]],
    "meta": [3, "a", [("a", [0, 1])], [], True, {1: [0, 1]}, {"label": [0, 1]}],
    "meta 'a'": [{"a": [0]}, {"a": 3}, {"a": None}, {"a": ["x", "y"]}, {"a": RAGGED}],
    **{name: [None, 3, ["MIT"]] for name in ("name", "licence", "citation")},
}


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, many in WRONG_EVENTS.items() for v in many]
)
def test_others_of_a_dataset_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*found"):
        events(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, many in WRONG_ARRAYS.items() for v in many]
)
def test_others_of_flat_arrays_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*found"):
        arrays(**{name.split()[0]: value})


@pytest.mark.parametrize("field", "xypt")
def test_a_field_of_several_numbers_is_refused_by_name(field):
    dtype = [(name, "i8", (2,)) if name == field else (name, "i8") for name in "xypt"]
    with pytest.raises(ValueError, match=rf"^events 0: {field}: expected integers, found int64 of"):
        events(events=[np.zeros(3, dtype)] * 2)


def test_from_dense_takes_arrays_and_refuses_by_name():
    dense = np.ones((1, 3, 2))
    for given in (dense, torch.from_numpy(dense), dense.astype(bool), dense.astype(np.int32)):
        assert EventDataset.from_dense(given, [0], n_classes=2).n_events == 6
    spikes: Any
    tensor = torch.from_numpy(dense)
    unlike = (tensor.to_sparse(), tensor.bfloat16(), tensor.to("meta"))
    for spikes in (dense[0], dense * 2, None, [[[1]]], 1, dense.astype(str), *unlike):
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
    for wrong in ("1", 1.0, None, [0.5], ["a"], 2, -1, [0, 2**70]):
        with pytest.raises(ValueError, match=r"^values: expected .*found"):
            events().select("label", wrong)
    with pytest.raises(
        ValueError, match=r"^what: expected one of label, found 'labels'; did you mean"
    ):
        events().select("labels", 1)
    for wrong in (None, ["label"], {}, np.zeros(2)):
        with pytest.raises(ValueError, match=r"^what: expected one of label, found"):
            events().select(wrong, 1)


def test_indices_and_shares():
    mine = events(events=[EVENTS] * 4, label=[0, 0, 1, 1])
    assert len(mine.subset(torch.tensor([1, 0]))) == len(mine.subset(range(2))) == 2
    assert [len(part) for part in mine.split(np.float32(0.5), np.int64(0))] == [2, 2]
    wrong: Any
    unlike = [torch.zeros(2, requires_grad=True), torch.zeros(2, dtype=torch.int64, device="meta")]
    for wrong in (1, None, "01", [0.5], [[0]], RAGGED, [4], [True, False, True, False], *unlike):
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


def test_grids_augmentations_and_generators_of_a_batch():
    mine = events()
    wrong: Any
    for wrong in (0, 1.5, "100", None, 2**31):
        for use in (mine.with_grid, mine.count, lambda steps: mine.batch([0], steps)):
            with pytest.raises(ValueError, match=r"^steps: expected .*found"):
                use(wrong)
    for wrong in WRONG["augment"]:
        for use in (
            lambda many: mine.batch([0], 9, augment=many),
            lambda m: mine.recordings([0], m),
        ):
            with pytest.raises(ValueError, match=r"^augment: expected .*found"):
                use(wrong)
    with pytest.raises(ValueError, match=r"^augment: expected transforms that keep the sensor"):
        mine.batch([0], 9, augment=[data.FoldPolarity()])
    for wrong in (0, 3, "x", np.random.RandomState(0), torch.Generator()):
        for use in (
            lambda draw: mine.batch([0], 9, 1e-3, [data.Shift(1)], draw),
            lambda draw: mine.recordings([0], [data.Shift(1)], draw),
        ):
            with pytest.raises(ValueError, match=r"^draw: expected .*found"):
                use(wrong)


@pytest.mark.parametrize("indices", [["a"], [0.5], [True, False], None, 3, [[0]], [9], [-1]])
def test_a_subset_of_torch_that_names_no_samples_is_refused(indices):
    part = torch.utils.data.Subset(events(), indices)
    with pytest.raises(ValueError, match=r"^index: expected .*found"):
        loader(dataset=part)


def test_collate_takes_single_samples_of_one_shape():
    mine = events()
    one, wrong = mine[0], [[], [mine[0], mine.with_grid(5)[1]], [(mine.batch([0, 1], 100)[0], 0)]]
    assert data.collate([one, one])[1].tolist() == [0, 0]
    for samples in wrong:
        with pytest.raises(ValueError, match=r"^samples: expected .*found"):
            data.collate(samples)


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
    # Any polarity is one, until there is a sensor.
    beyond = [] if kind is data.OnePolarity else [2**31, 2**70]
    for made in ("1", None, 1.0, [1], True, -1, *beyond):
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


@pytest.mark.parametrize(
    "bounds",
    [(0, float("inf")), (0, 1e13), (1, 1), (-1, 1), (None, 1), (0, "1"), (0, [1]), (0, True)],
)
def test_bounds_of_a_crop_are_refused_at_once(bounds):
    with pytest.raises(ValueError, match=r"^CropTime: expected .*found"):
        data.CropTime(*bounds)


WRONG_POPULATION: dict[str, list[Any]] = {
    **{name: [None, "0", "a", True, {}, 1j, [0, 0], ["0"] * 3, RAGGED] for name in ("low", "high")},
    "n_fields": [2, 3.0, "3", None, True, 2**62],
    "beta": [0, -1, "1", None, True, float("nan"), 1e-300, 1e300],
    "duration": [0, -1, "1", None, True, 1e-7, 1e30],
    "value": [np.ma.masked_array(np.full((2, 3), 0.5), [[True, False, False]] * 2)],
}


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, many in WRONG_POPULATION.items() for v in many]
)
def test_others_of_a_population_are_refused_by_name(name, value):
    given = {"value": np.full((2, 3), 0.5), "low": 0.0, "high": 1.0, "n_fields": 4, "duration": 1.0}
    assert len(encoders.population_events(**given)[0]) > 0
    with pytest.raises(ValueError, match=rf"^{name}: expected .*found"):
        encoders.population_events(**{**given, name: value})


@pytest.mark.parametrize("max_rate", [-1, "1", None, True, float("inf"), 1e18, 1e300])
def test_a_rate_that_nobody_can_draw_is_refused(max_rate):
    with pytest.raises(ValueError, match=r"^max_rate: expected .*found"):
        encoders.poisson_events(np.ones((1, 2)), max_rate=max_rate, duration=1.0, seed=0)


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", ">f8", np.longdouble])
def test_signals_of_any_floating_type_are_taken(dtype):
    signal = np.array([[[0.0], [1.0], [0.5]]])
    expected = encoders.delta_events(signal, sample_rate=1.0, threshold=0.5)
    assert expected[0].tolist() == [1, 1, 0]
    for given in (signal.astype(dtype), np.ma.masked_array(signal.astype(dtype))):
        found = encoders.delta_events(given, sample_rate=1.0, threshold=0.5)
        assert [part.tolist() for part in found] == [part.tolist() for part in expected]
