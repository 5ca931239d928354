"""Random changes that damage a file, for `fuzz_formats`."""

from __future__ import annotations

import random

CLAIMS = [
    0,
    1,
    2**7,
    2**8 - 1,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63 - 1,
    2**64 - 1,
]
NUMBERS = [
    b"-1",
    b"0",
    b"12",
    b"99999",
    b"4294967296",
    b"9223372036854775807",
    b"1e999",
    b"nan",
    b"0.5",
]


def changed(raw: bytes, draw: random.Random) -> bytes:
    """An input after one to four changes, or none."""
    found = bytearray(raw)
    for _ in range(draw.choice([0, 1, 1, 1, 1, 2, 3, 4])):
        draw.choice(CHANGES)(found, draw)
    return bytes(found)


def cut(raw: bytearray, draw: random.Random) -> None:
    """The end is missing; all of it, at times."""
    del raw[
        draw.choice([0, draw.randrange(len(raw) + 1), max(0, len(raw) - draw.randrange(1, 9))]) :
    ]


def flip(raw: bytearray, draw: random.Random) -> None:
    """Bits are the opposite."""
    for _ in range(draw.choice([1, 1, 2, 8]) if raw else 0):
        raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)


def claim(raw: bytearray, draw: random.Random) -> None:
    """A number is another: huge, zero, negative."""
    n_bytes = draw.choice([2, 4, 8])
    place = draw.randrange(len(raw) + 1)
    place -= draw.choice([0, place % 4])
    value = draw.choice(CLAIMS) % (1 << 8 * n_bytes)
    written = value.to_bytes(n_bytes, "little")
    raw[place : place + n_bytes] = written if draw.randrange(2) else written[::-1]


def splice(raw: bytearray, draw: random.Random) -> None:
    """Bytes are copied from elsewhere, over others or between them; events go back in time."""
    n_bytes = draw.choice([1, 5, 8, 16, 28, draw.randrange(1, 200)])
    source, target = draw.randrange(len(raw) + 1), draw.randrange(len(raw) + 1)
    covered = draw.choice([0, n_bytes])
    raw[target : target + covered] = raw[source : source + n_bytes]


def remove(raw: bytearray, draw: random.Random) -> None:
    """Bytes are missing."""
    place = draw.randrange(len(raw) + 1)
    del raw[place : place + draw.choice([1, 4, 5, 8, 28])]


def noise(raw: bytearray, draw: random.Random) -> None:
    """Bytes are random."""
    place = draw.randrange(len(raw) + 1)
    n_bytes = draw.choice([1, 4, 40])
    raw[place : place + n_bytes] = draw.randbytes(n_bytes)


def number(raw: bytearray, draw: random.Random) -> None:
    """A number written in digits is another."""
    digits = [i for i, byte in enumerate(raw) if 48 <= byte < 58]
    if digits:
        start = stop = draw.choice(digits)
        while stop < len(raw) and 48 <= raw[stop] < 58:
            stop += 1
        raw[start:stop] = draw.choice(NUMBERS)


CHANGES = [cut, flip, flip, claim, claim, splice, splice, remove, noise, number]
