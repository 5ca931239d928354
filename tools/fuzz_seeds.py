"""Valid files of each format, which `fuzz_formats` damages."""

from __future__ import annotations

import gzip
import random
import sys
from pathlib import Path

import numpy as np

from sparsespike.data import EventDataset

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import format_files  # pyright: ignore[reportMissingImports], in the folder added above

N_UNITS = 700  # of tables, HDF5 and stores
SIZE = (50, 40)  # of the cameras: width, height


def events(
    n: int, size: tuple[int, int], last: int, draw: random.Random
) -> list[format_files.Event]:
    """Random events, times ascending."""
    times = sorted(draw.randrange(last) for _ in range(n))
    return [(draw.randrange(size[0]), draw.randrange(size[1]), draw.randrange(2), t) for t in times]


def aedat3_seeds(draw: random.Random) -> list[bytes]:
    """Each the length of the table, the table, the file."""
    seeds = []
    for n, overflow in ((1, 0), (20, 0), (50, 3)):
        base = overflow << 31
        labels = format_files.aedat3_labels([(1, base, base + 400), (11, base + 400, base + 900)])
        pixels = [(*event, draw.randrange(2)) for event in events(n, (128, 128), 1000, draw)]
        packets = format_files.aedat3_packet(pixels, overflow) + format_files.aedat3_packet(
            [], kind=0
        )
        seeds.append(
            len(labels).to_bytes(2, "little") + labels + format_files.AEDAT3_HEADER + packets
        )
    return seeds


def hdf5_seeds(draw: random.Random) -> list[bytes]:
    """Old and new versions of the format, contiguous, chunked and packed."""
    lengths = (3, 0, 7, 40)
    times = [[draw.random() for _ in range(n)] for n in lengths]
    units = [[draw.randrange(N_UNITS) for _ in range(n)] for n in lengths]
    keys = [b"zero", b"one", b"two"]
    return [
        format_files.hdf5(times, units, [0, 1, 2, 1], speaker=[4, 4, 5, 6], keys=keys),
        format_files.hdf5(times, units, [0, 1, 2, 1], libver="latest", keys=["a", "b", "c"]),
        format_files.hdf5(times, units, [0, 1, 2, 1], dtype="<f4", chunks=(3,)),
        format_files.hdf5(
            times, units, [0, 1, 2, 1], chunks=(2,), compression="gzip", shuffle=True
        ),
    ]


def store_seeds(folder: Path, draw: random.Random) -> list[bytes]:
    """Narrow and wide types."""
    seeds = []
    for n_units, last in ((N_UNITS, 20_000), (70_000, 2**40)):
        unit = np.array([draw.randrange(n_units) for _ in range(50)])
        when = np.array([draw.randrange(last) for _ in range(50)])
        dataset = EventDataset.from_arrays(
            unit,
            when,
            np.array([0, 9, 9, 50]),
            np.array([0, 1, 2]),
            n_units=n_units,
            n_classes=3,
            meta={"speaker": np.array([4, 4, 5])},
        )
        dataset.save(folder / "seed.events")
        seeds.append((folder / "seed.events").read_bytes())
    return seeds


def idx_seeds() -> list[bytes]:
    """Labels, plain and packed, and images as labels, which are refused."""
    labels = bytes([0, 0, 8, 1, 0, 0, 0, 100]) + bytes(i % 10 for i in range(100))
    images = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 4]) + bytes(range(40))
    return [labels, gzip.compress(labels, mtime=0), images, gzip.compress(images, mtime=0)]


def aedat4_seeds(folder: Path, draw: random.Random) -> list[bytes]:
    """Written by faery."""
    import faery

    seeds = []
    for n in (1, 40):
        pixels = [(t, x, y, p) for x, y, p, t in events(n, SIZE, 9000, draw)]
        stream = faery.events_stream_from_array(np.array(pixels, faery.EVENTS_DTYPE), SIZE)
        stream.to_file(folder / "seed.aedat4")
        seeds.append((folder / "seed.aedat4").read_bytes())
    return seeds
