"""Where kernels are kept on disk: a folder per digest of the sources.

The folder of `NUMBA_CACHE_DIR` where that is set, else the user's cache, else the package's own
`__pycache__`. An installed package is not written to as long as the user's cache can be.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from sparsespike.compiling import sources

KEPT = 8  # folders of other digests: other environments of this user, branches of a clone
SECONDS_UNTOUCHED = 24 * 3600.0  # before a folder may go: a process may be using it

logger = logging.getLogger("sparsespike")


@dataclass(frozen=True)
class Place:
    """A folder of kernels.

    Attributes:
        path: the folder, which need not be there yet; None where none can be read or written.
        refused: why nothing can be written, else "".
    """

    path: Path | None
    refused: str = ""


def user_cache() -> Path:
    """`sparsespike` in the user's cache folder: kernels, downloads, stores, tables tuned on this machine."""
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if Path(xdg).is_absolute():  # the standard says to ignore a relative one
        return Path(xdg) / "sparsespike"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "sparsespike"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/sparsespike"
    return Path.home() / ".cache/sparsespike"


@lru_cache(maxsize=1)
def place() -> Place:
    """The folder of this process: the first that can be written, else the first that can be read."""
    digest = sources.began_with()
    if digest is None:
        return Place(None, f"the sources in {sources.PACKAGE} cannot be read")
    reasons = []
    paths = [root / digest for root in roots()]
    for path in paths:
        try:
            _try_to_write(path.parent)
            _touch(path)
            return Place(path)
        except OSError as error:
            reasons.append(f"{path.parent}: {error.strerror}")
    there = next((path for path in paths if path.is_dir()), None)
    return Place(there, "; ".join(reasons))


def roots() -> list[Path]:
    """Folders that may hold those of the digests, in the order to try."""
    from numba import config

    chosen = getattr(config, "CACHE_DIR", "")
    if chosen:  # the user's word: no other folder in its place
        return [Path(chosen).absolute() / "sparsespike"]
    found = [sources.PACKAGE / "__pycache__" / "kernels"]
    with contextlib.suppress(RuntimeError):  # of a user without a home, as containers have
        found.insert(0, user_cache() / "kernels")
    return found


def prune(path: Path) -> None:
    """Removes folders of other digests beside `path` that are old and not among the newest."""
    try:
        others = [
            (entry.stat().st_mtime, entry.path)
            for entry in os.scandir(path.parent)
            if entry.name != path.name and re.fullmatch("[0-9a-f]{20}", entry.name)
        ]
    except OSError:  # another process removes them too
        return
    for touched, other in sorted(others, reverse=True)[KEPT:]:
        if time.time() - touched > SECONDS_UNTOUCHED:
            shutil.rmtree(other, ignore_errors=True)


@cache
def say_once(text: str) -> None:
    """Logs a warning, once in this process."""
    logger.warning(text)


def _try_to_write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def _touch(path: Path) -> None:
    """Marks a folder as in use, so that it is not the next to go."""
    if path.is_dir():
        os.utime(path)
