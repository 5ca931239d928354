"""idx files are read strictly: anything wrong is a ValueError that names the file."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsespike.data import idx

LABELS = np.array([3, 0, 9, 9, 1], np.uint8)
IMAGES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def written(folder: Path, raw: bytes, packed: bool = True) -> Path:
    path = folder / "some-idx.gz"
    path.write_bytes(gzip.compress(raw, mtime=0) if packed else raw)
    return path


def read_or_none(path: Path, ndim: int) -> np.ndarray | None:
    """What is read, or None after a ValueError; anything else is a failure."""
    message = ""
    try:
        return idx.read(path, ndim)
    except ValueError as error:
        message = str(error)
    assert path.name in message
    return None


@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize(
    "array", [IMAGES, LABELS, IMAGES[:0], LABELS[:0], IMAGES[:, :1, :1]], ids=lambda a: str(a.shape)
)
def test_reads_what_was_written(tmp_path, array, packed):
    found = idx.read(written(tmp_path, idx_bytes(array), packed), array.ndim)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)
    assert found.shape == array.shape


def test_images_and_labels_have_their_dimensions(tmp_path):
    np.testing.assert_array_equal(idx.read_images(written(tmp_path, idx_bytes(IMAGES))), IMAGES)
    np.testing.assert_array_equal(idx.read_labels(written(tmp_path, idx_bytes(LABELS)), 10), LABELS)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "magic nothing"),
        (b"\0\0\x08", "magic 000008"),
        (b"\0\0\x0d\x01" + idx_bytes(LABELS)[4:], "magic 00000d01"),
        (b"\x01" + idx_bytes(LABELS)[1:], "magic 01000801"),
        (idx_bytes(IMAGES), "magic 00000803"),
        (idx_bytes(LABELS)[:6], "found 6 uncompressed"),
        (idx_bytes(LABELS)[:-1], "expected 13 bytes"),
        (idx_bytes(LABELS) + b"\0", "found 14 uncompressed"),
        (b"\0\0\x08\x01\xff\xff\xff\xff" + b"\0" * 5, "4,294,967,303"),
    ],
)
def test_wrong_contents_are_named(tmp_path, raw, message):
    with pytest.raises(ValueError, match=message) as caught:
        idx.read(written(tmp_path, raw), 1)
    assert "some-idx.gz" in str(caught.value)
    with pytest.raises(ValueError, match=message):
        idx.read(written(tmp_path, raw, packed=False), 1)


@given(keep=st.floats(0, 1, exclude_max=True))
@settings(deadline=None, max_examples=60)
def test_a_truncated_archive_is_a_value_error(tmp_path_factory, keep):
    packed = gzip.compress(idx_bytes(IMAGES), mtime=0)
    path = tmp_path_factory.mktemp("idx") / "some-idx.gz"
    path.write_bytes(packed[: int(keep * len(packed))])
    with pytest.raises(ValueError, match=r"some-idx\.gz"):
        idx.read(path, 3)


@given(bits=st.lists(st.integers(0, 8 * 80 - 1), min_size=1, max_size=4, unique=True))
@settings(deadline=None, max_examples=150)
def test_a_bit_flip_is_a_value_error_or_harmless(tmp_path_factory, bits):
    packed = bytearray(gzip.compress(idx_bytes(IMAGES), mtime=0))
    for bit in bits:
        packed[bit // 8 % len(packed)] ^= 1 << bit % 8
    path = tmp_path_factory.mktemp("idx") / "some-idx.gz"
    path.write_bytes(packed)
    found = read_or_none(path, 3)
    if found is not None:  # bits of gzip's header, its time for instance, mean nothing
        np.testing.assert_array_equal(found, IMAGES)


@given(raw=st.binary(max_size=64), ndim=st.integers(1, 3))
@settings(deadline=None, max_examples=100)
def test_noise_is_a_value_error(tmp_path_factory, raw, ndim):
    path = tmp_path_factory.mktemp("idx") / "some-idx.gz"
    path.write_bytes(bytes([0, 0, 8, ndim]) + raw)
    found = read_or_none(path, ndim)
    assert found is None or found.size <= 64


def test_garbage_after_the_archive_is_a_value_error(tmp_path):
    path = written(tmp_path, idx_bytes(LABELS))
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(ValueError, match="damaged one"):
        idx.read(path, 1)


def test_an_archive_that_never_ends_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="at most 1,000 bytes"):
        idx.read(written(tmp_path, bytes([0, 0, 8, 1]) + b"\0" * 2000), 1)


def test_labels_out_of_range_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"labels in \[0, 9\), found 9"):
        idx.read_labels(written(tmp_path, idx_bytes(LABELS)), 9)


def test_another_checksum_is_a_value_error(tmp_path):
    with pytest.raises(ValueError, match="SHA-256 0000000000000000"):
        idx.read(written(tmp_path, idx_bytes(LABELS)), 1, "0" * 64)


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        idx.read(tmp_path / "none", 1)
