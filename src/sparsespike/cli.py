"""The command line: `sparsespike train | evaluate | bench | data | info`.

Options are the fields of the dataclasses they fill (`Recipe`, the benchmarks'), so there is no second
list to keep. Everything heavy is imported by the command that needs it. Errors are one line on standard
error: exit code 1, or 2 for a mistyped command line; 130 and 143 after Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparsespike import __version__
from sparsespike import recipe as recipes
from sparsespike.options import Parser, UsageError, add_options, given
from sparsespike.recipe import Recipe

# Set to anything, it shows the whole traceback of an error.
TRACEBACK = "SPARSESPIKE_TRACEBACK"


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
        parsed.parser.error(f"unknown argument {word!r}{recipes.nearest(word, known)}")
    threads = getattr(parsed, "threads", None)
    if threads is not None:
        if threads < 1:
            parsed.parser.error(f"--threads: expected an integer >= 1, found {threads}")
        import torch

        torch.set_num_threads(threads)
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
    _add_train(commands, argv)
    _add_evaluate(commands)
    _add_bench(commands, argv)
    _add_data(commands)
    _add_info(commands)
    return parser


# ---- train -------------------------------------------------------------------------------------


def _add_train(commands: Any, argv: list[str]) -> None:
    shipped = "\n".join(f"  {name:20} {recipes.summary(name)}" for name in recipes.names())
    train = _command(
        commands,
        "train",
        "train a network",
        _train,
        f"recipes:\n{shipped}\n\n"
        "examples:\n"
        "  sparsespike train fashion-mnist-fast --out runs/fast\n"
        "  sparsespike train fashion-mnist-fast --out runs/small --hidden 100 --epochs 3\n"
        "  sparsespike train fashion-mnist-fast --out runs/fast --resume\n"
        "  sparsespike train my-recipe.toml --out runs/mine\n\n"
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
    _add_data_folder(train)
    _add_threads(train)
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
        from sparsespike.evaluate import read_run

        recipe, _ = read_run(parsed.out)
    else:
        known = ", ".join(recipes.names())
        raise UsageError(f"RECIPE: expected one of {known}, or a path ending in .toml, found none")
    recipe = dataclasses.replace(recipe, **given(Recipe, parsed))

    from sparsespike.progress import run_table
    from sparsespike.train import train

    result = train(recipe, parsed.out, root=parsed.data, resume=parsed.resume)
    _print_table(run_table(result))


# ---- evaluate ----------------------------------------------------------------------------------


def _add_evaluate(commands: Any) -> None:
    evaluate = _command(
        commands,
        "evaluate",
        "score a trained network on every test sample",
        _evaluate,
        "examples:\n  sparsespike evaluate runs/fast\n  sparsespike evaluate runs/fast --last --json",
    )
    evaluate.add_argument("folder", type=Path, metavar="DIR", help="folder of the run")
    which = evaluate.add_mutually_exclusive_group()
    which.add_argument(
        "--best",
        action="store_const",
        const="best",
        dest="which",
        help="the epoch with the best validation accuracy (default where the run has one)",
    )
    which.add_argument(
        "--last", action="store_const", const="last", dest="which", help="the last state saved"
    )
    _add_data_folder(evaluate)
    _add_threads(evaluate)
    _add_json(evaluate)


def _evaluate(parsed: argparse.Namespace) -> None:
    from sparsespike import data
    from sparsespike.evaluate import evaluate, load_run
    from sparsespike.progress import score_table

    net, recipe, about = load_run(parsed.folder, parsed.which)
    test = data.load(about["dataset"], split="test", root=parsed.data)
    score = {**about, **evaluate(net, test, recipe)}
    if parsed.json:
        _print_json(score)
    else:
        title = f"{about['dataset']}: {about['checkpoint']} state, {about['epoch']} epochs"
        _print_table(score_table(title, score))


# ---- bench, data, info -------------------------------------------------------------------------


def _add_bench(commands: Any, argv: list[str]) -> None:
    epilog = "examples:\n  sparsespike bench layer\n  sparsespike bench step --json\n  sparsespike bench gpu"
    bench = _command(commands, "bench", "time a layer or a training step", None, epilog)
    actions = bench.add_subparsers(
        title="commands", dest="action", metavar="COMMAND", required=True
    )
    layer = _command(actions, "layer", "time forward and backward of one layer", _bench)
    step = _command(actions, "step", "time one training step of a network", _bench)
    gpu = _command(actions, "gpu", "run the paper's sizes on a GPU, or tune it", _bench_gpu)
    if "bench" not in argv:
        return  # the dataclasses below import torch, which the other commands' help need not wait for
    from sparsespike.bench import GpuBench, LayerBench, StepBench

    add_options(gpu, GpuBench, GpuBench())
    for parser, kind in ((layer, LayerBench), (step, StepBench)):
        parser.set_defaults(kind=kind)
        add_options(parser, kind, kind())
        _add_threads(parser)
        _add_json(parser)


def _bench(parsed: argparse.Namespace) -> None:
    from rich.console import Console

    from sparsespike.bench import report, runner

    bench = parsed.kind(**given(parsed.kind, parsed))
    about = {"bench": parsed.action, **report.environment(bench.device), "seed": bench.seed}
    about["case"], rows = runner.run(bench, Console(stderr=True, highlight=False))
    report.append(bench.out / f"bench-{parsed.action}.jsonl", about, rows)
    if parsed.json:
        _print_json({**about, "rows": [dataclasses.asdict(row) for row in rows]})
    else:
        _print_table(report.table(report.headline(about["case"]), report.caption(about), rows))
        for line in report.remarks(rows):
            print(line)
    wrong = [f"{row.method}: {row.reason}" for row in rows if row.status == "wrong"]
    if wrong:
        raise ValueError(f"the gate failed, not timed: {'; '.join(wrong)}")


def _bench_gpu(parsed: argparse.Namespace) -> None:
    from rich.console import Console

    from sparsespike.bench import GpuBench, gpu

    gpu.run(GpuBench(**given(GpuBench, parsed)), Console(highlight=False))


def _add_data(commands: Any) -> None:
    epilog = "examples:\n  sparsespike data list\n  sparsespike data get fashion-mnist"
    data = _command(commands, "data", "list datasets, fetch one", None, epilog)
    actions = data.add_subparsers(title="commands", dest="action", metavar="COMMAND", required=True)
    _add_data_folder(
        _command(actions, "list", "list the datasets: size, licence, folder", _data_list)
    )
    get = _command(actions, "get", "fetch a dataset into the data folder", _data_get)
    get.add_argument("name", metavar="NAME", help="one of `sparsespike data list`")
    _add_data_folder(get)


def _data_list(parsed: argparse.Namespace) -> None:
    from sparsespike import data

    for row in data.listing(root=parsed.data):
        size = "" if row.folder is None else f"{row.n_bytes / 2**20:.1f} MiB"
        print(f"{row.name:24} {size:>10}  {row.licence:8} {row.folder or 'not present'}")


def _data_get(parsed: argparse.Namespace) -> None:
    from sparsespike import data

    print(data.get(parsed.name, root=parsed.data))


def _add_info(commands: Any) -> None:
    _add_json(_command(commands, "info", "print versions, threads, backends and folders", _info))


def _info(parsed: argparse.Namespace) -> None:
    from sparsespike.info import about

    facts = about()
    if parsed.json:
        _print_json(facts)
        return
    facts["backends"] = ", ".join(facts["backends"])
    for name, folder in facts.pop("data").items():
        facts[name] = folder or "not present"
    for name, value in facts.items():
        print(f"{name:22} {'none' if value is None else value}")


# ---- shared ------------------------------------------------------------------------------------


def _command(
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


def _add_data_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of the datasets")


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads to compute with (default: torch's choice)"
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of a table"
    )


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, allow_nan=False))


def _print_table(table: Any) -> None:
    from rich.console import Console

    Console(highlight=False).print(table)


def _one_line(error: Exception) -> str:
    """What went wrong, in one line; the kind of error where it was not foreseen."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = " ".join(str(error).split())
    if isinstance(error, ValueError | OSError | FloatingPointError) and text:
        return text
    return f"unexpected {type(error).__name__}: {text} ({TRACEBACK}=1 shows where)"


def _complain(message: str) -> None:
    print(f"sparsespike: error: {message}", file=sys.stderr)
