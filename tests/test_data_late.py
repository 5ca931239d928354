"""Late events: counted, told once with what would hold them; recordings of another origin refused."""

from __future__ import annotations

import pickle
import warnings

import h5py
import numpy as np
import pytest
import torch

from sparsespike import data
from sparsespike.data import EventDataset, EventLoader, LateEventsWarning, binning

CAMERA = np.dtype([("x", "u2"), ("y", "u2"), ("p", "?"), ("t", "i8")])


def recording(start: int, duration: int, n: int = 200, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng([seed, start % 1000, duration])
    events = np.zeros(n, CAMERA)
    events["x"], events["y"] = draw.integers(0, 34, (2, n))
    events["t"] = start + draw.integers(0, duration, n)
    events["t"][0] = start
    return events


def dataset(*spans: tuple[int, int], **more) -> EventDataset:
    events = [recording(*span, seed=i) for i, span in enumerate(spans)]
    label = np.arange(len(events)) % 2
    return EventDataset.from_events(events, label, sensor=(2, 34, 34), n_classes=2, **more)


def quietly(loader) -> list:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LateEventsWarning)
        return list(loader.batches(0))


LONG = (0, 300_000)


@pytest.fixture(params=["kept", "per batch", "augmented"])
def way(request, monkeypatch) -> dict:
    if request.param == "per batch":
        monkeypatch.setattr(binning, "BINNED_BYTES", 0)
    return {"augment": [data.Shift(0)]} if request.param == "augmented" else {}


def test_batches_say_how_many_events_of_each_sample_are_late(way):
    mine = dataset(LONG, (0, 50_000), (0, 150_000))
    expected = [int((mine.time[slice(*mine.offset[i : i + 2])] >= 100_000).sum()) for i in range(3)]
    assert expected[0] > expected[2] > expected[1] == 0
    ((spikes, _),) = quietly(EventLoader(mine, 3, **way))
    assert spikes.n_late == sum(expected) == mine.count(100).n_late
    assert [part.n_late for part in spikes] == expected
    assert spikes.n_spikes + spikes.n_clamped + spikes.n_late == mine.n_events
    assert f"{spikes.n_late:,} late" in repr(spikes)
    assert mine.batch([1, 0], 100)[0].n_late == expected[0]


def test_a_loader_warns_once_with_the_share_and_the_steps(way):
    mine = dataset(*[LONG] * 6)
    loader = EventLoader(mine, 2, **way)
    with pytest.warns(LateEventsWarning) as caught:
        assert [len(list(loader)) for _ in range(2)] == [3, 3]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    text = str(caught[0].message)
    share = (mine.time >= 100_000).mean()
    if not way and binning.BINNED_BYTES:
        assert text.startswith(f"events: {share:.1%} of the events come at step 100 or later")
    assert 0.5 < share < 0.8
    steps = int(text.split("; steps=")[1].split()[0])
    held = (mine.time < steps * 1000).mean()
    assert held >= 0.99 > (mine.time < (steps - 1) * 1000).mean()
    assert EventLoader(mine, 2, steps=steps).watch.told is False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(EventLoader(mine, 2, steps=steps, **way).batches(0))


@pytest.mark.parametrize("rounding", ["floor", "nearest"])
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_the_advised_dt_holds_as_many(rounding, steps):
    mine = dataset(*[LONG] * 3, rounding=rounding)
    with pytest.warns(LateEventsWarning) as caught:
        list(EventLoader(mine, 3, steps=steps).batches(0))
    dt = float(str(caught[0].message).split("as would dt=")[1].split(";")[0])
    assert mine.count(steps, dt).late <= 0.01 < mine.count(steps, 1e-3).late


def test_one_late_event_in_a_hundred_is_no_reason_to_warn():
    time = np.arange(100) * 100
    time[-1] = 100_000
    fine = EventDataset.from_arrays(time * 0, time, [0, 100], [0], n_units=1, n_classes=1)
    assert fine.count(100).late == 0.01
    ((spikes, _),) = EventLoader(fine, 1).batches(0)
    assert spikes.n_late == 1


def test_dataset_items_warn_once_and_count():
    mine = dataset(LONG, LONG)
    with pytest.warns(LateEventsWarning) as caught:
        late = [mine[i][0].n_late for i in (0, 1, 0)]
    assert len(caught) == 1
    assert min(late) > 50
    assert mine.with_grid(300)[0][0].n_late == 0


# ---- another origin ------------------------------------------------------------------------------

NOW = 1_700_000_000_000_000
SPANS = {
    "absolute": [(NOW + i, 90_000) for i in range(4)],
    "absolute_long": [(NOW, 6_000_000)] * 2,
    "second_later": [(100_000, 300_000)] * 4,
    "a_session": [(i * 10_000_000, 90_000) for i in range(4)],
    "half": [(0, 90_000), (NOW, 90_000)],
    "one_of_many": [(0, 90_000)] * 9 + [(NOW, 90_000)],
}


@pytest.mark.parametrize("name", SPANS)
def test_recordings_that_begin_after_the_last_step_are_refused(name, way):
    mine = dataset(*SPANS[name])
    message = 'expected events before 0.1 s .*found .*begin later.*origin="first-event"'
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LateEventsWarning)
        with pytest.raises(ValueError, match=message):
            list(EventLoader(mine, 16, **way).batches(0))
        if not way:
            with pytest.raises(ValueError, match=message):
                mine[len(mine) - 1]
        again = dataset(*SPANS[name], origin="first-event")
        assert all(
            part.n_spikes for batch, _ in EventLoader(again, 3, **way).batches(0) for part in batch
        )


def test_one_recording_late_by_itself_is_no_reason_to_refuse(way):
    """An image whose brightest pixel spikes after a short grid, say."""
    batches = quietly(EventLoader(dataset(*[(0, 90_000)] * 9, (120_000, 300_000)), 16, **way))
    assert batches[0][0][9].n_late == 200


def test_first_event_of_every_recording_is_at_zero():
    given = dataset(*SPANS["a_session"])
    moved = dataset(*SPANS["a_session"], origin="first-event")
    for i in range(4):
        span = slice(*given.offset[i : i + 2])
        assert np.array_equal(moved.time[span], given.time[span] - given.time[span].min())
    assert moved.time.dtype == np.int32
    assert np.array_equal(moved.unit, given.unit)


def test_first_event_of_recordings_without_events():
    for offset in ([0, 0], [0, 0, 2, 2]):
        n = len(offset) - 1
        made = EventDataset.from_arrays(
            [0] * offset[-1],
            [7, 5][: offset[-1]],
            offset,
            [0] * n,
            n_units=1,
            n_classes=1,
            origin="first-event",
        )
        assert sorted(made.time.tolist()) == [0, 2][: offset[-1]]


def every_way(tmp_path, origin) -> dict[str, EventDataset]:
    events = recording(5_000_000, 80_000)
    (tmp_path / "one.csv").write_text("".join(f"{t},{x}\n" for x, _, _, t in events.tolist()))
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        for name, values, kind in (
            ("times", events["t"] / 1e6, np.float64),
            ("units", events["x"], np.uint16),
        ):
            ragged = file.create_dataset(f"spikes/{name}", (1,), h5py.vlen_dtype(kind))
            ragged[0] = values.astype(kind)
        file["labels"] = np.array([0], np.uint16)
        file["extra/keys"] = np.array([b"zero"])

    class OfTonic:
        sensor_size = (34, 34, 2)

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return events, 0

    dense = np.zeros((1, 60, 3))
    dense[0, 50:, 1] = 1
    return {
        "arrays": EventDataset.from_arrays(
            events["x"], events["t"], [0, 200], [0], n_units=34, n_classes=1, origin=origin
        ),
        "events": EventDataset.from_events(
            [events], [0], sensor=(2, 34, 34), n_classes=1, origin=origin
        ),
        "tonic": EventDataset.from_tonic(OfTonic(), origin=origin),
        "csv": EventDataset.from_csv(
            [(tmp_path / "one.csv", 0)], n_units=34, n_classes=1, time_unit="us", origin=origin
        ),
        "hdf5": EventDataset.from_hdf5(tmp_path / "mine.h5", n_units=34, origin=origin),
        "dense": EventDataset.from_dense(dense, [0], n_classes=1, origin=origin),
    }


def test_every_way_to_a_dataset_takes_the_origin(tmp_path):
    for name, made in every_way(tmp_path, "recording").items():
        assert made.time.min() == (50_000 if name == "dense" else 5_000_000), name
    for name, made in every_way(tmp_path, "first-event").items():
        assert made.time.min() == 0 < made.time.max(), name
    with pytest.raises(
        ValueError, match=r"^origin: expected 'recording' or 'first-event', found 'x'"
    ):
        every_way(tmp_path, "x")


def test_a_watch_travels_with_its_dataset():
    mine = pickle.loads(pickle.dumps(dataset(LONG)))
    with pytest.warns(LateEventsWarning):
        assert mine[0][0].n_late > 0
    assert torch.equal(mine[0][0].to_dense(), dataset(LONG).batch([0], 100)[0].to_dense())
