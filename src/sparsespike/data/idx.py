"""idx files, the format of MNIST and its kin, read strictly: what is wrong is said, never guessed.

    00 00 08 ndim | ndim sizes, 4 bytes each, big-endian | the entries, one unsigned byte each

(Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database, "File formats".) With or without gzip.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UBYTE = 0x08
MAX_BYTES = 2**30  # no file of this family is near it; a damaged header may ask for more
PIECE = 2**20


def read_images(path: Path, sha256: str | None = None) -> NDArray[np.uint8]:
    """(n, height, width) uint8; see `read`."""
    return read(path, 3, sha256)


def read_labels(path: Path, n_classes: int, sha256: str | None = None) -> NDArray[np.uint8]:
    """(n,) uint8 in [0, n_classes); see `read`.

    Raises:
        ValueError: also if a label is out of range.
    """
    labels = read(path, 1, sha256)
    if len(labels) and labels.max() >= n_classes:
        raise ValueError(f"{path}: expected labels in [0, {n_classes}), found {labels.max()}")
    return labels


def read(path: Path, ndim: int, sha256: str | None = None) -> NDArray[np.uint8]:
    """Reads one file; never holds more than its entries, whatever its header claims.

    Args:
        path: of the file, gzip if it begins as gzip does.
        ndim: dimensions expected.
        sha256: of the uncompressed bytes, checked if given.

    Returns:
        uint8 array of the file's shape, read-only.

    Raises:
        ValueError: naming the file, what was expected and what was found, if it is damaged, cut
            short, too long, of another type, or has another checksum.
        OSError: if it cannot be read.
    """
    raw = unpacked(path)
    magic = raw[:4]
    if magic != bytes([0, 0, UBYTE, ndim]):
        raise ValueError(
            f"{path}: expected an idx file of {ndim}-D unsigned bytes, magic 0000080{ndim}, "
            f"found magic {magic.hex() or 'nothing'}"
        )
    start = 4 + 4 * ndim
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    expected = start + math.prod(shape)
    if len(raw) != expected:
        raise ValueError(
            f"{path}: expected {expected:,} bytes for the shape {shape} in its header, "
            f"found {len(raw):,} uncompressed"
        )
    if sha256 is not None and (found := hashlib.sha256(raw).hexdigest()) != sha256:
        raise ValueError(
            f"{path}: expected contents of SHA-256 {sha256[:16]}…, found {found[:16]}…: "
            "a damaged file, or another dataset's of the same name"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def unpacked(path: Path) -> bytes:
    """The bytes of a file, uncompressed if it begins as gzip does; at most `MAX_BYTES`.

    Raises:
        ValueError: if the gzip stream is damaged or cut short, or holds more.
        OSError: if the file cannot be read.
    """
    pieces, n_bytes = [], 0
    with open(path, "rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        source = gzip.GzipFile(fileobj=plain) if packed else plain
        try:
            while piece := source.read(PIECE):
                pieces.append(piece)
                n_bytes += len(piece)
                if n_bytes > MAX_BYTES:
                    raise ValueError(f"{path}: expected at most {MAX_BYTES:,} bytes, found more")
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(
                f"{path}: expected a whole gzip file, found a damaged one ({error})"
            ) from error
    return b"".join(pieces)
