"""The process that decodes for `camera`: run by path, it imports faery and NumPy alone.

A damaged file may end this process, take its memory or panic inside faery; never the user's.

In, a line of JSON for each file: its path, whether its events are wanted, and the (width, height) where a
header of Prophesee's has none, or null. Out, a line of JSON: its sensor, or an error; then, if wanted,
packets: the number of events (int64) and these, `EVENT`; -1 ends them, -2 says that an error follows, a
line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import faery
import numpy as np
from numpy.typing import NDArray

EVENT = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
Size = tuple[int, int] | None
MEMORY = 2**32  # bytes of addresses, a packet and what it unpacks to among them


def main() -> None:
    """Answers the lines of standard input, until it ends."""
    with contextlib.suppress(
        ImportError
    ):  # where there is none, a claim may take memory for a while
        import resource

        for what, wanted in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
            hard = resource.getrlimit(what)[1]
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(what, (soft, hard))
    for line in sys.stdin:
        asked = json.loads(line)
        size = asked["size"] and tuple(asked["size"])
        _answer(asked["path"], asked["events"], size, sys.stdout.buffer)


def _answer(path: str, with_events: bool, size: Size, out: BinaryIO) -> None:
    begun = False
    try:
        packets = _packets(path, size)
        width, height = next(packets)
        out.write(json.dumps({"sensor": [2, height, width]}).encode() + b"\n")
        begun = True
        if with_events:
            for packet in packets:
                out.write(len(packet).to_bytes(8, "little", signed=True) + packet.tobytes())
            out.write((-1).to_bytes(8, "little", signed=True))
    # faery's panics are no `Exception`.
    except BaseException as error:
        if begun:
            out.write((-2).to_bytes(8, "little", signed=True))
        found = str(error) or type(error).__name__
        out.write(json.dumps({"error": found[:500]}).encode() + b"\n")
    out.flush()


def _packets(path: str, size: Size) -> Iterator[Any]:
    """(width, height), then arrays of `EVENT`."""
    kind = path.rpartition(".")[2].lower()
    if kind == "aedat4":
        yield from _aedat4(path)
    elif kind == "raw":
        with faery.evt.Decoder(path, size, None) as decoder:
            yield decoder.dimensions
            for packet in decoder:
                if "events" in packet:
                    yield _events(packet["events"], packet["events"]["on"])
    elif kind == "dat":
        with faery.dat.Decoder(path, size, None) as decoder:
            # Two names of the same events, the older one of Prophesee's first recordings.
            if decoder.event_type not in ("cd", "2d") or decoder.dimensions is None:
                raise ValueError(f"expected events of pixels, found type {decoder.event_type}")
            yield decoder.dimensions
            for packet in decoder:
                yield _events(packet, packet["payload"] > 0)
    else:
        yield from _es(path)


def _aedat4(path: str) -> Iterator[Any]:
    with faery.aedat.Decoder(path) as decoder:
        tracks = {t.id: t.dimensions for t in decoder.tracks() if t.data_type == "events"}
        if len(tracks) != 1:
            raise ValueError(f"expected one track of events, found {len(tracks)}")
        ((number, dimensions),) = tracks.items()
        yield dimensions
        for track, packet in decoder:
            if track.id == number and isinstance(packet, np.ndarray):
                yield _events(packet, packet["on"])


def _es(path: str) -> Iterator[Any]:
    with faery.es.Decoder(path, 0) as decoder:
        if decoder.event_type not in ("dvs", "atis") or decoder.dimensions is None:
            raise ValueError(f"expected events of pixels, found type {decoder.event_type}")
        yield decoder.dimensions
        for packet in decoder:
            if decoder.event_type == "atis":
                packet = packet[~packet["exposure"].astype(bool)]
            on = packet["polarity" if decoder.event_type == "atis" else "on"]
            events = _events(packet, on)
            events["y"] = decoder.dimensions[1] - 1 - events["y"]  # its rows are counted from below
            yield events


def _events(packet: NDArray[Any], on: NDArray[Any]) -> NDArray[Any]:
    events = np.empty(len(packet), EVENT)
    for name in "txy":
        events[name] = packet[name]
    events["p"] = on
    return events


if __name__ == "__main__":
    main()
