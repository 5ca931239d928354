"""AEDAT 3.1, as DVS128 Gesture comes: a recording of many trials, and a table of when each was.

    # lines of text, the last "#!END-HEADER" | packets
    packet: type, source (int16) | size of an event, place of its time, overflow of time, capacity,
            number of events, of those valid (int32) | the events
    event:  valid (bit 0), polarity (1), y (2-16), x (17-31) | time (int32)

Little-endian; a time is the event's plus 2^31 times its packet's overflow, microseconds. (iniVation,
AEDAT 3.1, https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-3.1.html;
IBM's README of DVS128 Gesture, whose table is class, startTime_usec, endTime_usec.)
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsespike.data.recordings import Recordings, Sensor, checked_sensor

SENSOR = (2, 128, 128)
N_CLASSES = 11
VERSION = b"#!AER-DAT3.1"
END = b"#!END-HEADER"
TABLE = ["class", "startTime_usec", "endTime_usec"]
POLARITY = 1  # the type of packet that holds events of pixels

PACKET = np.dtype(
    [("type", "<i2"), ("source", "<i2")]
    + [(name, "<i4") for name in ("size", "place", "overflow", "capacity", "number", "valid")]
)
EVENT = np.dtype([("data", "<u4"), ("time", "<i4")])


class Trials(NamedTuple):
    """When each trial of a recording was: [start, stop), microseconds, and its class from 0."""

    label: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]


class Events(NamedTuple):
    """The valid events of a file, and how many were marked as invalid."""

    unit: NDArray[np.int64]
    time: NDArray[np.int64]
    n_invalid: int


def read_file(path: Path, sensor: Sensor = SENSOR, n_classes: int = N_CLASSES) -> Recordings:
    """Reads `NAME.aedat` and `NAME_labels.csv` beside it; see `read`.

    Raises:
        OSError: if one of them cannot be read.
    """
    labels = path.with_name(f"{path.stem}_labels.csv")
    contents = path.read_bytes(), labels.read_bytes()
    return read(str(path), *contents, sensor=sensor, n_classes=n_classes)


def read(
    name: str, raw: bytes, labels: bytes, sensor: Sensor = SENSOR, n_classes: int = N_CLASSES
) -> Recordings:
    """The trials of one file.

    Args:
        name: of the file, for messages.
        raw: its bytes.
        labels: the bytes of its table of trials.
        sensor: (polarities, height, width).
        n_classes: C; the table's classes are 1 to C.

    Returns:
        A recording of each trial, in the table's order, time from 0 at its start. `n_dropped` counts
        the events that are marked as invalid or belong to no trial; packets of other types hold no
        events of pixels, and are passed over.

    Raises:
        ValueError: naming the file, what was expected and what was found, if the file or its table is
            damaged, trials overlap, or an event is outside the sensor.
    """
    trials = _trials(f"labels of {name}", labels, n_classes)
    events = _events(name, raw, sensor)
    order = np.argsort(trials.start, kind="stable")
    # The last trial that begins at or before each event, and is the event's if it has not ended.
    trial = np.searchsorted(trials.start[order], events.time, side="right") - 1
    inside = (trial >= 0) & (events.time < trials.stop[order][trial])
    trial, unit, time = order[trial[inside]], events.unit[inside], events.time[inside]
    offset = np.concatenate([[0], np.cumsum(np.bincount(trial, minlength=len(order)))])
    by_trial = np.argsort(trial, kind="stable")
    time -= trials.start[trial]
    n_dropped = events.n_invalid + len(inside) - len(unit)
    return Recordings(unit[by_trial], time[by_trial], offset, trials.label, {}, n_dropped)


def _events(name: str, raw: bytes, sensor: Sensor) -> Events:
    n_polarity, height, width = _checked_camera(sensor)
    place = _body(name, raw)
    units, times, n_invalid = [], [], 0
    while place < len(raw):
        packet, start = _packet(name, raw, place)
        place = start + packet["size"] * packet["number"]
        if packet["type"] != POLARITY:
            continue
        events = np.frombuffer(raw, EVENT, packet["number"], start)
        events = events[(events["data"] & 1).astype(bool)]
        n_invalid += packet["number"] - len(events)
        data = events["data"].astype(np.int64)
        p, y, x = data >> 1 & 1, data >> 2 & 0x7FFF, data >> 17
        outside = (p >= n_polarity) | (y >= height) | (x >= width) | (events["time"] < 0)
        if outside.any():
            k = outside.argmax()
            raise ValueError(
                f"{name}: packet at byte {start - PACKET.itemsize:,}: expected x < {width}, y < "
                f"{height}, polarity < {n_polarity} and time >= 0, found x = {x[k]}, y = {y[k]}, "
                f"polarity {p[k]}, time {events['time'][k]}"
            )
        units.append((p * height + y) * width + x)
        times.append(events["time"].astype(np.int64) + (packet["overflow"] << 31))
    empty = np.empty(0, np.int64)
    return Events(np.concatenate([empty, *units]), np.concatenate([empty, *times]), n_invalid)


def _checked_camera(sensor: Sensor) -> tuple[int, int, int]:
    sizes = checked_sensor(sensor)
    if len(sizes) != 3:
        raise ValueError(f"sensor: expected (polarities, height, width), found {sizes}")
    return sizes


def _body(name: str, raw: bytes) -> int:
    """Where the lines of text end."""
    place, start = 0, VERSION
    while True:
        stop = raw.find(b"\n", place) + 1
        line = raw[place:stop].rstrip(b"\r\n")
        if not line.startswith(start):
            raise ValueError(
                f"{name}: expected {VERSION.decode()!r}, lines of '#' and {END.decode()!r}, found "
                f"{raw[place : place + 32]!r} at byte {place:,}"
            )
        if line.startswith(b"#Format:") and line.split() != [b"#Format:", b"RAW"]:
            raise ValueError(f"{name}: expected #Format: RAW, found {line!r}")
        if line == END:
            return stop
        place, start = stop, b"#"


def _packet(name: str, raw: bytes, place: int) -> tuple[dict[str, int], int]:
    """The header of the packet at a byte, checked, and where its events start."""
    start = place + PACKET.itemsize
    if start > len(raw):
        raise ValueError(
            f"{name}: expected a packet of {PACKET.itemsize} bytes or more at byte {place:,}, found "
            f"{len(raw) - place}"
        )
    values = np.frombuffer(raw, PACKET, 1, place)[0].tolist()
    packet = dict(zip(PACKET.names or (), values, strict=True))
    size = (8, 4) if packet["type"] == POLARITY else (packet["size"], packet["place"])
    sound = (
        (packet["size"], packet["place"]) == size
        and packet["size"] > 0
        and packet["overflow"] >= 0
        # In a file a packet ends with its last event: sources differ on which of the two counts them.
        and packet["capacity"] == packet["number"] >= packet["valid"] >= 0
    )
    if not sound:
        raise ValueError(
            f"{name}: packet at byte {place:,}: expected capacity = number >= valid >= 0, overflow >= 0 "
            f"and, of type {POLARITY}, events of 8 bytes with their time at 4, found {packet}"
        )
    found = (len(raw) - start) // packet["size"]
    if found < packet["number"]:
        raise ValueError(
            f"{name}: packet at byte {place:,}: expected {packet['number']:,} events of "
            f"{packet['size']:,} bytes, found {found:,}: the file is cut short"
        )
    return packet, start


def _trials(name: str, labels: bytes, n_classes: int) -> Trials:
    rows, numbers = [], []
    try:
        lines = labels.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: expected a table of text, found {error}") from error
    if not lines or [word.strip() for word in lines[0].split(",")] != TABLE:
        raise ValueError(f"{name}: expected {','.join(TABLE)!r} first, found {lines[:1]}")
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        words = [word.strip() for word in line.split(",")]
        # Digits alone: int() would take 1_0 as well, and any number of them.
        whole = len(words) == 3 and all(w.isdigit() and len(w) <= 19 for w in words)
        row = [int(word) for word in words] if whole else [0, 0, 0]
        if not (1 <= row[0] <= n_classes and row[1] <= row[2] < 2**63):
            raise ValueError(
                f"{name}: line {number}: expected a class in [1, {n_classes}], a start and an end "
                f"not before it, found {line[:80]!r}"
            )
        rows.append((row[0] - 1, row[1], row[2]))
        numbers.append(number)
    if not rows:
        raise ValueError(f"{name}: expected at least one trial, found none")
    label, start, stop = np.array(rows, np.int64).T
    order = np.argsort(start, kind="stable")
    overlap = stop[order][:-1] > start[order][1:]
    if overlap.any():
        i, j = order[overlap.argmax()], order[overlap.argmax() + 1]
        raise ValueError(
            f"{name}: lines {numbers[i]} and {numbers[j]}: expected trials one after the other, found "
            f"{rows[i][1]} to {rows[i][2]} and {rows[j][1]} to {rows[j][2]}"
        )
    return Trials(label, start, stop)
