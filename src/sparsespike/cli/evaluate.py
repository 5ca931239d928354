"""`sparsespike evaluate`: the score of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sparsespike.cli.command import (
    add_command,
    add_data_folder,
    add_json,
    add_threads,
    print_json,
    print_table,
)


def add_evaluate(commands: Any) -> None:
    """Adds the command."""
    evaluate = add_command(
        commands,
        "evaluate",
        "score a trained network on every sample of a split, test unless told otherwise",
        _evaluate,
        "examples:\n"
        "  sparsespike evaluate runs/fast\n"
        "  sparsespike evaluate runs/fast --last --json\n"
        "  sparsespike evaluate runs/mine --on ./other/recordings --split train",
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
    evaluate.add_argument(
        "--on",
        metavar="NAME",
        help="another dataset than the run's: one of `sparsespike data list`, or a folder of stores",
    )
    evaluate.add_argument(
        "--split", default="test", metavar="NAME", help="test, train or valid (default: test)"
    )
    add_data_folder(evaluate)
    add_threads(evaluate)
    add_json(evaluate)


def _evaluate(parsed: argparse.Namespace) -> None:
    from sparsespike import data, metrics
    from sparsespike.training.evaluate import evaluate, load_run
    from sparsespike.training.progress import metrics_table, score_table

    net, recipe, about = load_run(parsed.folder, parsed.which)
    about["dataset"] = parsed.on or about["dataset"]
    about["split"] = parsed.split
    test = recipe.seen(data.load(about["dataset"], split=parsed.split, root=parsed.data))
    with metrics.Counting(net) as counting:
        score = {**about, **evaluate(net, test, recipe)}
    found = counting.metrics()
    if parsed.json:
        print_json({**score, "metrics": found.to_dict()})
    else:
        title = (
            f"{about['dataset']}, {parsed.split} samples: {about['checkpoint']} state, "
            f"{about['epoch']} epochs"
        )
        print_table(score_table(title, score, parsed.split))
        print_table(metrics_table(found))
