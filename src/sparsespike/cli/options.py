"""Command-line options from the fields of a dataclass: names, types, choices and help; and their parser.

The field `b_th: float` becomes `--b-th X`, its help is its line under "Attributes:" in the docstring.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal, NoReturn

from sparsespike.spikes.arguments import nearest

_METAVAR = {int: "N", float: "X", str: "NAME", Path: "PATH"}


class UsageError(ValueError):
    """The command line cannot be understood."""


class Parser(argparse.ArgumentParser):
    """argparse with errors as exceptions, one line each, and without abbreviated options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            **settings, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        """Raises UsageError, with the nearest choice if one was mistyped."""
        found = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        hint = nearest(found[1], re.findall(r"[\w-]+", found[2])) if found else ""
        raise UsageError(f"{message}{hint} (see {self.prog} --help)")


def add_options(parser: argparse._ActionsContainer, kind: type, shown: Any) -> None:
    """Adds one option per field; those not given stay absent from what is parsed.

    Args:
        parser: a parser or a group of one, takes the options.
        kind: the dataclass; its fields are int, float, str, bool, Path, a `Literal`, a tuple of one
            of these, or one of these or None.
        shown: an instance, whose values are shown as the defaults.
    """
    helps = attribute_help(kind)
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        default = _spelled(getattr(shown, field.name))
        text = f"{helps.get(field.name, '')} (default: {default})".strip().replace("%", "%%")
        flag = "--" + field.name.replace("_", "-")
        form: dict[str, Any] = _form(hints[field.name])
        parser.add_argument(flag, dest=field.name, default=argparse.SUPPRESS, help=text, **form)


def given(kind: type, parsed: argparse.Namespace) -> dict[str, Any]:
    """The fields whose options were given, by name."""
    values = {item.name: getattr(parsed, item.name, None) for item in dataclasses.fields(kind)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None
    }


def attribute_help(kind: type) -> dict[str, str]:
    """The text of each attribute, from the "Attributes:" section of the class docstring."""
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    section = re.split(r"^\S", section, maxsplit=1, flags=re.MULTILINE)[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _form(hint: Any) -> dict[str, Any]:
    """The keyword arguments of `add_argument` for a type."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return _form(next(item for item in typing.get_args(hint) if item is not type(None)))
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        # A list of texts may be empty: "--augment" alone takes away the recipe's.
        return {**_form(kind), "nargs": "*"}
    if typing.get_origin(hint) is Literal:
        return {"choices": typing.get_args(hint)}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": hint, "metavar": _METAVAR[hint]}


def _spelled(value: Any) -> str:
    """A value as one would type it."""
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
