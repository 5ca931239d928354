"""What the commands share: how one is made, the options several have, how they print."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_command(
    commands: Any,
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], None] | None,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    """A command that does `run`, or that only holds further ones."""
    described = summary[0].upper() + summary[1:] + "."
    parser = commands.add_parser(name, help=summary, description=described, epilog=epilog)
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_data_folder(parser: argparse.ArgumentParser) -> None:
    """Adds --data."""
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of the datasets")


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Adds --threads, which `main` obeys before the command runs."""
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads to compute with (default: torch's choice)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of a table"
    )


def print_json(value: dict[str, Any]) -> None:
    """Prints one object in one line; a number that JSON has no word for is an error."""
    print(json.dumps(value, allow_nan=False))


def print_table(table: Any) -> None:
    """Prints a table of rich."""
    from rich.console import Console

    Console(highlight=False).print(table)
