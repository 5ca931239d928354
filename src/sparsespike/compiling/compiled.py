"""The decorator of every Numba kernel that is kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from numba import njit

from sparsespike.compiling.cache import KernelCache
from sparsespike.compiling.progress import following


def compiled(
    function: Callable | None = None,
    *,
    error_model: Literal["python", "numpy"] = "python",
    borrows: bool = False,
) -> Any:
    """Makes a kernel of a function: `numba.njit`, without the GIL, kept on disk.

    In place of `njit(cache=True)`, whose index looks at the function's own file only: it goes on with the old
    code when an inlined function changed. What a kernel inlines may stay plain `njit`.

    Args:
        function: of this package; it may call functions and read constants of any room below `ops`.
        error_model: "python" raises where an integer is divided by zero, "numpy" tests nothing.
        borrows: whether it and all that it calls make no array and keep none, and so need not count
            references: an atomic operation for each array that is passed on, in every step of a walk.
    """
    if function is None:
        return lambda function: compiled(function, error_model=error_model, borrows=borrows)
    counts: dict[str, Any] = {"_nrt": False} if borrows else {}
    dispatcher: Any = njit(nogil=True, error_model=error_model, **counts)(function)
    if hasattr(dispatcher, "enable_caching"):  # not so under NUMBA_DISABLE_JIT=1
        dispatcher._cache = KernelCache(function)
        following().kernels.append(dispatcher)
    return dispatcher
