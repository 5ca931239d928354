"""Files of events that are damaged, or of another kind, are refused: when opened, verified or used."""

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsespike.data import EventDataset, store
from test_data import BOTH_PATHS, drawn, use_path
from test_data_store import GOOD, rich_dataset


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1, -400])
def test_a_truncated_file_is_a_value_error(tmp_path, keep):
    path = tmp_path / "events.safetensors"
    drawn().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"events\.safetensors: no event file, or a damaged one"):
        EventDataset.open(path)


def test_every_flipped_bit_is_found_by_verifying(tmp_path):
    path = tmp_path / "events"
    rich_dataset(4).save(path)
    raw = path.read_bytes()
    assert len(raw) < 2_000
    # Two bits of a byte stand for its eight; of a checksum's digit, one changes its case alone.
    for place in range(len(raw)):
        for bit in (0, 6):
            flipped = bytearray(raw)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(ValueError, match="damaged"):
                EventDataset.open(path).verify()
    path.write_bytes(raw)
    EventDataset.open(path).verify()


def test_a_file_of_an_older_format_says_so(tmp_path):
    arrays = {name: getattr(drawn(), name) for name in store.DTYPES}
    header = {"format": "sparsespike events 1", "name": "x"}
    safetensors.numpy.save_file(arrays, tmp_path / "old", header)
    with pytest.raises(
        ValueError, match=r"expected the format 'sparsespike events 2', found '.*1'"
    ):
        EventDataset.open(tmp_path / "old")


@given(bit=st.integers(0, 8 * 3000), kept=st.booleans())
@settings(deadline=None, max_examples=200)
def test_a_bit_flip_is_a_value_error_or_valid_spikes(tmp_path_factory, bit, kept):
    path = tmp_path_factory.mktemp("flip") / "events.safetensors"
    drawn().save(path)
    raw = bytearray(path.read_bytes())
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    path.write_bytes(raw)
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_path(monkeypatch, kept)
        try:
            spikes, _ = EventDataset.open(path).batch(range(12), steps=8)
        except ValueError:
            return
        type(spikes).from_lists(spikes.unit, spikes.offset, spikes.shape)


@BOTH_PATHS
@pytest.mark.parametrize(
    ("name", "value"),
    [("unit", [0, 1, 5]), ("time", [5, -1, 7]), ("offset", [0, 4, 3]), ("offset", [0, -1, 3])],
)
def test_a_damaged_sample_is_refused_by_the_batch(tmp_path, monkeypatch, kept, name, value):
    use_path(monkeypatch, kept)
    good = EventDataset.from_arrays(**GOOD)
    recordings = good.recordings()
    changed = np.array(value, getattr(recordings, name).dtype)
    damaged = recordings._replace(**{name: changed})
    store.write(tmp_path / "bad.safetensors", [damaged], good.about)
    with pytest.raises(ValueError, match=r"sample \d of the store is damaged"):
        EventDataset.open(tmp_path / "bad.safetensors").batch([0, 1], steps=5)


@pytest.mark.parametrize(
    "broken", ["format", "n_units", "rounding", "surplus", "dtype", "shape", "meta"]
)
def test_a_file_of_another_kind_is_a_value_error(tmp_path, broken):
    good = EventDataset.from_arrays(**GOOD)
    arrays = {name: getattr(good, name) for name in store.DTYPES}
    about = {"name": "x", "n_units": 5, "n_classes": 2}
    header = {"format": store.FORMAT}
    if broken == "format":
        header[broken] = "other"
    elif broken in ("n_units", "rounding"):
        about[broken] = "other"
    elif broken == "meta":
        arrays["meta.speaker"] = np.zeros(3, np.int64)
    elif broken == "surplus":
        arrays["more"] = arrays["unit"]
    elif broken == "dtype":
        arrays["time"] = arrays["time"].astype(np.float32)
    elif broken == "shape":
        arrays["offset"] = arrays["offset"][:2]
    header["about"] = json.dumps(about)
    safetensors.numpy.save_file(arrays, tmp_path / "other.safetensors", header)
    with pytest.raises(ValueError, match="no event file, or a damaged one"):
        EventDataset.open(tmp_path / "other.safetensors")


def test_a_damaged_label_is_refused_when_it_is_used(tmp_path):
    good = EventDataset.from_arrays(**GOOD)
    damaged = good.recordings()._replace(label=np.array([0, 2]))
    store.write(tmp_path / "bad", [damaged], good.about)
    found = EventDataset.open(tmp_path / "bad")
    assert found.batch([0], steps=3)[1].tolist() == [0]
    for use in (lambda: found.batch([1], steps=3), lambda: found.label):
        with pytest.raises(
            ValueError, match=r"a label is damaged: expected \[0, 2\), found . to 2"
        ):
            use()


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        EventDataset.open(tmp_path / "none.safetensors")
