"""`sparsespike data list | get | show | stats`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsespike.cli.command import add_command, add_data_folder, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from sparsespike.data import Listing


def add_data(commands: Any, argv: list[str]) -> None:
    """Adds the command; `argv` only to know whether the help of `data get` is asked for."""
    epilog = (
        "examples:\n"
        "  sparsespike data list\n"
        "  sparsespike data get fashion-mnist\n"
        "  sparsespike data show fashion-mnist-sample --sample 3\n"
        "  sparsespike data show nmnist --sample 3 --out three.png\n"
        "  sparsespike data stats shd --split test --steps 100 --dt 0.01"
    )
    data = add_command(commands, "data", "list, fetch and look at datasets", None, epilog)
    actions = data.add_subparsers(title="commands", dest="action", metavar="COMMAND", required=True)
    listed = "list the datasets: size, samples, licence, folder"
    add_data_folder(add_command(actions, "list", listed, _list))
    get = _add_named(actions, "get", "fetch a dataset into the data folder", _get)
    if argv[:2] == ["data", "get"] and {"-h", "--help"} & set(argv):
        from sparsespike.data.library import addresses  # takes seconds: not for the other commands

        get.epilog = f"files, to be put into ROOT/NAME where they cannot be fetched:\n{addresses()}"
    show = _add_named(actions, "show", "look at one sample, here or as a picture", _show)
    _add_split(show)
    show.add_argument(
        "--sample", type=int, default=0, metavar="N", help="which one, from 0 (default: 0)"
    )
    show.add_argument("--out", type=Path, metavar="FILE.png", help="write a picture instead")
    stats = _add_named(actions, "stats", "tell what is in it, and what a grid makes of it", _stats)
    _add_split(stats)
    stats.add_argument(
        "--steps", type=int, default=100, metavar="N", help="T, steps of a sample (default: 100)"
    )
    stats.add_argument(
        "--dt", type=float, default=1e-3, metavar="X", help="time step, seconds (default: 0.001)"
    )


def _add_named(actions: Any, name: str, summary: str, run: Any) -> argparse.ArgumentParser:
    parser = add_command(actions, name, summary, run)
    parser.add_argument(
        "name", metavar="NAME", help="one of `sparsespike data list`, or a folder of stores"
    )
    add_data_folder(parser)
    return parser


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--split", default="train", metavar="NAME", help="train, test, or valid (default: train)"
    )


def _list(parsed: argparse.Namespace) -> None:
    from sparsespike import data

    print_table(_listing_table(data.listing(root=parsed.data)))


def _listing_table(rows: list[Listing]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("samples", justify="right", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    table.add_column("folder", overflow="fold")
    for row in rows:
        here = row.folder is not None
        size = f"{row.n_bytes / 2**20:,.1f} MiB" if here else ""
        samples = f"{sum(row.n_samples.values()):,}" if row.n_samples else ""
        folder = str(row.folder) if here else "not present"
        table.add_row(row.name, size, samples, row.licence, folder, style="" if here else "dim")
    return table


def _get(parsed: argparse.Namespace) -> None:
    from sparsespike import data

    print(data.get(parsed.name, root=parsed.data))


def _show(parsed: argparse.Namespace) -> None:
    from rich.console import Console

    from sparsespike import data
    from sparsespike.data.show import draw, terminal

    dataset = data.load(parsed.name, split=parsed.split, root=parsed.data)
    if parsed.out is not None:
        draw(dataset, parsed.sample, parsed.out)
        print(parsed.out)
        return
    console = Console(highlight=False)
    # Less shows nothing, and more is hard to take in.
    width = max(40, min(console.width, 120))
    console.print(terminal(dataset, parsed.sample, width), soft_wrap=True)


def _stats(parsed: argparse.Namespace) -> None:
    from sparsespike import data
    from sparsespike.data.stats import stats, table

    dataset = data.load(parsed.name, split=parsed.split, root=parsed.data)
    print_table(table(stats(dataset, parsed.steps, parsed.dt)))
