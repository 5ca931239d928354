"""`sparsespike bench layer | step | gpu | tune`: the fields of each benchmark are its options."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from sparsespike.cli.command import add_command, add_json, add_threads, print_json, print_table
from sparsespike.cli.options import add_options, given

if TYPE_CHECKING:
    from sparsespike.bench import LayerBench
    from sparsespike.bench.runner import Row


def add_bench(commands: Any, argv: list[str]) -> None:
    """Adds the command; `argv` only to know whether it is the one called, for its options cost an import."""
    calls = (
        "layer",
        "layer --connection conv2d --preset first",
        "step --recipe fashion-mnist-conv --json",
    )
    epilog = "\n".join(
        ("examples:", *(f"  sparsespike bench {call}" for call in (*calls, "gpu", "tune")))
    )
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
    if getattr(bench, "curve", False):
        _bench_curve(parsed, bench)
        return
    about = {"bench": parsed.action, **report.environment(bench.device), "seed": bench.seed}
    about["case"], rows = runner.run(bench, Console(stderr=True, highlight=False))
    report.append(bench.out / f"bench-{parsed.action}.jsonl", about, rows)
    if parsed.json:
        print_json({**about, "rows": [dataclasses.asdict(row) for row in rows]})
    else:
        print_table(report.table(report.headline(about["case"]), report.caption(about), rows))
        remarks = (*report.remarks(rows), *report.per_block(about["case"], rows))
        for line in (*remarks, *about["case"].get("chosen", ())):
            print(line)
    _refuse_wrong(rows)


def _bench_curve(parsed: argparse.Namespace, bench: LayerBench) -> None:
    from rich.console import Console

    from sparsespike.bench import curve, report, runner

    about = {"bench": "layer", **report.environment(bench.device), "seed": bench.seed}
    points: list[curve.Point] = []
    for share, one in curve.benches(bench):
        case, rows = runner.run(one, Console(stderr=True, highlight=False))
        report.append(bench.out / "bench-layer.jsonl", {**about, "case": case}, rows)
        points.append(curve.Point(share, case, rows))
    if parsed.json:
        found = [
            {
                "share": point.share,
                "case": point.case,
                "rows": [dataclasses.asdict(row) for row in point.rows],
            }
            for point in points
        ]
        print_json({**about, "break_even": curve.break_even(points), "points": found})
    else:
        title = f"{points[-1].case['connection']}, B = {points[-1].case['batch_size']}"
        print_table(curve.table(title, report.caption(about), points))
        for line in curve.told(points):
            print(line)
    _refuse_wrong([row for point in points for row in point.rows])


def _refuse_wrong(rows: list[Row]) -> None:
    """Raises a ValueError that names the methods whose gate failed."""
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
