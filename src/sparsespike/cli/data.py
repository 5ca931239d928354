"""`sparsespike data list | get`."""

from __future__ import annotations

import argparse
from typing import Any

from sparsespike.cli.command import add_command, add_data_folder


def add_data(commands: Any) -> None:
    """Adds the command."""
    epilog = "examples:\n  sparsespike data list\n  sparsespike data get fashion-mnist"
    data = add_command(commands, "data", "list datasets, fetch one", None, epilog)
    actions = data.add_subparsers(title="commands", dest="action", metavar="COMMAND", required=True)
    add_data_folder(
        add_command(actions, "list", "list the datasets: size, licence, folder", _data_list)
    )
    get = add_command(actions, "get", "fetch a dataset into the data folder", _data_get)
    get.add_argument("name", metavar="NAME", help="one of `sparsespike data list`")
    add_data_folder(get)


def _data_list(parsed: argparse.Namespace) -> None:
    from sparsespike import data

    for row in data.listing(root=parsed.data):
        size = "" if row.folder is None else f"{row.n_bytes / 2**20:.1f} MiB"
        print(f"{row.name:24} {size:>10}  {row.licence:8} {row.folder or 'not present'}")


def _data_get(parsed: argparse.Namespace) -> None:
    from sparsespike import data

    print(data.get(parsed.name, root=parsed.data))
