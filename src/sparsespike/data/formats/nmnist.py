"""The `.bin` files of N-MNIST and N-Caltech101, many at once.

    x | y | polarity (1 bit), time (23 bits, microseconds, big-endian)          5 bytes an event

An event with y = 240 is none: the counter of the camera ran over, and 2^13 us are added to the times
from there on (G. Orchard, event-Python, `eventvision.read_dataset`; Tonic, `io.read_mnist_file`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsespike.compiling.compiled import compiled
from sparsespike.data.recordings import Recordings, Sensor, checked_sensor

SENSOR = (2, 34, 34)
EVENT_BYTES = 5
OVERFLOW_Y = 240
OVERFLOW_US = 2**13


def read(contents: Sequence[tuple[str, bytes, int]], sensor: Sensor = SENSOR) -> Recordings:
    """Decodes files, in their order; one pass over the bytes, without the interpreter's lock.

    Args:
        contents: (name, bytes, label) of each; the name is for messages.
        sensor: (polarities, height, width), at most (2, 240, 256).

    Returns:
        A recording of each file; an overflow is no event, and so none that was dropped.

    Raises:
        ValueError: naming the file, what was expected and what was found, if it is cut short or an
            event is outside the sensor.
    """
    n_polarity, height, width = _checked_camera(sensor)
    for name, raw, _ in contents:
        if len(raw) % EVENT_BYTES:
            raise ValueError(
                f"{name}: expected {EVENT_BYTES} bytes an event, found {len(raw):,} bytes, "
                f"{len(raw) % EVENT_BYTES} too many"
            )
    stop = np.cumsum([len(raw) for _, raw, _ in contents], dtype=np.int64) // EVENT_BYTES
    raw = np.frombuffer(b"".join(raw for _, raw, _ in contents), np.uint8)
    unit = np.empty(len(raw) // EVENT_BYTES, np.int32)
    time = np.empty(len(unit), np.int64)
    offset = np.zeros(len(contents) + 1, np.int64)
    i, event = _decode(raw, stop, n_polarity, height, width, unit, time, offset)
    if i >= 0:
        x, y, head = raw[EVENT_BYTES * event : EVENT_BYTES * event + 3].tolist()
        raise ValueError(
            f"{contents[i][0]}: event {event - (stop[i - 1] if i else 0):,}: expected x < {width}, "
            f"y < {height} and polarity < {n_polarity}, found x = {x}, y = {y}, polarity {head >> 7}"
        )
    label = np.array([label for *_, label in contents], np.int64)
    return Recordings(unit[: offset[-1]], time[: offset[-1]], offset, label, {})


def _checked_camera(sensor: Sensor) -> tuple[int, int, int]:
    sizes = checked_sensor(sensor)
    if len(sizes) != 3 or sizes[0] > 2 or sizes[1] > OVERFLOW_Y or sizes[2] > 256:
        raise ValueError(f"sensor: expected at most (2, {OVERFLOW_Y}, 256), found {sizes}")
    return sizes


@compiled
def _decode(raw, stop, n_polarity, height, width, out_unit, out_time, out_offset):
    """Returns (-1, -1), or the (file, event) that is outside the sensor.

    Args:
        raw: the bytes of all files.
        stop: (n,) the event at which each file ends.
        out_unit, out_time: (events,) written.
        out_offset: (n + 1,) written.
    """
    n_out = event = 0
    for i in range(len(stop)):
        overflow = np.int64(0)
        while event < stop[i]:
            k = 5 * event
            x, y, head = np.int64(raw[k]), np.int64(raw[k + 1]), np.int64(raw[k + 2])
            if y == OVERFLOW_Y:
                overflow += OVERFLOW_US
            else:
                p = head >> 7
                if x >= width or y >= height or p >= n_polarity:
                    return i, event
                low = (np.int64(raw[k + 3]) << 8) | np.int64(raw[k + 4])
                out_unit[n_out] = (p * height + y) * width + x
                out_time[n_out] = ((head & 127) << 16 | low) + overflow
                n_out += 1
            event += 1
        out_offset[i + 1] = n_out
    return -1, -1
