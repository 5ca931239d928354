"""`sparsespike report`: a run as a page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sparsespike.cli.command import add_command, add_data_folder, add_threads


def add_report(commands: Any) -> None:
    """Adds the command."""
    report = add_command(
        commands,
        "report",
        "show a run as a page, or several side by side",
        _report,
        "examples:\n"
        "  sparsespike report runs/fast\n"
        "  sparsespike report runs/fast --out fast.html\n"
        "  sparsespike report runs/fast runs/small runs/mine\n\n"
        "The page opens without a network. Needs Matplotlib: pip install 'sparsespike[plot]'.",
    )
    report.add_argument(
        "folders", type=Path, metavar="DIR", nargs="+", help="folder of a run; several are compared"
    )
    report.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the page (default: DIR/report.html, or comparison.html here of several runs)",
    )
    add_data_folder(report)
    add_threads(report)


def _report(parsed: argparse.Namespace) -> None:
    from sparsespike.report import write

    print(write(parsed.folders, parsed.out, parsed.data))
