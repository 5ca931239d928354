"""`Thermometer`: spike times as channels, against plain loops, and what a network is given of them."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsespike import data
from sparsespike.data import EventDataset, binning
from sparsespike.data.recordings import Recordings
from sparsespike.training.recipe import Recipe

NO_DRAW = np.random.default_rng(0)


@st.composite
def cases(draw) -> tuple[Recordings, tuple[int, ...], data.Thermometer, list[int], int]:
    """Recordings, their sensor, and a thermometer with its bounds and period in microseconds."""
    sensor = draw(st.sampled_from([(5,), (1, 2, 3), (2, 3, 2)]))
    bounds = sorted(draw(st.sets(st.integers(0, 20), min_size=1, max_size=4)))
    period, repeats = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    lengths = draw(st.lists(st.integers(0, 6), max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    n = sum(lengths)
    offset = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    unit = rng.integers(0, np.prod(sensor), n).astype(np.uint16)
    time = rng.integers(0, 25, n).astype(np.int32)
    recordings = Recordings(unit, time, offset, np.zeros(len(lengths), np.int64), {})
    seconds = [bound * 1e-6 for bound in bounds]
    return recordings, sensor, data.Thermometer(repeats, period * 1e-6, *seconds), bounds, period


@given(cases())
def test_an_event_spikes_in_every_channel_whose_bound_it_keeps(case):
    given_, sensor, thermometer, bounds, period = case
    found = thermometer(given_, sensor, NO_DRAW)
    n_units = int(np.prod(sensor))
    for i in range(len(given_.label)):
        expected = [
            (k * n_units + int(given_.unit[e]), j * period)
            for e in range(given_.offset[i], given_.offset[i + 1])
            for k in range(len(bounds))
            for j in range(thermometer.repeats)
            if given_.time[e] <= bounds[k]
        ]
        part = slice(found.offset[i], found.offset[i + 1])
        pairs = zip(found.unit[part].tolist(), found.time[part].tolist(), strict=True)
        assert list(pairs) == expected
    assert found.offset[-1] == len(found.unit) == len(found.time)
    assert thermometer.sensor(sensor) == (len(bounds) * sensor[0], *sensor[1:])


def test_images_come_as_what_is_brighter_than_each_level():
    latency = data.load("fashion-mnist-sample", "test")
    recipe = Recipe(transforms=("Thermometer(2, 1e-3, 0.007, 0.1)",))
    spikes, _ = recipe.seen(latency).batch([0, 1, 2], 3)
    assert spikes.unit_shape == (2, 28, 28)
    dense, before = spikes.to_dense(), latency.batch([0, 1, 2], 100)[0].to_dense()[:, :, 0]
    bright, any_ = before[:, :8].any(1), before.any(1)
    assert 0 < bright.sum() < any_.sum()
    for step in (0, 1):
        assert bool((dense[:, step, 0].bool() == bright).all())
        assert bool((dense[:, step, 1].bool() == any_).all())
    assert not bool(dense[:, 2].any())
    assert spikes.n_late == spikes.n_clamped == 0


def test_events_that_a_transform_adds_count_for_what_is_kept_in_memory(monkeypatch):
    latency = data.load("fashion-mnist-sample", "test")
    added = latency.transformed(data.Thermometer(8, 1e-3, 0.01, 0.1))
    # Room for the spikes of the images, and for the bounds of eight steps, but not for what is added.
    monkeypatch.setattr(binning, "BINNED_BYTES", 3 * latency.n_bytes)
    assert latency.kept(binning.checked_grid(8, 1e-3)) is not None
    assert added.kept(binning.checked_grid(8, 1e-3)) is None
    assert added.count(8).n_spikes == 8 * added.batch(range(len(added)), 1)[0].n_spikes > 0


def test_numbers_of_other_types_and_copies_are_the_same_transform():
    given_ = data.Thermometer(2, 1e-3, 0.007, 0.1)
    types: Any = np.int16(2), np.float32(1e-3), torch.tensor(0.007, dtype=torch.float64), 0.1
    odd = data.Thermometer(*types)
    assert given_ == odd == copy.deepcopy(given_) == pickle.loads(pickle.dumps(given_))
    assert hash(given_) == hash(odd)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1e-3), "Thermometer: expected bounds, one for each channel, found none"),
        ((1, 1e-3, 0.2, 0.1), "Thermometer: expected bounds >= 0 and ascending, found"),
        ((1, 1e-3, 0.1, 0.1), "Thermometer: expected bounds >= 0 and ascending, found"),
        ((1, 1e-3, -0.1), "Thermometer: expected bounds >= 0 and ascending, found"),
        ((1, 1e-3, float("nan")), "Thermometer: expected bounds >= 0 and ascending, found"),
        ((1, 1e-3, "late"), "Thermometer: expected bounds in seconds, found 'late'"),
        ((0, 1e-3, 0.1), r"Thermometer: expected an integer in \[1, "),
        ((1, 1e-7, 0.1), "Thermometer: expected seconds, at least one microsecond"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.Thermometer(*arguments)


def test_a_sensor_that_grows_too_large_is_refused():
    many = EventDataset.from_arrays([0], [0], [0, 1], [0], n_units=2**25, n_classes=1)
    with pytest.raises(ValueError, match="sensor: expected"):
        many.transformed(data.Thermometer(1, 1e-3, 0.1, 0.2))
