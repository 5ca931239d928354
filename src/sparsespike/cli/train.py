"""`sparsespike train`: the fields of `Recipe` are its options."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from sparsespike.cli.command import add_command, add_data_folder, add_threads, print_table
from sparsespike.cli.options import UsageError, add_options, given
from sparsespike.training import launcher
from sparsespike.training import recipe as recipes
from sparsespike.training.recipe import Recipe


def add_train(commands: Any, argv: list[str]) -> None:
    """Adds the command; `argv` only for the recipe whose values its help shows as defaults."""
    shipped = "\n".join(f"  {name:20} {recipes.summary(name)}" for name in recipes.names())
    train = add_command(
        commands,
        "train",
        "train a network",
        _train,
        f"recipes:\n{shipped}\n\n"
        "examples:\n"
        "  sparsespike train fashion-mnist-fast --out runs/fast\n"
        "  sparsespike train fashion-mnist-fast --out runs/small --hidden 100 --epochs 3\n"
        "  sparsespike train fashion-mnist-fast --out runs/fast --resume\n"
        "  sparsespike train my-recipe.toml --out runs/mine\n"
        "  torchrun --nproc-per-node 2 -m sparsespike train fashion-mnist --out runs/two --resume\n\n"
        "Ctrl-C saves where it is; --resume goes on with the same bits as if it had not stopped.",
    )
    train.add_argument(
        "recipe",
        metavar="RECIPE",
        nargs="?",
        help="a shipped recipe, or a path ending in .toml; may be left out with --resume",
    )
    train.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder of the run")
    train.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in DIR, or start it if there is none; a finished one prints its table",
    )
    train.add_argument(
        "--report",
        action="store_true",
        help="at the end, write DIR/report.html (see sparsespike report --help)",
    )
    train.add_argument(
        "--log",
        nargs="+",
        choices=("tensorboard", "csv"),
        default=[],
        help="write each epoch's numbers to DIR/tensorboard as well, or to DIR/metrics.csv, or both",
    )
    train.add_argument(
        "--save-every",
        metavar="N|Ns",
        default="600s",
        help="save the state every N steps, or every N seconds, beside every epoch (default: 600s)",
    )
    train.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        default=300.0,
        help="under torchrun, how long a process waits for the others (default: 300)",
    )
    add_data_folder(train)
    add_threads(train)
    named = [word for word in argv if word in recipes.names()]
    shown = recipes.load(named[0]) if named else Recipe()
    title = (
        f"recipe (defaults shown: {named[0]})"
        if named
        else "recipe (each overrides RECIPE's value)"
    )
    add_options(train.add_argument_group(title), Recipe, shown)


def _train(parsed: argparse.Namespace) -> None:
    if parsed.recipe is not None:
        recipe = recipes.load(parsed.recipe)
    elif parsed.resume and (parsed.out / "run.json").exists():
        from sparsespike.training.evaluate import read_run

        recipe, _ = read_run(parsed.out)
    else:
        known = ", ".join(recipes.names())
        raise UsageError(f"RECIPE: expected one of {known}, or a path ending in .toml, found none")
    recipe = dataclasses.replace(recipe, **given(Recipe, parsed))
    if launcher.may_restart() and not parsed.resume:
        raise UsageError(
            "--max-restarts: expected --resume beside it, as a restart finds the run it goes on with"
        )
    n_local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if n_local > 1 and parsed.threads is None:
        _share_cores(n_local)

    from sparsespike import report
    from sparsespike.training.progress import run_table
    from sparsespike.training.train import train

    if parsed.report:
        report.check()  # what it lacks is told before the training, not after
    result = train(
        recipe,
        parsed.out,
        root=parsed.data,
        resume=parsed.resume,
        log=tuple(parsed.log),
        save_every=parsed.save_every,
        timeout=parsed.timeout,
    )
    if int(os.environ.get("RANK", "0")):
        return  # rank 0 shows it
    print_table(run_table(result))
    if parsed.report:
        print(report.write([parsed.out], root=parsed.data))


def _share_cores(n_local: int) -> None:
    """Gives each of a host's ranks its share of the cores; torchrun sets OMP_NUM_THREADS=1."""
    import torch

    own = getattr(os, "sched_getaffinity", None)  # Linux's; others tell all cores there are
    n_core = len(own(0)) if own is not None else os.cpu_count() or 1
    torch.set_num_threads(max(1, n_core // n_local))
