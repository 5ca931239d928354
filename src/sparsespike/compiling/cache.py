"""One kernel's compiled code on disk, a file per combination of argument types."""

from __future__ import annotations

import hashlib
import os
import pickle
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from sparsespike.compiling import sources
from sparsespike.compiling.folder import place, prune, say_once

BYTES = 32  # of the checksum that a file begins with


class KernelCache(NullCache):
    """What Numba asks for a compiled kernel, and gives it to.

    In place of Numba's own cache, which misses changes in other files than the function's, and whose
    index gives two processes that compile at once the same file for two combinations of types.
    A file is named by kernel, types and processor, holds them too, and is written beside and renamed.

    Args:
        function: the kernel, of a module of this package that is in the digest (`sources.py`).

    Raises:
        ValueError: if the digest does not know its source.
    """

    def __init__(self, function: Callable) -> None:
        file = Path(function.__code__.co_filename)
        inside = file.relative_to(sources.PACKAGE).parts if _in_package(file) else ()
        if not inside or inside[0] in sources.ABOVE or function.__closure__:
            raise ValueError(
                f"kernel: expected a function of a room below ops, without a closure; found {function!r}"
            )
        sources.began_with()  # now, before a long-lived process sees others
        self.name = f"{file.stem}.{function.__qualname__}"
        self._module = function.__module__

    @property
    def cache_path(self) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The folder."""
        path = place().path
        return None if path is None else str(path)

    def load_overload(  # pyright: ignore[reportIncompatibleMethodOverride], that of no cache gives none
        self, sig: Any, target_context: Any
    ) -> CompileResult | None:
        """The kernel for these types; None where it must be compiled."""
        target_context.refresh()
        folder = place().path
        if folder is None or not _known(sig) or not sources.unchanged():
            return None
        key = self._key(sig, target_context.codegen())
        try:
            content = (folder / self._file(key)).read_bytes()
            # A file that was cut short, or is of another combination with the same name, is as none.
            if hashlib.sha256(content[BYTES:]).digest() != content[:BYTES]:
                return None
            stored, reduced = pickle.loads(content[BYTES:])
            return CompileResult._rebuild(target_context, *reduced) if stored == key else None
        except OSError:
            return None

    def save_overload(self, sig: Any, cres: CompileResult) -> None:
        """Keeps a kernel; where that cannot be, says so once and goes on."""
        if not _known(sig) or cres.lifted or cres.library.has_dynamic_globals:
            return
        if not sources.unchanged():
            say_once(
                "the sources of sparsespike have changed since this process began: what it compiles "
                "from now on is not kept; start it anew"
            )
            return
        folder, refused = place().path, place().refused
        if folder is not None and not refused:
            key = self._key(sig, cres.codegen)
            content = dumps((key, cres._reduce()))
            content = hashlib.sha256(content).digest() + content
            try:
                _write(folder / self._file(key), content)
                return
            except OSError as error:
                refused = f"{folder}: {error.strerror}"
        say_once(
            f"kernels are not kept, every process compiles them anew ({refused}); "
            "NUMBA_CACHE_DIR=<a folder that can be written> keeps them"
        )

    def _key(self, sig: Any, codegen: Any) -> tuple:
        # magic_tuple: the system, the processor's name and its features.
        return (self._module, self.name, sig, codegen.magic_tuple())

    def _file(self, key: tuple) -> str:
        return f"{self.name}-{hashlib.sha256(str(key).encode()).hexdigest()[:20]}.kernel"


def _write(path: Path, content: bytes) -> None:
    new = not path.parent.is_dir()
    path.parent.mkdir(parents=True, exist_ok=True)
    if new:
        prune(path.parent)
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _known(sig: Any) -> bool:
    """Whether all types are this package's or Numba's: verbs of others can be inlined for theirs."""
    package = __name__.partition(".")[0]
    return all(
        cls.__module__.partition(".")[0] in ("numba", package)
        for part in getattr(sig, "args", sig)
        for cls in _classes(part)
    )


def _classes(part: Any) -> Iterator[type]:
    yield type(part)
    if isinstance(getattr(part, "instance_class", None), type):
        yield part.instance_class
    for inner in getattr(part, "types", ()):
        yield from _classes(inner)


def _in_package(file: Path) -> bool:
    return sources.PACKAGE in file.parents
