"""Reads damaged files: each must end in sound recordings or in a ValueError, in bounded time and memory.

python tools/fuzz_formats.py --inputs 200000 --seed 0 --out results/fuzz.jsonl

The seeds are valid files of each format; an input is one of them after a few random changes, made from
(seed, format, number) alone, so that `--only FORMAT --first NUMBER --inputs 1` makes it again. Inputs are
read in forked processes: what ends one is counted, and the next goes on after it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import fuzz_seeds
import numpy as np
from fuzz_changes import changed
from fuzz_seeds import N_UNITS, SIZE, format_files
from rich.console import Console
from rich.table import Table

from sparsespike.bench.report import append_lines, environment
from sparsespike.data import EventDataset, idx, store
from sparsespike.data.formats import aedat3, camera, hdf5, nmnist, table
from sparsespike.data.recordings import Recordings

SECONDS = 5  # an input may take
MEMORY = 2**29  # bytes an input may take beyond what the process has; the files are a few thousand
AT_ONCE = 500  # inputs of a process
SENSOR = (2, *SIZE[::-1])
REFUSED = (ValueError, OSError)


class Format(NamedTuple):
    """What is fuzzed: valid files, how one is read, and the share of the inputs it gets."""

    seeds: list[bytes]
    read: Callable[[bytes, Path], None]
    share: float


# ---- readers -----------------------------------------------------------------------------------


def check(found: Recordings, n_units: int, at_most: int) -> None:
    """Raises AssertionError if recordings break a rule, or hold more events than their file could."""
    offset = found.offset
    assert (offset[0], offset[-1]) == (0, len(found.unit)), "bounds"
    assert len(found.time) == len(found.unit), "lengths"
    assert len(offset) == len(found.label) + 1, "labels"
    assert (np.diff(offset) >= 0).all(), "bounds descend"
    assert all(len(value) == len(found.label) for value in found.meta.values()), "meta"
    if len(found.unit):
        assert 0 <= found.unit.min() <= found.unit.max() < n_units, "units"
        assert found.time.min() >= 0, "times"
    assert 0 <= found.n_dropped <= at_most - len(found.unit), "too many events"


def read_nmnist(raw: bytes, path: Path) -> None:
    """Two files, of which the second is whole."""
    contents = [("damaged.bin", raw, 3), ("whole.bin", format_files.nmnist([(1, 2, 1, 7)]), 4)]
    check(nmnist.read(contents), 2 * 34 * 34, len(raw) // 5 + 1)


def read_aedat3(raw: bytes, path: Path) -> None:
    """A file and its table, in one input, divided by their lengths."""
    table_bytes = int.from_bytes(raw[:2], "little")
    found = aedat3.read("some.aedat", raw[2 + table_bytes :], raw[2 : 2 + table_bytes])
    check(found, 2 * 128 * 128, len(raw) // 8)
    assert 0 <= found.label.min() <= found.label.max() < 11, "labels"


def read_table(raw: bytes, path: Path) -> None:
    """A table in milliseconds."""
    path.write_bytes(raw)
    check(table.read(path, N_UNITS, 0, time_unit="ms"), N_UNITS, len(raw) // 3 + 1)


def read_hdf5(raw: bytes, path: Path) -> None:
    """What a file holds, then all of it."""
    path.write_bytes(raw)
    n, n_classes, classes = hdf5.contents(path)
    assert len(classes) in (0, n_classes), "classes"
    found = hdf5.read(path, N_UNITS)
    assert len(found.label) == n, "recordings"
    assert 0 <= found.label.min(initial=0) <= found.label.max(initial=0) < n_classes, "labels"
    check(found, N_UNITS, len(raw))


def read_store(raw: bytes, path: Path) -> None:
    """A store: opened, all of it in a batch, and its checksum."""
    path.write_bytes(raw)
    recordings, about = store.read(path)
    dataset = EventDataset.open(path)
    spikes, label = dataset.batch(np.arange(len(dataset)), steps=20)
    assert spikes.shape == (len(recordings.label), 20, about.n_units), "shape"
    assert spikes.n_spikes <= len(raw), "too many spikes"
    assert 0 <= label.numpy().min(initial=0) <= label.numpy().max(initial=0) < about.n_classes, (
        "labels"
    )
    dataset.verify()


def read_idx(raw: bytes, path: Path) -> None:
    """An idx file of labels or images, with or without gzip."""
    path.write_bytes(raw)
    ndim = 3 if path.name.endswith("3") else 1
    found = idx.read(path, ndim)
    assert found.ndim == ndim, "dimensions"
    assert found.size <= 1100 * len(raw), "more than gzip can pack"


class Camera:
    """Files of a kind of camera, read as `camera.read` does, by one decoder until a file ends it."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self._process = 0

    def __call__(self, raw: bytes, path: Path) -> None:
        """Reads one file."""
        path = path.with_suffix(self.suffix)
        path.write_bytes(raw)
        camera._check(path)
        if self._process != os.getpid():  # the decoder of another process is not asked
            self._process, self._open = os.getpid(), contextlib.ExitStack()
            self._decoder = self._open.enter_context(camera._decoder())
        try:
            unit, when = camera._recording(self._decoder, path, SENSOR)
        except ValueError as error:
            if "found a damaged one" not in str(error):  # it ended, or has more to say
                self._open.close()
                self._process = 0
            raise
        at_most = camera.MAX_EVENTS_PER_BYTE * len(raw)
        offset, label = np.array([0, len(unit)]), np.array([0])
        check(Recordings(unit, when, offset, label, {}), 2 * SIZE[0] * SIZE[1], at_most)


# ---- running -----------------------------------------------------------------------------------


def formats(folder: Path) -> dict[str, Format]:
    """All formats by name."""
    draw = random.Random(0)
    found = {
        "nmnist": Format(
            [
                format_files.nmnist(fuzz_seeds.events(n, (34, 34), 2**23 + 9000, draw))
                for n in (1, 9, 60)
            ],
            read_nmnist,
            0.1,
        ),
        "aedat3": Format(fuzz_seeds.aedat3_seeds(draw), read_aedat3, 0.22),
        "table": Format(
            [
                b"1, 2\n",
                b"time,unit\n0.5;3\n",
                b"# no\n" + b"".join(b"%d\t%d\n" % (i, i) for i in range(99)),
            ],
            read_table,
            0.15,
        ),
        "hdf5": Format(fuzz_seeds.hdf5_seeds(draw), read_hdf5, 0.25),
        "store": Format(fuzz_seeds.store_seeds(folder, draw), read_store, 0.15),
        "idx": Format(fuzz_seeds.idx_seeds(), read_idx, 0.1),
    }
    for name, encoder in (("raw2", "evt2"), ("raw3", "evt3"), ("dat", "dat"), ("es", "es")):
        encode = getattr(format_files, encoder)
        seeds = [encode(fuzz_seeds.events(n, SIZE, 9000, draw), *SIZE) for n in (1, 40)]
        found[name] = Format(seeds, Camera(f".{name.rstrip('23')}"), 0.006)
    found["aedat4"] = Format(fuzz_seeds.aedat4_seeds(folder, draw), Camera(".aedat4"), 0.006)
    return found


class Outcomes(NamedTuple):
    """How many inputs ended how, those that failed, and the slowest."""

    ended: collections.Counter[str]
    failures: list[tuple[int, str]]
    slowest: float


def outcomes(name: str, chosen: Format, numbers: range, seed: int, folder: Path) -> Outcomes:
    """Reads inputs in forked processes; goes on after one that ended its process."""
    count: collections.Counter[str] = collections.Counter()
    failures, slowest, following = [], 0.0, numbers.start
    while following < numbers.stop:
        last = min(following + AT_ONCE, numbers.stop)
        for i, how, seconds in _forked(name, chosen, range(following, last), seed, folder):
            kind = how.partition(":")[0]
            count[kind] += 1
            slowest = max(slowest, seconds)
            if kind not in ("read", "refused"):
                failures.append((i, how))
            following = i + 1
    return Outcomes(count, failures, slowest)


def _forked(
    name: str, chosen: Format, numbers: range, seed: int, folder: Path
) -> Iterator[tuple[int, str, float]]:
    source, target = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # torch has threads; none holds a lock here
        process = os.fork()
    if process == 0:
        os.close(source)
        _limit_memory()
        for i in numbers:
            begun = time.perf_counter()
            signal.setitimer(signal.ITIMER_REAL, SECONDS)  # its signal ends a loop in C, too
            how = _read(name, chosen, i, seed, folder)
            signal.setitimer(signal.ITIMER_REAL, 0)
            line = f"{i} {time.perf_counter() - begun:.4f} {how[:300]!a}\n"
            os.write(target, line.encode())
        os._exit(0)
    os.close(target)
    following = numbers.start
    with os.fdopen(source, encoding="ascii") as lines:
        for line in lines:
            i, seconds, how = line.split(" ", 2)
            following = int(i) + 1
            yield int(i), how.strip()[1:-1], float(seconds)
    status = os.waitpid(process, 0)[1]
    if following < numbers.stop:
        ended = os.waitstatus_to_exitcode(status)
        how = "hang" if ended == -signal.SIGALRM else f"crash: signal {-ended}"
        yield following, how, float(SECONDS)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read(name: str, chosen: Format, i: int, seed: int, folder: Path) -> str:
    draw = random.Random(f"{seed} {name} {i}")
    which = draw.randrange(len(chosen.seeds))
    raw = changed(chosen.seeds[which], draw)
    path = folder / f"some{3 if name == 'idx' and which > 1 else ''}"
    try:
        chosen.read(raw, path)
    except REFUSED:
        return "refused"
    except AssertionError as error:
        return f"unsound: {error}"
    except MemoryError as error:
        return f"memory: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "read"


def main() -> int:
    """Fuzzes each format and prints a table; returns how many failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=200_000, help="of all formats together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one format")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each")
    parser.add_argument("--out", type=Path, help="JSONL file, appended to")
    given = parser.parse_args()
    shown = Table("format", "inputs", "read", "refused", "failed", "slowest ms", title="fuzzed")
    # Now: what runs is what was there when it began, whatever is edited meanwhile.
    began, lines, n_failed = environment(), [], 0
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        for name, chosen in formats(folder).items():
            if given.only not in (None, name):
                continue
            n = given.inputs if given.only else max(1, round(given.inputs * chosen.share))
            if not isinstance(chosen.read, Camera):  # whose decoder a fork could not end
                chosen.read(chosen.seeds[0], folder / "some")  # Numba compiles, once for all forks
            numbers = range(given.first, given.first + n)
            count, failures, slowest = outcomes(name, chosen, numbers, given.seed, folder)
            n_failed += len(failures)
            cells = [n, count["read"], count["refused"], len(failures), round(1000 * slowest)]
            shown.add_row(name, *(f"{cell:,}" for cell in cells))
            for i, how in failures[:20]:
                print(f"{name} {i}: {how}")
            about = {
                "bench": "fuzz",
                "format": name,
                "seed": given.seed,
                "first": given.first,
                "n": n,
            }
            ended = {"count": dict(count), "failures": failures[:20], "slowest_s": slowest}
            lines.append({**began, **about, **ended})
    finally:
        shutil.rmtree(folder)
    Console().print(shown)
    if given.out:
        append_lines(given.out, lines)
    return n_failed


if __name__ == "__main__":
    sys.exit(main() > 0)
