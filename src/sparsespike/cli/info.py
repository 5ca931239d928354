"""`sparsespike info`."""

from __future__ import annotations

import argparse
from typing import Any

from sparsespike.cli.command import add_command, add_json, print_json


def add_info(commands: Any) -> None:
    """Adds the command."""
    add_json(add_command(commands, "info", "print versions, threads, backends and folders", _info))


def _info(parsed: argparse.Namespace) -> None:
    from sparsespike.cli.about import about

    facts = about()
    if parsed.json:
        print_json(facts)
        return
    facts["backends"] = ", ".join(facts["backends"])
    for name, folder in facts.pop("data").items():
        facts[name] = folder or "not present"
    for name, value in facts.items():
        print(f"{name:22} {'none' if value is None else value}")
