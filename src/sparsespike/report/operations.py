"""What the network computes per sample: synaptic operations of each connection, sparsities, and energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparsespike.metrics import Metrics
from sparsespike.metrics.found import ASSUMED, joules
from sparsespike.pages.page import Table
from sparsespike.report.files import Files


def table(found: Metrics, layers: Mapping[str, str]) -> Table:
    """A row for each connection, and the sum; `layers`: what readers call the network's modules."""
    header = ["connection", "zero weights", "AC", "MAC", "dense", "done"]
    n = found.n_samples
    rows: list[list[Any]] = [
        [
            _called(each.name, layers),
            f"{each.n_zeros / each.n_weights:.2%}",
            *_operations(each.acs / n, each.macs / n, each.dense / n),
        ]
        for each in found.connections
    ]
    total = found.effective_acs, found.effective_macs, found.dense
    return Table(
        header,
        [*rows, ["**all**", f"{found.connection_sparsity:.2%}", *_operations(*total)]],
        f"Synaptic operations of a forward pass per sample, mean of {n:,}: accumulations (AC), "
        "multiplications with accumulation (MAC) where a connection is given other numbers than 0 and 1, "
        "dense ones, and the share of these that were done. Biases are not counted.",
    )


def summary(found: Metrics) -> Table:
    """Sparsities, footprint and energy."""
    return Table(["", ""], [list(row) for row in found.rows()], ASSUMED)


def compared(names: Sequence[str], runs: Sequence[Files]) -> Table:
    """A row for each run, from its own files."""
    header = [
        "run",
        "AC",
        "MAC",
        "dense",
        "done",
        "zero activations",
        "zero weights",
        "footprint",
        "energy",
    ]
    rows: list[list[Any]] = []
    for name, run in zip(names, runs, strict=True):
        found = run.result and run.result.get("metrics")
        if not found:
            rows.append([name, *[None] * (len(header) - 1)])
            continue
        operations = found["effective_acs"], found["effective_macs"], found["dense"]
        rows.append(
            [
                name,
                *_operations(*operations),
                f"{found['activation_sparsity']:.2%}",
                f"{found['connection_sparsity']:.2%}",
                f"{found['footprint']:,} B",
                joules(found["energy"]),
            ]
        )
    return Table(header, rows, f"Per test sample. {ASSUMED}")


def _called(name: str, layers: Mapping[str, str]) -> str:
    """layer 2, or layer 2 recurrent."""
    module, _, part = name.partition(".")
    if module not in layers:
        return f"`{name}`"
    return layers[module] if part == "connection" else f"{layers[module]} {part}"


def _operations(acs: float, macs: float, dense: float) -> list[str]:
    return [f"{acs:,.0f}", f"{macs:,.0f}", f"{dense:,.0f}", f"{(acs + macs) / dense:.2%}"]
