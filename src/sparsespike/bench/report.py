"""What a benchmark leaves: a table on screen, one JSON line per row under `results/`."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from sparsespike.backends.cpu.plan import ADD_NEAR
from sparsespike.bench.runner import Row
from sparsespike.bench.trial import OURS

# Phases of the table; the others are in the JSON lines.
SHOWN = ("forward", "backward")
VERSIONS = ("sparsespike", "torch", "numba", "numpy")


def environment(device: str = "cpu") -> dict[str, Any]:
    """Code, machine and versions: what a number is worth nothing without; with "cuda" the GPU as well."""
    commit, dirty = _commit()
    about = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "dirty": dirty,
        "machine": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in VERSIONS},
        "device": device,
    }
    if device == "cuda":
        about["gpu"] = torch.cuda.get_device_name()
        about["gpu_memory_gib"] = round(torch.cuda.mem_get_info()[1] / 2**30, 1)
        about["versions"] |= {"cuda": torch.version.cuda, "triton": _version("triton")}
    return about


def append(path: Path, about: dict[str, Any], rows: list[Row]) -> None:
    """Appends one line per row to a JSONL file, made if missing.

    Args:
        path: the file.
        about: what all rows share: benchmark, environment, seed, case.
        rows: the results.

    Raises:
        OSError: if the file cannot be written.
    """
    append_lines(path, [{**about, **dataclasses.asdict(row)} for row in rows])


def append_lines(path: Path, results: list[dict[str, Any]]) -> None:
    """Appends one line per result to a JSONL file, made if missing.

    Raises:
        OSError: if the file cannot be written.
    """
    lines = [json.dumps(result, allow_nan=False) for result in results]
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines))


def table(title: str, caption: str, rows: list[Row]) -> Table:
    """The rows as a table: median over p20-p80 per phase, memory, ratios to sparsespike."""
    with_epoch = any(row.epoch_s is not None for row in rows)
    headings = ["saved\nMiB", "peak\nMiB", "\n×", *["epoch\ns"] * with_epoch]
    for phase in reversed(SHOWN):
        headings = [f"{phase}\nms", "\n×", *headings]
    headings.insert(2 * len(SHOWN), "total\n×")
    shown = Table(
        title=title, caption=caption, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    shown.title_justify = shown.caption_justify = "left"
    shown.add_column("method", no_wrap=True)
    for heading in headings:
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = [row.method]
        for phase in SHOWN:
            cells += [_spread(row.ms.get(phase)), _times(row, phase)]
        cells += [
            _times(row, "total"),
            _number(row.saved_mib),
            _number(row.peak_mib),
            _times(row, "peak"),
        ]
        cells += [_number(row.epoch_s)] * with_epoch
        shown.add_row(*cells, style=None if row.status == "ok" else "dim")
    return shown


def caption(about: dict[str, Any]) -> str:
    """What the columns mean, and where they were measured."""
    commit = (about["commit"] or "no checkout")[:12] + (" + changes" if about["dirty"] else "")
    where = f"{about['gpu']}; " if about.get("gpu") else ""
    return (
        "median over 20th-80th percentile; × multiples of sparsespike's; memory beyond inputs "
        f"and weights\n{where}{about['cpu']}, {about['threads']} of {about['cores']} cores, load "
        f"{about['load']} when it began, torch {about['versions']['torch']}, "
        f"{commit}"
    )


def remarks(rows: list[Row]) -> list[str]:
    """One line per row that was skipped or is wrong, and per peer, what it computes."""
    lines = [f"{row.method}: {row.status}: {row.reason}" for row in rows if row.status != "ok"]
    peers = [row for row in rows if row.note and row.status == "ok"]
    return lines + [f"{row.method} {row.version}: {row.note}" for row in peers]


def headline(case: dict[str, Any]) -> str:
    """The case in one line: what it is and how active it was."""
    sizes = case.get("sizes") or [case["n_in"], case["neurons"]]
    connection = case.get("connection", "Linear")
    named = "" if connection == "Linear" else f"{connection}, "
    activity = case["activity"] if isinstance(case["activity"], list) else [case["activity"]]
    return (
        f"{case['source']}: {named}B = {case['batch_size']}, T = {case['steps']}, "
        f"{'-'.join(map(str, sizes))} units, input rate {case['input_rate']:.2%}, "
        f"activity {' '.join(f'{share:.2%}' for share in activity)}"
    )


def per_block(case: dict[str, Any], rows: list[Row]) -> list[str]:
    """One line: sparsespike's time per block of weights that the events of a layer reach (`blocks.py`)."""
    blocks = case.get("blocks")
    ours = next((row for row in rows if row.method == OURS and row.ms), None)
    if blocks is None or ours is None:
        return []
    threads = torch.get_num_threads()
    parts = [
        f"{phase} {ours.ms[phase]['median'] * 1e6 * threads / n:.3g} ns a block ({n:,})"
        for phase, n in blocks.items()
        if n
    ]
    return [
        f"{OURS}, per 64-byte block of weights that its events reach: {', '.join(parts)}; "
        f"a block takes a core {ADD_NEAR:g} ns from the second cache"
    ]


def _spread(taken: dict[str, float] | None) -> str:
    if taken is None:
        return "-"
    low, high = (
        f"{taken[name]:.2g}" if taken[name] < 100 else f"{taken[name]:.0f}"
        for name in ("p20", "p80")
    )
    return f"{_number(taken['median'])}\n{low}-{high}"


def _times(row: Row, name: str) -> str:
    return _number(row.ratio.get(name))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _commit() -> tuple[str | None, bool | None]:
    """The commit of the source tree and whether files differ from it; None outside a checkout."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _version(name: str) -> str | None:
    """The installed version; None for a source tree that is on the path without being installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    """Model of the processor, as the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
