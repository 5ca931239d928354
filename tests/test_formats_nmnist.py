"""N-MNIST's files are read to the event; what is damaged is a ValueError that names the file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from format_files import Event, nmnist
from sparsespike.data.formats.nmnist import read

DATA = Path(__file__).parents[2] / "shared/data/nmnist/nmnist_small_dev.zip"
COORDINATE = st.integers(0, 33)
EVENTS = st.lists(
    st.tuples(COORDINATE, COORDINATE, st.integers(0, 1), st.integers(0, 2**23 + 9000))
)


def by_time(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event[3])


@given(st.lists(EVENTS, max_size=4))
@settings(max_examples=40)
def test_reads_what_was_encoded(files):
    files = [by_time(events) for events in files]
    found = read([(f"{i}.bin", nmnist(events), i) for i, events in enumerate(files)])
    expected = [event for events in files for event in events]
    assert found.unit.tolist() == [(p * 34 + y) * 34 + x for x, y, p, _ in expected]
    assert found.time.tolist() == [t for *_, t in expected]
    assert found.lengths.tolist() == [len(events) for events in files]
    assert found.label.tolist() == list(range(len(files)))
    assert found.n_dropped == 0


def test_an_overflow_moves_its_file_alone():
    overflow = bytes([7, 240, 0, 0, 0])
    first = overflow + nmnist([(1, 2, 1, 5)]) + overflow + nmnist([(1, 2, 1, 3)])
    found = read([("a", first, 0), ("b", nmnist([(1, 2, 1, 5)]), 0)])
    assert found.time.tolist() == [2**13 + 5, 2**14 + 3, 5]
    assert found.lengths.tolist() == [2, 1]


def test_times_that_go_back_are_kept():
    found = read([("a", nmnist([(0, 0, 0, 9)]) + nmnist([(0, 0, 0, 4)]), 0)])
    assert found.time.tolist() == [9, 4]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            nmnist([(1, 1, 0, 1)])[:-1],
            r"b\.bin: expected 5 bytes an event, found 4 bytes, 4 too many",
        ),
        (bytes(11), "found 11 bytes, 1 too many"),
        (
            nmnist([(1, 1, 0, 1), (34, 1, 1, 1)]),
            r"b\.bin: event 1: .*found x = 34, y = 1, polarity 1",
        ),
        (nmnist([(1, 255, 0, 1)]), "event 0: .*y < 34.*found x = 1, y = 255"),
    ],
    ids=["cut", "one byte more", "x", "y"],
)
def test_damage_is_named(raw, message):
    with pytest.raises(ValueError, match=message):
        read([("a.bin", nmnist([(1, 1, 0, 1)] * 3), 0), ("b.bin", raw, 0)])


def test_a_polarity_outside_the_sensor_is_named():
    with pytest.raises(ValueError, match=r"polarity < 1.*polarity 1"):
        read([("a.bin", nmnist([(1, 1, 1, 1)]), 0)], sensor=(1, 34, 34))


@pytest.mark.parametrize("sensor", [(700,), (3, 34, 34), (2, 241, 34), (2, 34, 257)], ids=str)
def test_a_sensor_that_does_not_fit_into_the_bytes_is_refused(sensor):
    with pytest.raises(ValueError, match="sensor: expected at most"):
        read([], sensor=sensor)


def test_real_recordings_are_those_that_tonic_reads():
    if not DATA.exists():
        pytest.skip(f"needs {DATA}")
    tonic = pytest.importorskip("tonic.io")
    with zipfile.ZipFile(DATA) as archive:
        names = [name for name in archive.namelist() if name.endswith(".bin")][::100]
        contents = [(name, archive.read(name), int(name.split("/")[-2])) for name in names]
    found = read(contents)
    assert len(found.unit) > 10_000
    dtype = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
    for i, (_, raw, _) in enumerate(contents):
        events = tonic.read_mnist_file(io.BytesIO(raw), dtype, is_stream=True)
        part = slice(found.offset[i], found.offset[i + 1])
        expected = (events["p"] * 34 + events["y"]) * 34 + events["x"]
        np.testing.assert_array_equal(found.unit[part], expected)
        np.testing.assert_array_equal(found.time[part], events["t"])
