"""Folders of the user in which the library may keep files; on the floor below every room."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_cache() -> Path:
    """`sparsespike` in the user's cache folder: downloads, stores, tables tuned on this machine."""
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if Path(xdg).is_absolute():  # the standard says to ignore a relative one
        return Path(xdg) / "sparsespike"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "sparsespike"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/sparsespike"
    return Path.home() / ".cache/sparsespike"
