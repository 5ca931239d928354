"""The command line: `sparsespike train | evaluate | report | bench | reproduce | data | info`.

Options are the fields of the dataclasses they fill (`Recipe`, the benchmarks'), so there is no second
list to keep. Everything heavy is imported by the command that needs it. Errors are one line on standard
error: exit code 1, or 2 for a mistyped command line; 130 and 143 after Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence

from sparsespike import __version__
from sparsespike.cli.bench import add_bench
from sparsespike.cli.data import add_data
from sparsespike.cli.evaluate import add_evaluate
from sparsespike.cli.info import add_info
from sparsespike.cli.options import Parser, UsageError
from sparsespike.cli.report import add_report
from sparsespike.cli.reproduce import add_reproduce
from sparsespike.cli.train import add_train
from sparsespike.spikes.arguments import nearest
from sparsespike.training import launcher

# Set to anything, it shows the whole traceback of an error.
TRACEBACK = "SPARSESPIKE_TRACEBACK"

# Errors that say themselves what to do; a missing module is one of an extra.
FORESEEN = (ValueError, OSError, FloatingPointError, ModuleNotFoundError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after `sparsespike`; None for those of the process.

    Returns:
        The exit code.
    """
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt as stop:
        print(f"sparsespike: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 128 + getattr(stop, "signum", signal.SIGINT)
    except BrokenPipeError:
        # The reader has left (`| head`): nobody to tell, and Python must not try again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        _complain(_one_line(error))
        return 2 if isinstance(error, UsageError) else 1


def _run(argv: list[str]) -> int:
    parsed, unknown = _parser(argv).parse_known_args(argv)
    if unknown:
        known = re.findall(r"--[\w-]+", parsed.parser.format_usage())
        word = unknown[0].partition("=")[0]
        parsed.parser.error(f"unknown argument {word!r}{nearest(word, known)}")
    threads = getattr(parsed, "threads", None)
    if threads is not None:
        if threads < 1:
            parsed.parser.error(f"--threads: expected an integer >= 1, found {threads}")
        import torch

        torch.set_num_threads(threads)
    if parsed.command != "train" and launcher.world_size() > 1:
        parsed.parser.error(f"torchrun is for train: run {parsed.command} in one process")
    parsed.run(parsed)
    return 0


def _parser(argv: list[str]) -> argparse.ArgumentParser:
    """All commands; `argv` only for the defaults that `train RECIPE --help` shows."""
    parser = Parser(
        prog="sparsespike",
        description="Train spiking neural networks by computing only what happened.",
        epilog="examples:\n"
        "  sparsespike train fashion-mnist-fast --out runs/fast\n"
        "  sparsespike evaluate runs/fast\n\n"
        "Every command explains itself: sparsespike train --help\n"
        f"{TRACEBACK}=1 in the environment shows the traceback of an error.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    add_train(commands, argv)
    add_evaluate(commands)
    add_report(commands)
    add_bench(commands, argv)
    add_reproduce(commands)
    add_data(commands, argv)
    add_info(commands)
    return parser


def _one_line(error: Exception) -> str:
    """What went wrong, in one line; the kind of error where it was not foreseen."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = " ".join(str(error).split())
    if isinstance(error, FORESEEN) and text:
        return text
    return f"unexpected {type(error).__name__}: {text} ({TRACEBACK}=1 shows where)"


def _complain(message: str) -> None:
    """Prints an error; of several ranks each says which it is, unless it passes on another's."""
    several = launcher.world_size() > 1 and not message.startswith("rank")
    rank = f"rank {os.environ.get('RANK')}: " if several else ""
    print(f"sparsespike: error: {rank}{message}", file=sys.stderr)
