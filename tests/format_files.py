"""Encoders of the file formats, written from their specifications and not from the readers."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

Event = tuple[int, int, int, int]  # x, y, polarity, time in microseconds


def nmnist(events: Sequence[Event]) -> bytes:
    """One 5-byte word an event; the counter has 23 bits, each overflow adds 2^13."""
    words, added = b"", 0
    for x, y, p, t in events:
        while t - added >= 1 << 23:
            words += bytes([0, 240, 0, 0, 0])
            added += 1 << 13
        words += bytes([x, y]) + ((p << 23) | (t - added)).to_bytes(3, "big")
    return words


def hdf5(
    times: Sequence[Any],
    units: Sequence[Any],
    label: Sequence[int],
    *,
    dtype: str = "<f2",
    unit_dtype: str = "<u2",
    speaker: Sequence[int] | None = None,
    keys: Sequence[bytes] | Sequence[str] | None = None,
    without: str = "",
    **settings: Any,
) -> bytes:
    """The layout of SHD; `settings` are those of the datasets of lists, and h5py's `libver`."""
    libver = settings.pop("libver", "earliest")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        for name, lists, kind in (("times", times, dtype), ("units", units, unit_dtype)):
            shape, vlen = (len(lists),), h5py.vlen_dtype(np.dtype(kind))
            dataset = file.create_dataset(f"spikes/{name}", shape, dtype=vlen, **settings)
            for i, values in enumerate(lists):
                dataset[i] = np.array(values, kind)
        file["labels"] = np.array(label, np.uint16)
        if speaker is not None:
            file["extra/speaker"] = np.array(speaker, np.uint16)
        if keys is not None:
            file["extra/keys"] = np.array(keys) if isinstance(keys[0], bytes) else list(keys)
        if without:
            del file[without]
    return buffer.getvalue()


AEDAT3_HEADER = (
    b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 0: DVS128\r\n"
    b"#Start-Time: 2016-05-10 13:49:00 (TZ+0000)\r\n#!END-HEADER\r\n"
)


def aedat3_packet(
    events: Sequence[tuple[int, int, int, int, int]],
    overflow: int = 0,
    kind: int = 1,
    **changed: int,
) -> bytes:
    """A packet of (x, y, polarity, time, valid); `changed` fields of its header."""
    n = len(events)
    head = {"source": 0, "size": 8, "place": 4, "overflow": overflow, "capacity": n, "number": n}
    head |= {"valid": sum(event[4] for event in events)} | changed
    packet = struct.pack("<hhiiiiii", kind, *head.values())
    for x, y, p, t, valid in events:
        packet += struct.pack("<Ii", x << 17 | y << 2 | p << 1 | valid, t)
    return packet


def aedat3_labels(trials: Sequence[tuple[int, int, int]]) -> bytes:
    """The table of (class from 1, start, stop)."""
    lines = ["class,startTime_usec,endTime_usec", *(f"{c},{a},{b}" for c, a, b in trials)]
    return ("\n".join(lines) + "\n").encode()


def evt2(events: Sequence[Event], width: int, height: int) -> bytes:
    """Prophesee EVT 2.0: 32-bit words; the high 28 bits of a time come before it."""
    words = f"% evt 2.0\n% geometry {width}x{height}\n% end\n".encode()
    for x, y, p, t in events:
        words += struct.pack("<I", 0x8 << 28 | t >> 6)
        words += struct.pack("<I", p << 28 | (t & 63) << 22 | x << 11 | y)
    return words


def evt3(events: Sequence[Event], width: int, height: int) -> bytes:
    """Prophesee EVT 3.0: 16-bit words; time in two halves of 12 bits, then y, then polarity and x."""
    words = f"% evt 3.0\n% format EVT3;height={height};width={width}\n% end\n".encode()
    for x, y, p, t in events:
        for word in (0x8 << 12 | t >> 12, 0x6 << 12 | t & 0xFFF, y, 0x2 << 12 | p << 11 | x):
            words += struct.pack("<H", word)
    return words


def dat(events: Sequence[Event], width: int, height: int) -> bytes:
    """Prophesee DAT 2: time (32 bits), then x and y (14 bits each) and polarity (4)."""
    words = f"% Version 2\n% Width {width}\n% Height {height}\n".encode() + bytes([0x0C, 8])
    for x, y, p, t in events:
        words += struct.pack("<II", t, x | y << 14 | p << 28)
    return words


def es(events: Sequence[Event], width: int, height: int) -> bytes:
    """Event Stream 2.0 of type DVS: 7 bits of time since the last event, y counted from below."""
    stream = b"Event Stream" + bytes([2, 0, 0, 1]) + struct.pack("<HH", width, height)
    last = 0
    for x, y, p, t in events:
        while t - last >= 127:
            stream += b"\xff"
            last += 127
        stream += bytes([(t - last) << 1 | p]) + struct.pack("<HH", x, height - 1 - y)
        last = t
    return stream
