"""The sources that can go into a kernel, and their digest.

Numba inlines functions and freezes constants, of whatever modules they come from. So every source of the
package counts, except those of the rooms above the kernels: imports run one way, and nothing of
those can be in a kernel (`tests/test_kernel_cache.py` walks the imports).
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
ABOVE = frozenset(
    {
        "__init__.py",
        "__main__.py",
        "bench",
        "cli",
        "connections",
        "interop",
        "losses",
        "network.py",
        "neurons",
        "ops",
        "pages",
        "recipes",
        "report",
        "reproduce",
        "streaming.py",
        "training",
    }
)
# Of Numba's own variables, those that do not change what is compiled.
HARMLESS = frozenset({"NUMBA_CACHE_DIR", "NUMBA_DEBUG_CACHE", "NUMBA_NUM_THREADS"})

Stamp = tuple[tuple[str, int, int], ...]


def began_with() -> str | None:
    """Digest of the sources that this process began with; None where there are none to read (a zip file)."""
    return _first()[1]


def unchanged() -> bool:
    """Whether the sources are still those that this process began with.

    If not, the process has old modules in memory, perhaps new ones too: what it compiles fits neither.
    """
    return stamp() == _first()[0]


def stamp() -> Stamp:
    """Path, time of change and size of every source. Costs a look at each, 1 ms in all."""
    return tuple(sorted(_seen(str(PACKAGE), ABOVE)))


def digest(sources: Stamp) -> str | None:
    """Digest of all that decides what a kernel is compiled to, but for the processor (see `cache.py`).

    Sources, versions, and the variables by which Numba is told how to compile.
    """
    if not sources:
        return None
    import llvmlite
    import numba
    import numpy

    summed = hashlib.sha256()
    for version in (sys.version, numba.__version__, llvmlite.__version__, numpy.__version__):
        summed.update(f"{version}\0".encode())
    for name, value in sorted(os.environ.items()):
        if name.startswith("NUMBA_") and name not in HARMLESS:
            summed.update(f"{name}={value}\0".encode())
    for path, _, _ in sources:
        with open(path, "rb") as file:
            content = file.read()
        summed.update(f"{os.path.relpath(path, PACKAGE)}\0{len(content)}\0".encode())
        summed.update(content)
    return summed.hexdigest()[:20]


@lru_cache(maxsize=1)
def _first() -> tuple[Stamp, str | None]:
    before = stamp()
    try:
        return before, digest(before)
    except OSError:  # a file that went while it was looked at
        return before, None


def _seen(folder: str, but: frozenset[str] = frozenset()) -> Iterator[tuple[str, int, int]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name in but or entry.name == "__pycache__":
            continue
        if entry.name.endswith(".py"):
            about = entry.stat()
            yield entry.path, about.st_mtime_ns, about.st_size
        elif entry.is_dir():
            yield from _seen(entry.path)
