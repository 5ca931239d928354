"""The decorator of every Numba kernel that is kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from numba import njit

from sparsespike.compiling.cache import KernelCache
from sparsespike.compiling.progress import following


def compiled(
    function: Callable | None = None, *, error_model: Literal["python", "numpy"] = "python"
) -> Any:
    """Makes a kernel of a function: `numba.njit`, without the GIL, kept on disk.

    In place of `njit(cache=True)`, whose index looks at the function's own file only: it goes on with the old
    code when an inlined function changed. What a kernel inlines may stay plain `njit`.

    Args:
        function: of this package; it may call functions and read constants of any room below `ops`.
        error_model: "python" raises where an integer is divided by zero, "numpy" tests nothing.
    """
    if function is None:
        return lambda function: compiled(function, error_model=error_model)
    dispatcher: Any = njit(nogil=True, error_model=error_model)(function)
    if hasattr(dispatcher, "enable_caching"):  # not so under NUMBA_DISABLE_JIT=1
        dispatcher._cache = KernelCache(function)
        following().kernels.append(dispatcher)
    return dispatcher
