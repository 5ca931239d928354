"""Arguments at the door: what counts as an integer, a number or a list, and the words for what does not.

An integer or a number may be Python's, NumPy's or a tensor of no dimension; what it is goes on as
Python's own. This module imports nothing heavy, so that the command line can use it without torch.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# One number for all axes, or one each.
Sizes = int | Sequence[int]


def integer(name: str, value: Any, least: int, below: int | None = None) -> int:
    """An argument that is a whole number.

    Args:
        name: of the argument.
        value: given for it.
        least, below: it lies in [least, below); None for no upper end.

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """
    try:
        found = None if _is_array(value) or _is_bool(value) else operator.index(value)
    except (TypeError, RuntimeError):  # torch raises either
        found = None
    if found is None or found < least or (below is not None and found >= below):
        range_ = f">= {least}" if below is None else f"in [{least}, {below})"
        raise ValueError(f"{name}: expected an integer {range_}, found {described(value)}")
    return found


def number(name: str, value: Any, expected: str = "a number") -> float:
    """An argument that is a number, be it infinite or NaN; see `integer`.

    Args:
        name: of the argument.
        value: given for it.
        expected: what the message says it should be.

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """
    try:
        if not (_is_array(value) or _is_bool(value) or isinstance(value, str | bytes)):
            return float(value)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise ValueError(f"{name}: expected {expected}, found {described(value)}")


def at_least(name: str, value: Any, least: float) -> float:
    """A finite number >= `least`; see `number`."""
    expected = f"a finite number >= {least:g}"
    found = number(name, value, expected)
    if not (math.isfinite(found) and found >= least):
        raise ValueError(f"{name}: expected {expected}, found {described(value)}")
    return found


def items(name: str, value: Any, expected: str) -> list[Any]:
    """An argument that is a list, or anything else to go through, but no text and no single number.

    Raises:
        ValueError: naming the argument, what was expected and what was found.
    """
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | dict):
        try:
            return list(value)
        except TypeError:  # an array or a tensor of no dimension
            pass
    raise ValueError(f"{name}: expected {expected}, found {described(value)}")


def sizes(name: str, value: Sizes, n: int, least: int) -> tuple[int, ...]:
    """One number, or n of them, as n numbers >= `least`; see `integer`."""
    if not isinstance(value, Iterable):
        return (integer(name, value, least),) * n
    expected = f"a number or {n}, >= {least}"
    found = tuple(integer(name, size, least) for size in items(name, value, expected))
    if len(found) != n:
        raise ValueError(f"{name}: expected {expected}, found {described(value)}")
    return found


def flag(name: str, value: Any) -> bool:
    """An argument that is True or False; see `integer`."""
    if _is_array(value) or not _is_bool(value):
        raise ValueError(f"{name}: expected True or False, found {described(value)}")
    return bool(value)


def text(name: str, value: Any) -> str:
    """An argument that is text; see `integer`."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected text, found {described(value)}")
    return value


def path_of(name: str, value: Any) -> Path:
    """An argument that is a path, be there a file or not; see `integer`."""
    try:
        found = Path(value)
    except TypeError:
        found = None
    if found is None or "\0" in str(found):
        raise ValueError(f"{name}: expected a path, found {described(value)}")
    return found


def described(value: Any) -> str:
    """What was found, for a message: arrays by type and shape, small things as they are written."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    shape = shape if isinstance(shape, tuple) else None  # of a distribution it is a number
    if shape and dtype is not None:
        return f"{dtype} of shape {tuple(shape)}"
    if shape is not None and dtype is None:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = f"list {value}" if isinstance(value, list) else repr(value)
    return text if len(text) <= 80 else f"{type(value).__name__} {text[:60]}…"


def nearest(word: str, known: list[str]) -> str:
    """The hint for a mistyped word: `; did you mean ...?`, or nothing if none is near."""
    near = difflib.get_close_matches(str(word), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _is_array(value: Any) -> bool:
    return bool(getattr(value, "ndim", 0))


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
