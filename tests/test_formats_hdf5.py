"""Files in SHD's layout are read to the event; a damaged one is a ValueError that names the file."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from format_files import hdf5 as encoded
from sparsespike.data.formats import hdf5

DATA = Path(__file__).parents[2] / "shared/data/shd_like/fsdd_shd_test.h5.gz"
TIMES, UNITS, LABEL = [[0.5, 0.25], [], [1.0]], [[699, 0], [], [3]], [1, 0, 2]
LAYOUTS = [
    {},
    {"libver": "latest"},
    {"chunks": (2,)},
    {"chunks": (2,), "compression": "gzip", "shuffle": True},
    {"chunks": (2,), "libver": "latest", "maxshape": (None,)},
]


def written(folder: Path, raw: bytes) -> Path:
    path = folder / "some.h5"
    path.write_bytes(raw)
    return path


def file(folder: Path, times=TIMES, units=UNITS, label=LABEL, **how) -> Path:
    return written(folder, encoded(times, units, label, **how))


def dataset(whole: h5py.File, name: str) -> h5py.Dataset:
    found = whole[name]
    assert isinstance(found, h5py.Dataset)
    return found


def lists(recordings, array: str) -> list[list[int]]:
    values = getattr(recordings, array).tolist()
    bounds = recordings.offset.tolist()
    return [values[bounds[i] : bounds[i + 1]] for i in range(len(bounds) - 1)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("unit_dtype", ["<u2", "<i4", ">i8"])
def test_reads_what_was_encoded(tmp_path, layout, dtype, unit_dtype):
    path = file(tmp_path, dtype=dtype, unit_dtype=unit_dtype, speaker=[4, 5, 6], **layout)
    found = hdf5.read(path, 700)
    assert lists(found, "time") == [[500_000, 250_000], [], [1_000_000]]
    assert lists(found, "unit") == UNITS
    assert found.label.tolist() == LABEL
    assert found.meta["speaker"].tolist() == [4, 5, 6]
    part = hdf5.read(path, 700, 2, 3)
    assert (lists(part, "unit"), part.meta["speaker"].tolist()) == ([[3]], [6])
    assert len(hdf5.read(path, 700, 1, 1).label) == 0


@given(st.lists(st.floats(0, 60_000, width=16), min_size=1, max_size=20))
@settings(max_examples=30)
def test_half_precision_seconds_become_the_nearest_microseconds(tmp_path_factory, times):
    path = file(tmp_path_factory.mktemp("hdf5"), [times], [[0] * len(times)], [0])
    expected = [round(float(np.float16(t)) * 1_000_000) for t in times]
    assert hdf5.read(path, 1).time.tolist() == expected


@pytest.mark.parametrize(
    ("keys", "contents"),
    [
        (None, (3, 3, ())),
        ([b"zero", b"one", b"two", b"six"], (3, 4, ("zero", "one", "two", "six"))),
        (["null", "eins", "fünf"], (3, 3, ("null", "eins", "fünf"))),
    ],
    ids=["none", "bytes", "text"],
)
def test_contents_are_told(tmp_path, keys, contents):
    assert hdf5.contents(file(tmp_path, keys=keys)) == contents


def test_a_dataset_that_was_never_written_holds_silence(tmp_path):
    path = file(tmp_path, [[], []], [[], []], [0, 0])
    assert hdf5.read(path, 700).offset.tolist() == [0, 0, 0]


def test_a_block_of_the_user_before_the_file_is_passed_over(tmp_path):
    with h5py.File(tmp_path / "some.h5", "w", userblock_size=512) as raw:
        raw.create_dataset("spikes/times", (1,), dtype=h5py.vlen_dtype(np.float32))[0] = [0.5]
        raw.create_dataset("spikes/units", (1,), dtype=h5py.vlen_dtype(np.int32))[0] = [7]
        raw["labels"] = [0]
    assert lists(hdf5.read(tmp_path / "some.h5", 700), "unit") == [[7]]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"without": "labels"}, "expected a dataset labels, found none"),
        ({"without": "spikes/times"}, "expected a dataset spikes/times, found none"),
        ({"without": "spikes"}, "expected a dataset spikes/times, found none"),
        ({"label": [1, 0]}, "spikes/times: expected 2 entries, as many as labels, found 3"),
        ({"speaker": [1]}, "extra/speaker: expected 3 entries, as many as labels, found 1"),
        ({"units": [[1, 2], [], []]}, "recording 2: expected as many units as times, 1, found 0"),
        (
            {"units": [[700, 0], [], [3]]},
            r"spikes/units: expected units in \[0, 700\), found 0 to 700",
        ),
        ({"units": [[-1, 0], [], [3]], "unit_dtype": "<i4"}, "found -1 to 3"),
        ({"times": [[float("nan"), 0], [], [3]]}, "spikes/times: .*found nan"),
        ({"times": [np.array([0x7D00, 0], "<u2").view("<f2"), [], [3]]}, "found nan"),
        ({"times": [[float("inf"), 0], [], [3]]}, "found inf"),
        ({"times": [[-0.5, 0], [], [3]]}, r"found -0\.5"),
        (
            {"dtype": "<i4", "times": UNITS},
            "spikes/times: expected lists of floating numbers, found int32",
        ),
        ({"unit_dtype": "<f4"}, "spikes/units: expected lists of integers, found float32"),
        ({"keys": [b"a", b"b"]}, r"expected labels in \[0, 2\), found 2"),
        ({"chunks": (2,), "compression": "lzf"}, "expected the filters gzip and shuffle"),
    ],
)
def test_what_breaks_a_rule_is_named(tmp_path, how, message):
    with pytest.raises(ValueError, match=message) as caught:
        hdf5.read(file(tmp_path, **how), 700)
    assert "some.h5" in str(caught.value)


def test_lists_that_are_none_are_named(tmp_path):
    with h5py.File(tmp_path / "some.h5", "w") as raw:
        raw["spikes/times"], raw["spikes/units"], raw["labels"] = [0.5], [[1]], [0]
    with pytest.raises(ValueError, match=r"spikes/units: expected a list, found shape \(1, 1\)"):
        hdf5.read(tmp_path / "some.h5", 700)
    with h5py.File(tmp_path / "some.h5", "r+") as raw:
        del raw["spikes/units"]
        raw["spikes/units"] = [1]
    with pytest.raises(ValueError, match="lists of floating numbers, found float64"):
        hdf5.read(tmp_path / "some.h5", 700)


@pytest.mark.parametrize("bounds", [(-1, 1), (2, 1), (0, 4)], ids=str)
def test_a_range_outside_the_file_is_named(tmp_path, bounds):
    with pytest.raises(ValueError, match=r"expected a range within \[0, 3\]"):
        hdf5.read(file(tmp_path), 700, *bounds)


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, 0.99])
def test_a_truncated_file_is_a_value_error(tmp_path, keep):
    raw = encoded(TIMES, UNITS, LABEL)
    path = written(tmp_path, raw[: keep if isinstance(keep, int) else int(keep * len(raw))])
    with pytest.raises(ValueError, match=r"some\.h5: expected an HDF5 file, found a damaged one"):
        hdf5.contents(path)


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (3, "list 0: expected 3 entries of 2 bytes, found 4 bytes"),
        (2**31, "found 2,147,483,649 entries of 2 bytes"),
        (2**32 - 1, "found 4,294,967,296 entries of 2 bytes"),
    ],
)
def test_a_claimed_length_allocates_nothing(tmp_path, length, message):
    raw = bytearray(encoded(TIMES, UNITS, LABEL))
    with h5py.File(written(tmp_path, bytes(raw)), "r") as whole:
        place = dataset(whole, "spikes/times").id.get_offset()
    raw[place : place + 4] = struct.pack("<I", length)
    with pytest.raises(ValueError, match=message):
        hdf5.read(written(tmp_path, bytes(raw)), 700)


def test_lists_that_share_their_bytes_hold_no_more_than_the_file(tmp_path):
    lists = [[1] * 500, *([1] for _ in range(40))]
    raw = bytearray(encoded(lists, lists, [0] * 41))
    with h5py.File(written(tmp_path, bytes(raw)), "r") as whole:
        place = dataset(whole, "spikes/times").id.get_offset()
    raw[place : place + 41 * 16] = raw[place : place + 16] * 41
    with pytest.raises(ValueError, match=r"lists of at most .* the file's, found 20,500 entries"):
        hdf5.read(written(tmp_path, bytes(raw)), 700)


def test_a_collection_that_never_ends_is_read_once(tmp_path):
    # Objects of size 0, all at place 1: the library itself reads them for ever.
    raw = bytearray(encoded(TIMES, UNITS, LABEL))
    place = raw.index(b"GCOL") + 16
    raw[place : place + 4000] = (b"\1" + bytes(15)) * 250
    with pytest.raises(ValueError, match="expected 2 entries of 2 bytes, found"):
        hdf5.read(written(tmp_path, bytes(raw)), 700)


def test_claimed_recordings_and_chunks_allocate_nothing(tmp_path):
    with h5py.File(tmp_path / "some.h5", "w") as raw:
        for name, dtype in (("times", np.float16), ("units", np.uint16)):
            raw.create_dataset(f"spikes/{name}", (2**40,), h5py.vlen_dtype(dtype), chunks=(2**20,))
        raw.create_dataset("labels", (2**40,), np.uint16, chunks=(2**20,))
    with pytest.raises(ValueError, match="recordings, as bytes, found 1,099,511,627,776"):
        hdf5.read(tmp_path / "some.h5", 700, 0, 1)
    with h5py.File(tmp_path / "some.h5", "r+") as raw:
        del raw["labels"]
        raw.create_dataset("labels", (1,), np.uint16, chunks=(2**28,), maxshape=(None,))
    with pytest.raises(ValueError, match="labels: expected chunks of at most 268,435,456 bytes"):
        hdf5.read(tmp_path / "some.h5", 700, 0, 1)


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        hdf5.contents(tmp_path / "none.h5")


def test_the_spoken_digits_are_those_that_h5py_reads(tmp_path):
    if not DATA.exists():
        pytest.skip(f"needs {DATA}")
    path = written(tmp_path, gzip.decompress(DATA.read_bytes()))
    n, n_classes, classes = hdf5.contents(path)
    assert (n, n_classes, classes[:2]) == (250, 10, ("zero", "one"))
    found = hdf5.read(path, 700, 30, 40)
    with h5py.File(path) as whole:
        times, units = (dataset(whole, f"spikes/{name}")[30:40] for name in ("times", "units"))
    assert len(found.unit) > 10_000
    np.testing.assert_array_equal(found.unit, np.concatenate(units))
    seconds = np.concatenate(times).astype(np.float64)
    np.testing.assert_array_equal(found.time, np.rint(seconds * 1e6))
