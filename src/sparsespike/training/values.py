"""Values of a recipe, checked: the type and range of each field, and texts such as `FastSigmoid(100)`.

This module imports nothing heavy, as `recipe.py` does not.
"""

from __future__ import annotations

import ast
import math
import re
import typing
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from sparsespike.spikes.arguments import nearest

CONNECTIONS = "Conv2d", "Conv1d", "Linear", "SparseLinear.random"
NEURONS = "LIF", "CuBaLIF", "ALIF", "AdLIF"
DISTRIBUTIONS = "Gamma", "Normal", "Uniform"
LAYERS = (*CONNECTIONS, "MaxPool2d", "AvgPool2d", "SumPool2d", "Flatten", "Dropout")


def _anything(value: object) -> bool:
    return True


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _not_negative(value: float) -> bool:
    return math.isfinite(value) and value >= 0


_SECONDS = ("a finite number of seconds > 0", _positive)
_POSITIVE = ("a finite number > 0", _positive)
_NOT_NEGATIVE = ("a finite number >= 0", _not_negative)
_SHARE = ("a share in [0, 1)", lambda value: 0 <= value < 1)
_COUNT = ("an integer >= 1", lambda value: value >= 1)

_RANGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "hidden": (
        "one or more integers >= 1",
        lambda value: all(size >= 1 for size in value),
    ),
    "steps": ("an integer >= 2", lambda value: value >= 2),
    "chunk": ("an integer >= 0", lambda value: value >= 0),
    "dt": _SECONDS,
    "tau_mem": ("a number of seconds > 0", lambda value: value > 0),
    "tau_readout": _SECONDS,
    "v_th": _POSITIVE,
    "b_th": ("a half-width > 0", lambda value: value > 0),
    "init_gain": _POSITIVE,
    "batch_size": _COUNT,
    "accumulate": _COUNT,
    "epochs": _COUNT,
    "lr": _POSITIVE,
    "lr_numbers": _POSITIVE,
    "delay": ("an integer >= 0", lambda value: value >= 0),
    "weight_decay": _NOT_NEGATIVE,
    "clip_norm": _NOT_NEGATIVE,
    "ema": _SHARE,
    "label_smoothing": _SHARE,
    "activity_upper": _NOT_NEGATIVE,
    "activity_upper_weight": _NOT_NEGATIVE,
    "activity_lower_weight": _NOT_NEGATIVE,
    "validation": _SHARE,
    "seed": ("an integer in [0, 2^63)", lambda value: 0 <= value < 2**63),
}


def checked(field: str, value: Any, kind: Any) -> Any:
    """A recipe's value as its field keeps it: of the field's type, and in its range.

    Args:
        field: of the recipe.
        value: given for it, as Python, TOML or JSON have it.
        kind: type of the field: int, float, str, bool, a tuple of one of these, or a choice of texts.

    Raises:
        ValueError: naming the field, what was expected and what was found.
    """
    value = _typed(field, value, kind)
    expected, holds = _RANGES.get(field, ("", _anything))
    if not holds(value):
        raise ValueError(f"{field}: expected {expected}, found {value!r}")
    return value


def called(field: str, text: str, known: tuple[str, ...]) -> tuple[str, list[int | float]]:
    """`Name` or `Name(number, ...)` -> (name, numbers).

    Args:
        field: of the recipe.
        text: its value, or one of its values.
        known: names to choose from.

    Raises:
        ValueError: if the name is unknown, or what is in the parentheses are not finite numbers >= 0.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text)
    name, inside = match.groups() if match else (text, None)
    if name not in known:
        raise ValueError(
            f"{field}: expected one of {', '.join(known)}, found {text!r}{nearest(name, list(known))}"
        )
    try:
        numbers = [_number(word) for word in inside.split(",")] if inside is not None else []
    except ValueError:
        raise ValueError(f"{field}: expected numbers in {name}(...), found {text!r}") from None
    if not all(_not_negative(number) for number in numbers):
        raise ValueError(f"{field}: expected finite numbers >= 0 in {name}(...), found {text!r}")
    return name, numbers


class Call(NamedTuple):
    """`Name(value, ..., word=value)`.

    Attributes:
        name: what is called.
        values, named: with what.
    """

    name: str
    values: list[Any]
    named: dict[str, Any]


def call(field: str, text: str, known: tuple[str, ...], inner: tuple[str, ...] = ()) -> Call:
    """`Name(value, ..., word=value)` as Python writes it; nothing is run.

    Args:
        field: of the recipe.
        text: one of its values.
        known: names to choose from.
        inner: names of which a value may be a call, too.

    Raises:
        ValueError: if it is no call of a known name with plain values.
    """

    def read(tree: ast.expr) -> Any:
        if isinstance(tree, ast.Call) and ast.unparse(tree.func) in inner:
            return parts(tree)
        return ast.literal_eval(tree)

    def parts(tree: ast.Call) -> Call:
        named = {str(word.arg): read(word.value) for word in tree.keywords}
        return Call(ast.unparse(tree.func), [read(value) for value in tree.args], named)

    try:
        tree = ast.parse(text.strip(), mode="eval").body
        found = parts(tree if isinstance(tree, ast.Call) else ast.Call(tree, [], []))
    except (SyntaxError, ValueError):
        raise ValueError(
            f"{field}: expected Name(value, word=value), the values numbers or texts, found {text!r}"
        ) from None
    if found.name not in known:
        hint = nearest(found.name, list(known))
        raise ValueError(f"{field}: expected one of {', '.join(known)}, found {text!r}{hint}")
    return found


def _typed(field: str, value: Any, kind: Any) -> Any:
    """The value as `kind`; whole numbers pass as floats and lists as tuples, nothing else is bent."""
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            hint = nearest(value, list(choices)) if isinstance(value, str) else ""
            raise ValueError(
                f"{field}: expected one of {', '.join(choices)}, found {value!r}{hint}"
            )
        return value
    if typing.get_origin(kind) is tuple:
        item_kind = typing.get_args(kind)[0]
        if isinstance(value, list | tuple):
            return tuple(_typed(field, item, item_kind) for item in value)
        word = {int: "integers", str: "texts"}[item_kind]
        raise ValueError(f"{field}: expected a list of {word}, found {value!r}")
    if kind is float and (type(value) is int or value == "inf"):
        return float(value)
    if type(value) is not kind:  # bool is an int to isinstance
        words = {int: "an integer", float: "a number", str: "a text", bool: "true or false"}
        word = words[kind]
        raise ValueError(f"{field}: expected {word}, found {value!r}")
    return value


def _number(word: str) -> int | float:
    try:
        return int(word)
    except ValueError:
        return float(word)
