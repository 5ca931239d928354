"""`sparsespike bench layer | step | gpu | tune`: the fields of each benchmark are its options."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from sparsespike.cli.command import add_command, add_json, add_threads, print_json, print_table
from sparsespike.cli.options import add_options, given


def add_bench(commands: Any, argv: list[str]) -> None:
    """Adds the command; `argv` only to know whether it is the one called, for its options cost an import."""
    calls = "layer", "step --json", "gpu", "tune"
    epilog = "\n".join(("examples:", *(f"  sparsespike bench {call}" for call in calls)))
    bench = add_command(commands, "bench", "time a layer or a training step", None, epilog)
    actions = bench.add_subparsers(
        title="commands", dest="action", metavar="COMMAND", required=True
    )
    layer = add_command(actions, "layer", "time forward and backward of one layer", _bench)
    step = add_command(actions, "step", "time one training step of a network", _bench)
    gpu = add_command(actions, "gpu", "run the paper's sizes on a GPU, or tune it", _bench_gpu)
    add_command(
        actions,
        "tune",
        'measure the costs that the backend "auto" chooses by, in a minute',
        _bench_tune,
    )
    if "bench" not in argv:
        return  # the dataclasses below import torch, which the other commands' help need not wait for
    from sparsespike.bench import GpuBench, LayerBench, StepBench

    add_options(gpu, GpuBench, GpuBench())
    for parser, kind in ((layer, LayerBench), (step, StepBench)):
        parser.set_defaults(kind=kind)
        add_options(parser, kind, kind())
        add_threads(parser)
        add_json(parser)


def _bench(parsed: argparse.Namespace) -> None:
    from rich.console import Console

    from sparsespike.bench import report, runner

    bench = parsed.kind(**given(parsed.kind, parsed))
    about = {"bench": parsed.action, **report.environment(bench.device), "seed": bench.seed}
    about["case"], rows = runner.run(bench, Console(stderr=True, highlight=False))
    report.append(bench.out / f"bench-{parsed.action}.jsonl", about, rows)
    if parsed.json:
        print_json({**about, "rows": [dataclasses.asdict(row) for row in rows]})
    else:
        print_table(report.table(report.headline(about["case"]), report.caption(about), rows))
        for line in (*report.remarks(rows), *about["case"].get("chosen", ())):
            print(line)
    wrong = [f"{row.method}: {row.reason}" for row in rows if row.status == "wrong"]
    if wrong:
        raise ValueError(f"the gate failed, not timed: {'; '.join(wrong)}")


def _bench_gpu(parsed: argparse.Namespace) -> None:
    from rich.console import Console

    from sparsespike.bench import GpuBench, gpu

    gpu.run(GpuBench(**given(GpuBench, parsed)), Console(highlight=False))


def _bench_tune(parsed: argparse.Namespace) -> None:
    from rich.console import Console

    from sparsespike.bench import tune_cpu

    tune_cpu.run(Console(highlight=False))
