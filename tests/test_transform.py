"""Transforms: each does what its definition says, event by event, and draws from its generator alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsespike import data
from sparsespike.data import EventDataset, EventLoader, Recordings, augment, store, transform
from sparsespike.data.recordings import checked_sensor

CAMERA, CHANNELS = (2, 5, 7), (11,)


def drawn(sensor=CAMERA, n=6, n_events=200, seed=0) -> Recordings:
    rng = np.random.default_rng(seed)
    offset = np.sort(np.concatenate([[0, n_events], rng.integers(0, n_events, n - 1)]))
    offset[1] = 0  # one without events
    return Recordings(
        rng.integers(0, np.prod(sensor), n_events).astype(np.uint16),
        rng.integers(0, 100_000, n_events).astype(np.int32),
        offset,
        rng.integers(0, 3, n),
        {"speaker": np.arange(n)},
    )


def apply(change, recordings, sensor=CAMERA, seed=0) -> Recordings:
    found = change(recordings, sensor, np.random.default_rng(seed))
    n_units = int(np.prod(change.sensor(sensor)))
    assert len(found.unit) == len(found.time) == found.offset[-1]
    assert (np.diff(found.offset) >= 0).all()
    assert len(found.unit) == 0 or found.unit.max() < n_units
    assert len(found.time) == 0 or found.time.min() >= 0
    np.testing.assert_array_equal(found.label, recordings.label)
    return found


def events(recordings: Recordings, sensor) -> list[list[tuple[int, ...]]]:
    """Per recording, (place on the sensor ..., time) of each event, by plain loops."""
    return [
        [
            (*map(int, np.unravel_index(int(recordings.unit[e]), sensor)), int(recordings.time[e]))
            for e in range(recordings.offset[i], recordings.offset[i + 1])
        ]
        for i in range(len(recordings.label))
    ]


# ---- selections --------------------------------------------------------------------------------


def test_folding_keeps_place_and_time_and_forgets_the_polarity():
    given_ = drawn()
    found = apply(transform.FoldPolarity(), given_)
    expected = [[(0, y, x, t) for _, y, x, t in one] for one in events(given_, CAMERA)]
    assert events(found, (1, 5, 7)) == expected


@pytest.mark.parametrize("polarity", [0, 1])
def test_one_polarity_is_the_events_of_it(polarity):
    given_ = drawn()
    found = apply(transform.OnePolarity(polarity), given_)
    expected = [
        [(0, y, x, t) for p, y, x, t in one if p == polarity] for one in events(given_, CAMERA)
    ]
    assert 0 < len(found.unit) < len(given_.unit)
    assert events(found, (1, 5, 7)) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_pooling_merges_neighbours(size):
    given_ = drawn()
    change = transform.Pool(size)
    found = apply(change, given_)
    pooled = (2, -(-5 // size), -(-7 // size))
    assert change.sensor(CAMERA) == pooled
    expected = [[(p, y // size, x // size, t) for p, y, x, t in o] for o in events(given_, CAMERA)]
    assert events(found, pooled) == expected
    channels = drawn(CHANNELS)
    merged = apply(change, channels, CHANNELS)
    np.testing.assert_array_equal(merged.unit, channels.unit // size)
    assert change.sensor(CHANNELS) == (-(-11 // size),)


def test_a_crop_keeps_its_time_and_counts_from_its_start():
    given_ = drawn()
    found = apply(transform.CropTime(0.02, 0.05), given_)
    expected = [
        [(*place, t - 20_000) for *place, t in one if 20_000 <= t < 50_000]
        for one in events(given_, CAMERA)
    ]
    assert 0 < len(found.unit) < len(given_.unit)
    assert events(found, CAMERA) == expected


# ---- augmentations -----------------------------------------------------------------------------

AUGMENTATIONS = [
    augment.EventDrop(0.3),
    augment.UnitDrop(0.3),
    augment.TimeJitter(0.02),
    augment.TimeShift(0.02),
    augment.TimeStretch(0.3),
    augment.UnitJitter(1.5),
    augment.Shift(2),
    augment.FlipLR(0.5),
]


@pytest.mark.parametrize("change", AUGMENTATIONS, ids=repr)
@pytest.mark.parametrize("sensor", [CAMERA, CHANNELS], ids=["camera", "channels"])
def test_an_augmentation_is_a_function_of_its_generator(change, sensor):
    given_ = drawn(sensor)
    kept = [array.copy() for array in given_[:3]]
    first, again, other = (apply(change, given_, sensor, seed) for seed in (1, 1, 2))
    for one, two in zip(first[:3], again[:3], strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(not np.array_equal(a, b) for a, b in zip(first[:3], other[:3], strict=True))
    for before, after in zip(kept, given_[:3], strict=True):
        np.testing.assert_array_equal(before, after)
    assert change.sensor(sensor) == sensor


def one_event(sensor, n: int, unit: int, time: int) -> Recordings:
    """n recordings of the same one event."""
    whole = np.arange(n + 1)
    return Recordings(np.full(n, unit), np.full(n, time), whole, np.zeros(n, np.int64), {})


def test_dropped_events_are_a_share_of_all():
    found = apply(augment.EventDrop(0.3), one_event(CHANNELS, 20_000, 5, 0), CHANNELS)
    assert len(found.unit) == pytest.approx(14_000, abs=5 * (20_000 * 0.3 * 0.7) ** 0.5)
    assert len(apply(augment.EventDrop(0.0), drawn()).unit) == 200


def test_a_dropped_unit_is_silent_throughout_a_recording_and_only_there():
    n = 300
    unit = np.tile(np.repeat(np.arange(11), 2), n)
    given_ = Recordings(
        unit, np.zeros(22 * n, int), np.arange(n + 1) * 22, np.zeros(n, np.int64), {}
    )
    found = apply(augment.UnitDrop(0.4), given_, CHANNELS)
    alive = np.zeros((n, 11), int)
    owner = np.repeat(np.arange(n), np.diff(found.offset))
    np.add.at(alive, (owner, found.unit), 1)
    assert set(np.unique(alive)) == {0, 2}
    assert (alive == 0).mean() == pytest.approx(0.4, abs=0.05)
    assert len(np.unique(alive.sum(1))) > 3


def test_jitter_in_time_has_its_width_and_leaves_out_what_falls_before_zero():
    found = apply(augment.TimeJitter(0.01), one_event(CHANNELS, 20_000, 5, 100_000), CHANNELS)
    assert len(found.time) == 20_000
    assert found.time.mean() == pytest.approx(100_000, abs=300)
    assert found.time.std() == pytest.approx(10_000, rel=0.03)
    early = apply(augment.TimeJitter(0.01), one_event(CHANNELS, 20_000, 5, 0), CHANNELS)
    assert len(early.time) == pytest.approx(10_000, abs=400)


def test_shift_and_stretch_in_time_move_a_recording_as_a_whole():
    given_ = drawn()
    owner = np.repeat(np.arange(6), np.diff(given_.offset))
    late = given_._replace(time=given_.time + 50_000)
    moved = apply(augment.TimeShift(0.03), late).time - late.time
    ratio = apply(augment.TimeStretch(0.2), late).time / late.time
    for i in set(owner):
        assert len(np.unique(moved[owner == i])) == 1
        assert np.ptp(ratio[owner == i]) < 1e-4
    assert len(np.unique(moved)) == len(set(owner))
    assert (np.abs(moved) <= 30_000).all()
    assert ((ratio > 0.799) & (ratio < 1.201)).all()


@pytest.mark.parametrize("change", [augment.Shift(2), augment.UnitJitter(1.0)], ids=repr)
def test_what_moves_off_the_sensor_is_left_out_and_never_wraps(change):
    corner = int(np.ravel_multi_index((1, 0, 6), CAMERA))
    found = apply(change, one_event(CAMERA, 4_000, corner, 7))
    p, y, x = np.unravel_index(found.unit, CAMERA)
    assert set(p) == {1}
    assert (y >= 0).all()
    assert set(y) >= {0, 1, 2}
    assert set(x) >= {4, 5, 6}
    assert 0 < len(found.unit) < 4_000


def test_a_shift_moves_a_recording_as_a_whole_by_every_distance():
    middle = int(np.ravel_multi_index((0, 2, 3), CAMERA))
    pair = Recordings(
        np.tile([middle, middle + 1], 2_000),
        np.zeros(4_000, np.int64),
        np.arange(2_001) * 2,
        np.zeros(2_000, np.int64),
        {},
    )
    found = apply(augment.Shift(2), pair)
    assert len(found.unit) == 4_000
    np.testing.assert_array_equal(found.unit[1::2], found.unit[::2] + 1)
    _, y, x = np.unravel_index(found.unit[::2], CAMERA)
    assert {(int(a), int(b)) for a, b in zip(y, x, strict=True)} == {
        (a, b) for a in range(5) for b in range(1, 6)
    }


def test_a_flip_mirrors_a_share_of_the_recordings_as_a_whole():
    given_ = drawn()
    as_it_was, mirrored = set(), set()
    for seed in range(20):
        found = events(apply(augment.FlipLR(0.5), given_, CAMERA, seed), CAMERA)
        for i, (before, after) in enumerate(zip(events(given_, CAMERA), found, strict=True)):
            turned = [(p, y, CAMERA[2] - 1 - x, t) for p, y, x, t in before]
            assert after in (before, turned)
            if before:
                (mirrored if after == turned else as_it_was).add(i)
    assert as_it_was == mirrored
    assert len(mirrored) >= 5
    n = 20_000
    found = apply(augment.FlipLR(0.3), one_event(CHANNELS, n, 2, 7), CHANNELS)
    assert set(found.unit) == {2, 8}
    assert (found.unit == 8).mean() == pytest.approx(0.3, abs=0.02)


@given(seed=st.integers(0, 2**32), data_=st.data())
@settings(deadline=None, max_examples=60)
def test_any_chain_of_transforms_keeps_the_rules_of_a_store(seed, data_):
    sensor = data_.draw(st.sampled_from([CAMERA, CHANNELS, (1, 1, 1), (1, 40, 3)]))
    chain = data_.draw(
        st.lists(st.sampled_from([*AUGMENTATIONS, transform.Pool(2)]), min_size=1, max_size=4)
    )
    recordings = drawn(sensor, seed=seed)
    draw = np.random.default_rng(seed)
    for change in chain:
        recordings = change(recordings, sensor, draw)
        sensor = change.sensor(sensor)
    checked = EventDataset.from_arrays(
        *recordings[:4], n_units=int(np.prod(sensor)), n_classes=3, sensor=sensor
    )
    assert len(checked) == 6


# ---- in datasets and loaders -------------------------------------------------------------------


def dataset(sensor=CAMERA) -> EventDataset:
    recordings = drawn(sensor, n=20, n_events=2_000)
    return EventDataset.from_arrays(
        *recordings[:4],
        n_units=int(np.prod(sensor)),
        n_classes=3,
        sensor=sensor,
        meta=recordings.meta,
    )


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "by batch"])
def test_a_transformed_dataset_gives_what_its_transforms_do(monkeypatch, kept):
    monkeypatch.setattr("sparsespike.data.binning.BINNED_BYTES", 2**30 if kept else 0)
    whole = dataset()
    seen = whole.transformed(transform.FoldPolarity(), transform.Pool(2)).subset([3, 1, 7])
    assert seen.about.sensor == (1, 3, 4)
    assert (seen.n_units, len(seen)) == (12, 3)
    by_hand = whole.recordings([3, 1, 7])
    for change, sensor in ((transform.FoldPolarity(), CAMERA), (transform.Pool(2), (1, 5, 7))):
        by_hand = apply(change, by_hand, sensor)
    np.testing.assert_array_equal(seen.unit, by_hand.unit)
    plain = EventDataset.from_arrays(*by_hand[:4], n_units=12, n_classes=3)
    found, expected = seen.batch([2, 0], 30), plain.batch([2, 0], 30)
    assert torch.equal(found[0].to_dense().flatten(2), expected[0].to_dense())
    assert torch.equal(found[1], expected[1])
    assert seen.count(30) == plain.count(30)
    assert seen.count(30).n_clamped > 0


@pytest.mark.parametrize(
    "change", [*AUGMENTATIONS, transform.FoldPolarity(), transform.Pool(2)], ids=repr
)
@pytest.mark.parametrize("unit", [70, 2**16 - 1, 2**31 - 1, -1])
def test_a_unit_off_the_sensor_is_refused_before_a_transform_looks_it_up(tmp_path, change, unit):
    given_ = drawn()
    damaged = given_.unit.astype(np.int32 if not 0 <= unit < 2**16 else np.uint16)
    damaged[3] = unit
    store.write(tmp_path / "bad", [given_._replace(unit=damaged)], dataset().about)
    found = EventDataset.open(tmp_path / "bad")
    with pytest.raises(ValueError, match=r"found .*: the file is damaged, or the transform"):
        found.recordings(range(6), [change])


def test_a_crop_after_all_that_32_bits_of_time_hold_is_silent():
    late = transform.CropTime(3_000, 4_000)
    found = dataset().transformed(late).recordings()
    assert (found.time.dtype, len(found.time), found.offset[-1]) == (np.int32, 0, 0)


def test_a_time_past_all_bounds_is_left_out():
    far = augment.TimeJitter(1e30)
    found = apply(far, one_event(CHANNELS, 1_000, 5, 7), CHANNELS)
    assert len(found.time) < 10


def test_random_transforms_belong_to_the_loader():
    with pytest.raises(ValueError, match=r"transforms: expected selections, found Shift"):
        dataset().transformed(augment.Shift(1))
    with pytest.raises(ValueError, match="augment: expected transforms that keep the sensor"):
        EventLoader(dataset(), 4, augment=[transform.Pool(2)])
    with pytest.raises(ValueError, match="expected a sensor"):
        dataset(CHANNELS).transformed(transform.FoldPolarity())


def test_augmented_batches_are_a_function_of_seed_epoch_and_batch():
    def batches(seed, epoch, first=0):
        loader = EventLoader(dataset(), 8, shuffle=True, seed=seed, augment=[augment.Shift(2)])
        return [spikes.to_dense() for spikes, _ in loader.batches(epoch, first)]

    one, again, other = batches(0, 0), batches(0, 0), batches(0, 1)
    assert all(bool((a == b).all()) for a, b in zip(one, again, strict=True))
    assert bool((batches(0, 0, first=1)[0] == one[1]).all())
    plain = [s.to_dense() for s, _ in EventLoader(dataset(), 8, shuffle=True, seed=0).batches(0)]
    assert not bool((plain[0] == one[0]).all())
    assert not bool((other[0] == one[0]).all())


def test_selection_by_label_and_by_speaker():
    whole = dataset()
    assert whole.select("label", [0, 2]).label.tolist() == [x for x in whole.label if x != 1]
    part = whole.select("speaker", [4, 2])
    assert part.meta["speaker"].tolist() == [2, 4]
    with pytest.raises(ValueError, match="what: expected one of label, speaker, found 'age'"):
        whole.select("age", [1])


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("Pool", [0]),
        ("Pool", [1.5]),
        ("CropTime", [0.2, 0.1]),
        ("EventDrop", [1.0]),
        ("UnitDrop", [-0.1]),
        ("TimeJitter", [-1.0]),
        ("TimeShift", [float("inf")]),
        ("TimeStretch", [1.0]),
        ("UnitJitter", [float("nan")]),
        ("Shift", [1.5]),
        ("FlipLR", [1.0]),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(kind, numbers):
    with pytest.raises(ValueError, match=f"^{kind}: expected"):
        getattr(data, kind)(*numbers)


@pytest.mark.parametrize(
    "sensor", [(), (2, 3), (0,), (1, 2, -3), (2.0,), (True,), (2**16, 2**16, 1)]
)
def test_a_shape_that_is_no_sensor_is_refused(sensor):
    with pytest.raises(ValueError, match="sensor: expected"):
        checked_sensor(sensor)
