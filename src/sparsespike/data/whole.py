"""Files that are written whole, or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Writes a file atomically: beside the target, to the disk, then renamed over it.

    Raises:
        OSError: if that fails; the previous file is intact.
    """
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        kept = "; the previous file is intact" if path.exists() else ""
        raise OSError(f"cannot save {path}: {error.strerror or error}{kept}") from error
