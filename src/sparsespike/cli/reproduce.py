"""`sparsespike reproduce`: the paper's tables and figures."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from sparsespike.cli.command import add_command, add_data_folder
from sparsespike.cli.options import UsageError

# As in `sparsespike.reproduce`, which costs the import of torch; a test compares.
NAMES = {
    "table1": "complexity: operations counted and times, fitted exponents",
    "table2": "activity per layer (figure 3A) and the energy bound",
    "fig3": "gradients, loss and accuracy, sparse against original",
    "fig4": "backward time, speed-up and memory",
    "fig5": "accuracy and speed against the width of the band",
    "deep": "five hidden layers",
    "conv": "convolution and pooling",
    "break-even": "beyond the paper: from which activity on dense methods are faster",
    "horizon": "beyond the paper: cost against T up to 100,000 at fixed events",
    "alignment": "beyond the paper: cosine of cut and uncut gradients",
}


def add_reproduce(commands: Any) -> None:
    """Adds the command."""
    shown = "\n".join(f"  {name:11} {what}" for name, what in NAMES.items())
    reproduce = add_command(
        commands,
        "reproduce",
        "reproduce the paper's tables and figures",
        _reproduce,
        f"experiments:\n{shown}\n\n"
        "examples:\n"
        "  sparsespike reproduce all --quick --out quick     a quarter of an hour on two cores\n"
        "  sparsespike reproduce fig5 --out reproduction\n\n"
        "Results are appended to DIR/results/reproduction.jsonl, pages and figures go to DIR/docs "
        "(of --device\n"
        "cuda by the name reproduction-cuda), trained networks to DIR/runs. It may be stopped at "
        "any moment:\n"
        "started again, it goes on with what is missing.",
    )
    reproduce.add_argument(
        "experiment", nargs="+", metavar="NAME", help="one or more of the experiments below, or all"
    )
    reproduce.add_argument(
        "--quick", action="store_true", help="few epochs, seeds and points: to see that all runs"
    )
    reproduce.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("reproduction"),
        help="(default: reproduction)",
    )
    reproduce.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="where to train and time; results of each are kept apart (default: cpu)",
    )
    reproduce.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="trainings at once (default: one per core; 1 on a GPU)",
    )
    add_data_folder(reproduce)


def _reproduce(parsed: argparse.Namespace) -> None:
    from rich.console import Console

    from sparsespike.backends import load
    from sparsespike.bench.trial import backend_on
    from sparsespike.reproduce import reproduce
    from sparsespike.reproduce.cell import Place

    many = (os.cpu_count() or 1) if parsed.device == "cpu" else 1
    jobs = many if parsed.jobs is None else parsed.jobs
    if jobs < 1:
        raise UsageError(f"--jobs: expected an integer >= 1, found {jobs}")
    try:
        backend = backend_on(parsed.device)
    except ValueError as error:  # there is no GPU
        raise UsageError(f"--{error}") from None
    load(backend)  # or says what its kernels lack
    place = Place(parsed.out, parsed.data, parsed.device)
    console = Console(stderr=True, highlight=False)
    failed = reproduce(parsed.experiment, place, parsed.quick, console, jobs)
    print(place.page)
    if failed:
        named = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise ValueError(f"{len(failed)} measurements failed: {named}")
