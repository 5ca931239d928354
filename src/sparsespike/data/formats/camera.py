"""Files of event cameras: AEDAT4, Prophesee's EVT2 and EVT3 (`.raw`) and `.dat`, Event Stream (`.es`).

Decoded by faery (A. Marcireau, J. E. Pedersen, G. Lenz, https://github.com/aestream/faery), an extra, in
a process of its own: a damaged file makes it panic, or ask for any memory. What it does is kept: a time
before the last one becomes the last one, and in EVT3 the pixels of a vector beyond the right edge are
left out. EVT2.1 it does not decode.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sparsespike.data.recordings import Recordings, Sensor, checked_sensor

SUFFIXES = (".aedat4", ".raw", ".dat", ".es")
DECODER = Path(__file__).with_name("camera_decoder.py")
EVENT = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])  # as the decoder's
# The densest is a packet of AEDAT4 in LZ4, 255 bytes from one; more is a packed bomb.
MAX_EVENTS_PER_BYTE = 16
END, ERROR = -1, -2


def sensor_of(path: Path) -> Sensor:
    """The sensor of a file, (2, height, width), from its header; some of Prophesee's do not say it.

    Raises:
        ValueError, OSError: as `read`.
    """
    _check(path)
    with _decoder() as decoder:
        return _sensor(path, _asked(decoder, path, None))


def read(files: Sequence[tuple[Path, int]], sensor: Sensor) -> Recordings:
    """Reads files, each a recording; one start of the decoder, half a second, for all of them.

    Args:
        files: (path, label) of each.
        sensor: (2, height, width) of all of them, and compared with their headers; see `sensor_of`.

    Returns:
        Time from 0 at the first event of each: cameras count from when they were switched on, or
        from 1970. Triggers, frames and exposures are no events of pixels, and are passed over.

    Raises:
        ValueError: naming the file, what was expected and what was found, if it is damaged, of another
            kind or sensor; or if faery is not installed.
        OSError: if a file cannot be read.
    """
    sensor = checked_sensor(sensor)
    if len(sensor) != 3 or sensor[0] != 2 or max(sensor) >= 2**16:
        raise ValueError(f"sensor: expected (2, height, width) below 2^16, found {sensor}")
    for path, _ in files:
        _check(path)
    units, times = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    offset = np.zeros(len(files) + 1, np.int64)
    with _decoder() as decoder:
        for i, (path, _) in enumerate(files):
            unit, time = _recording(decoder, path, sensor)
            units.append(unit)
            times.append(time)
            offset[i + 1] = offset[i] + len(unit)
    label = np.array([label for _, label in files], np.int64)
    return Recordings(np.concatenate(units), np.concatenate(times), offset, label, {})


def _recording(
    decoder: subprocess.Popen[bytes], path: Path, sensor: Sensor
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    answer = _asked(decoder, path, sensor)
    found = _sensor(path, answer)
    if found != sensor:
        raise ValueError(f"{path}: expected the sensor {sensor}, found {found}")
    events = _events(path, answer)
    p, y, x = (events[name].astype(np.int32) for name in "pyx")
    first = events["t"].min(initial=2**64 - 1)
    time = (events["t"] - first).astype(np.int64)
    if (time < 0).any():
        raise ValueError(f"{path}: expected times within 2^63 us, found more")
    return (p * sensor[1] + y) * sensor[2] + x, time


def _check(path: Path) -> None:
    """What faery does not check: that the extra is there, the suffix, and that no word is cut."""
    if importlib.util.find_spec("faery") is None:
        raise ValueError(
            f"{path}: files of cameras need faery, which is not installed: "
            "pip install sparsespike[camera]"
        )
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected one of {', '.join(SUFFIXES)}, found {suffix!r}")
    with open(path, "rb") as file:
        if suffix in (".raw", ".dat"):
            _check_words(path, file)


def _check_words(path: Path, file: BinaryIO) -> None:
    start, line = 0, b""
    version = b""
    while (line := file.readline(1000)).startswith(b"%"):
        start += len(line)
        words = line[1:].replace(b";", b" ").split()
        if len(words) > 1 and words[0].lower() in (b"evt", b"format", b"version"):
            version = words[1].upper().removeprefix(b"EVT")
        if words == [b"end"]:
            if file.read(1) == b"%":
                raise ValueError(f"{path}: expected no byte '%' after the header, found one")
            break
    if path.suffix.lower() == ".dat":
        start, word = start + 2, 8  # two bytes say which events follow, and their size
    elif version == b"2.1":
        raise ValueError(f"{path}: expected EVT2 or EVT3, found EVT2.1, which is not read")
    else:
        word = 2 if version.startswith(b"3") else 4
    n_bytes = path.stat().st_size - start
    if n_bytes < 0 or n_bytes % word:
        raise ValueError(
            f"{path}: expected words of {word} bytes after {start} of header, found {n_bytes:,} bytes"
        )


@contextlib.contextmanager
def _decoder() -> Iterator[subprocess.Popen[bytes]]:
    """A decoder at work."""
    process = subprocess.Popen(
        [sys.executable, "-P", str(DECODER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # NumPy's own threads take addresses, which are what the decoder is limited in.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        with contextlib.suppress(BrokenPipeError):
            process.communicate()


def _asked(process: subprocess.Popen[bytes], path: Path, sensor: Sensor | None) -> IO[bytes]:
    """What a decoder answers of a file: its sensor; where one is given, its events as well."""
    size = sensor and [sensor[2], sensor[1]]
    asked = {"path": str(path), "events": bool(sensor), "size": size}
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it ended, as its missing answer will say
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
    return process.stdout


def _sensor(path: Path, answer: IO[bytes]) -> Sensor:
    answered = _line(path, answer)
    sensor = answered["sensor"]
    if min(sensor) < 1 or sensor[1] * sensor[2] >= 2**30:
        raise ValueError(f"{path}: expected a sensor, found {sensor}")
    return tuple(sensor)


def _events(path: Path, answer: IO[bytes]) -> NDArray[Any]:
    packets, n_events, allowed = [], 0, MAX_EVENTS_PER_BYTE * path.stat().st_size
    while (n := int.from_bytes(_bytes(path, answer, 8), "little", signed=True)) >= 0:
        n_events += n
        if n_events > allowed:
            raise ValueError(f"{path}: expected at most {allowed:,} events, as packed, found more")
        packets.append(_bytes(path, answer, n * EVENT.itemsize))
    if n != END:
        _line(path, answer)
    return np.frombuffer(b"".join(packets), EVENT)


def _line(path: Path, answer: IO[bytes]) -> dict[str, Any]:
    answered = answer.readline()
    if not answered:
        _bytes(path, answer, 1)
    answered = json.loads(answered)
    if "error" in answered:
        raise ValueError(
            f"{path}: expected a file of a camera, found a damaged one ({answered['error']})"
        )
    return answered


def _bytes(path: Path, answer: IO[bytes], n_bytes: int) -> bytes:
    found = answer.read(n_bytes)
    if len(found) != n_bytes:
        raise ValueError(f"{path}: expected a file of a camera, found one that the decoder died of")
    return found
