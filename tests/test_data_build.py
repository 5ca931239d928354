"""What people have becomes a dataset and comes back equal to the event."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsespike.data import EventDataset, EventLoader, TonicTransform
from test_library import heidelberg, samples
from test_transform import CAMERA, CHANNELS, drawn

XYPT = np.dtype([("x", "<i2"), ("y", "<i2"), ("p", "?"), ("t", "<i8")])


def dataset(sensor, seed=0) -> EventDataset:
    recordings = drawn(sensor, seed=seed)
    return EventDataset.from_arrays(
        *recordings[:4], n_units=int(np.prod(sensor)), n_classes=3, sensor=sensor
    )


def assert_same_events(one: EventDataset, other: EventDataset) -> None:
    assert one.n_events > 0
    assert one.about.sensor == other.about.sensor
    for name in ("unit", "time", "offset", "label"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


# ---- structured arrays -------------------------------------------------------------------------


def test_structured_events_of_a_camera():
    events = np.array([(6, 4, True, 9), (0, 1, False, 3)], XYPT)
    found = EventDataset.from_events([events, events[:0]], [1, 0], sensor=CAMERA, n_classes=2)
    assert found.unit.tolist() == [1 * 35 + 4 * 7 + 6, 0 * 35 + 1 * 7 + 0]
    assert (found.time.tolist(), found.offset.tolist()) == ([9, 3], [0, 2, 2])
    assert found.label.tolist() == [1, 0]


def test_structured_events_need_no_field_of_one_value():
    events = np.array([(4, 0), (10, 7)], [("x", int), ("t", int)])
    found = EventDataset.from_events([events], [0], sensor=CHANNELS, n_classes=1)
    assert (found.unit.tolist(), found.time.tolist()) == ([4, 10], [0, 7])
    events = np.array([(2, 3, 1, 5)], [("x", int), ("y", int), ("p", int), ("t", int)])
    found = EventDataset.from_events([events], [0], sensor=(1, 5, 7), n_classes=1)
    assert found.unit.tolist() == [3 * 7 + 2], "one polarity: which does not matter"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("x", 7, r"events 1: x: expected values in \[0, 7\), found 7 to 7"),
        ("y", -1, r"events 1: y: expected values in \[0, 5\), found -1 to -1"),
        ("p", 2, r"events 1: p: expected values in \[0, 2\), found 2 to 2"),
        ("t", -5, r"events 1: t: expected values in \[0, 9223372036854775808\), found -5"),
    ],
)
def test_events_off_the_sensor_are_refused_by_sample_and_field(field, value, said):
    dtype = np.dtype([(name, int) for name in "xypt"])
    good, bad = np.zeros(1, dtype), np.zeros(1, dtype)
    bad[field] = value
    with pytest.raises(ValueError, match=said):
        EventDataset.from_events([good, bad], [0, 0], sensor=CAMERA, n_classes=1)


def test_other_arrays_are_refused():
    for events in (np.zeros(3), np.zeros(3, [("x", int), ("t", int)]), [1, 2]):
        with pytest.raises(ValueError, match="events 0: expected a structured array of p, t, x, y"):
            EventDataset.from_events([events], [0], sensor=CAMERA, n_classes=1)  # pyright: ignore
    events = np.zeros(2, [(name, float) for name in "xypt"])
    with pytest.raises(ValueError, match="events 0: p: expected integers, found float64"):
        EventDataset.from_events([events], [0], sensor=CAMERA, n_classes=1)
    with pytest.raises(
        ValueError, match="label: expected 1 integers, one for each sample, found 2 labels"
    ):
        EventDataset.from_events([events[:0].astype(XYPT)], [0, 1], sensor=CAMERA, n_classes=2)


# ---- dense -------------------------------------------------------------------------------------


@given(
    n=st.integers(0, 4),
    steps=st.integers(1, 9),
    units=st.integers(1, 7),
    dt=st.sampled_from([1e-6, 7e-4, 1e-3, 2e-3]),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=60)
def test_dense_to_events_to_dense_is_the_identity(n, steps, units, dt, seed):
    dense = (
        torch.rand(n, steps, units, generator=torch.Generator().manual_seed(seed)) < 0.3
    ).float()
    found = EventDataset.from_dense(dense, [0] * n, n_classes=1, dt=dt)
    assert found.n_events == int(dense.sum())
    spikes, _ = found.batch(range(n), steps, dt)
    assert torch.equal(spikes.to_dense(), dense)
    assert spikes.n_clamped == 0


def test_dense_of_anything_else_is_refused():
    for spikes in (torch.zeros(2, 3), torch.full((1, 2, 3), 2.0), torch.full((1, 1, 1), torch.nan)):
        with pytest.raises(ValueError, match="spikes: expected 0 and 1 of shape"):
            EventDataset.from_dense(spikes, [0], n_classes=1)


# ---- Tonic -------------------------------------------------------------------------------------


class Samples:
    """A dataset of Tonic's kind."""

    def __init__(self, sensor_size, samples, transform=None):
        self.sensor_size, self.samples, self.transform = sensor_size, samples, transform

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        events, label = self.samples[index]
        return self.transform(events) if self.transform else events, label


@pytest.mark.parametrize("sensor", [CAMERA, (1, 5, 7), CHANNELS, (1, 1, 6), (3, 2, 2)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_store_to_tonic_to_store_is_equal_to_the_event(tmp_path, sensor, seed):
    whole = dataset(sensor, seed)
    whole.save(tmp_path / "events")
    stored = EventDataset.open(tmp_path / "events")
    tonic = stored.to_tonic()
    assert len(tonic) == len(stored)
    assert tonic.sensor_size == (sensor[::-1] if len(sensor) == 3 else (sensor[0], 1, 1))
    back = EventDataset.from_tonic(tonic, n_classes=3)
    if sensor == (1, 1, 6):  # to Tonic, a line of pixels of one polarity is a line of channels
        assert back.about.sensor == (6,)
        np.testing.assert_array_equal(back.unit, whole.unit)
        np.testing.assert_array_equal(back.time, whole.time)
    else:
        assert_same_events(back, whole)


def test_labels_and_classes_of_tonic():
    one = np.zeros(1, XYPT)
    found = EventDataset.from_tonic(Samples((7, 5, 2), [(one, np.int64(2)), (one, 0)]))
    assert (found.n_classes, found.name, found.about.sensor) == (3, "samples", CAMERA)
    with pytest.raises(ValueError, match=r"sample 1: expected a label .* found 'cat'; give"):
        EventDataset.from_tonic(Samples((7, 5, 2), [(one, 0), (one, "cat")]))


def test_the_real_tonic_reads_and_transforms_our_datasets():
    tonic = pytest.importorskip("tonic")
    transforms = tonic.transforms
    whole = dataset(CAMERA)
    chain = transforms.Compose(
        [transforms.MergePolarities(), transforms.Downsample(spatial_factor=0.5)]
    )
    ours = whole.to_tonic(chain)
    events, label = ours[2]
    assert label == whole.label[2]
    assert set(events["p"]) == {0}
    found = EventDataset.from_tonic(
        Samples((4, 3, 1), [ours[i] for i in range(len(ours))]), n_classes=3
    )
    place = np.unravel_index(whole.unit, CAMERA)
    expected = np.ravel_multi_index((0 * place[0], place[1] // 2, place[2] // 2), (1, 3, 4))
    np.testing.assert_array_equal(found.unit, expected)
    image = transforms.ToImage(sensor_size=ours.sensor_size)(whole.to_tonic()[2][0])
    assert image.sum() == np.diff(whole.offset)[2] > 0


def test_a_transform_of_tonic_augments_batches():
    tonic = pytest.importorskip("tonic")
    flip = TonicTransform(tonic.transforms.RandomFlipLR(sensor_size=(7, 5, 2), p=1.0))
    whole = dataset(CAMERA)
    plain, flipped = (
        next(iter(EventLoader(whole, 6, steps=100, augment=a)))[0].to_dense() for a in ([], [flip])
    )
    assert plain.sum() > 0
    picture = flipped.reshape(6, 100, *CAMERA)
    assert torch.equal(picture.flip(-1), plain.reshape(6, 100, *CAMERA))


def test_a_transform_that_leaves_no_events_is_refused():
    with pytest.raises(ValueError, match="events 0: expected a structured array"):
        EventDataset.from_tonic(dataset(CAMERA).to_tonic(lambda events: np.zeros((3, 2, 5, 7))))


# ---- files -------------------------------------------------------------------------------------


def test_a_file_of_shds_layout(tmp_path):
    expected, speaker = heidelberg(tmp_path / "mine.h5", 12, 4)
    found = EventDataset.from_hdf5(tmp_path / "mine.h5", n_units=700)
    assert samples(found) == expected
    assert found.meta["speaker"].tolist() == speaker
    assert (found.name, found.n_classes, found.about.classes[2]) == ("mine", 4, "word 2")


def test_tables_of_text(tmp_path):
    (tmp_path / "a.csv").write_text("time, unit\n0.5, 3\n2, 0\n")
    (tmp_path / "b.csv").write_text("")
    files = [(tmp_path / "a.csv", 1), (tmp_path / "b.csv", 0), (str(tmp_path / "a.csv"), 1)]
    found = EventDataset.from_csv(files, n_units=4, n_classes=2, time_unit="ms")
    assert samples(found) == [(1, [(3, 500), (0, 2000)]), (0, []), (1, [(3, 500), (0, 2000)])]


@pytest.mark.parametrize("kind", [0, 12], ids=["2D", "CD"])
def test_a_file_of_a_camera(tmp_path, kind):
    pytest.importorskip("faery")
    path = tmp_path / "a.dat"
    events = [(3, 5, 1, 100), (9, 0, 0, 1500)]
    header = b"% Version 2\n% Height 10\n% Width 12\n% end\n" + bytes([kind, 8])
    body = b"".join(
        t.to_bytes(4, "little") + (x | (y << 14) | (p << 28)).to_bytes(4, "little")
        for x, y, p, t in events
    )
    path.write_bytes(header + body)
    found = EventDataset.from_camera([(path, 1), (path, 0)], n_classes=2)
    one = [(1 * 120 + 5 * 12 + 3, 0), (9, 1400)]
    assert found.about.sensor == (2, 10, 12)
    assert samples(found) == [(1, one), (0, one)]
    with pytest.raises(ValueError, match="files: expected at least one"):
        EventDataset.from_camera([], n_classes=2)
