"""Progress: the live display of a training run, and its tables."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sparsespike.compiling import progress as compiling
from sparsespike.metrics.found import ASSUMED, Metrics
from sparsespike.training.metrics import Totals, peak_memory

# Drawing the table takes a few milliseconds, as long as a training step: twice a second costs < 1 %.
SECONDS_BETWEEN_UPDATES = 0.5


class Progress:
    """Shows a run on a console: a live table on a terminal, else one line per epoch.

    Args:
        console: where to print; standard error by default, which keeps standard output for results.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = Console(stderr=True, highlight=False) if console is None else console
        self._live: Live | None = None
        self._next = 0.0

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
            compiling.shows.append(self._compiling)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            compiling.shows.remove(self._compiling)
            self._live.stop()
            self._live = None

    def note(self, text: str) -> None:
        """Prints one line, above the live table where there is one."""
        self.console.print(text, soft_wrap=True, markup=False)

    def _compiling(self, text: str) -> None:
        """Shows which kernel is being compiled, where the table will be."""
        if self._live is not None:
            self._live.update(Text(text), refresh=True)

    def batch(self, totals: Totals, started: float, position: tuple[int, int, int, int]) -> None:
        """Updates the live table, a few times a second at most.

        Args:
            totals: sums of the epoch so far.
            started: when the epoch's part in this process began, as `time.perf_counter()` tells.
            position: (epoch, epochs, batch, batches), counted from 1.
        """
        now = time.perf_counter()
        if self._live is None or now < self._next:
            return
        self._live.update(
            live_table(totals, totals.seconds + now - started, position), refresh=True
        )
        self._next = time.perf_counter() + SECONDS_BETWEEN_UPDATES

    def epoch(self, line: dict[str, Any], epochs: int) -> None:
        """Prints the line of an epoch, given as in the metrics file."""
        validation = line["validation_accuracy"]
        held_out = "" if validation is None else f"  validation {validation:.2%}"
        activity = " ".join(f"{layer['activity']:.2%}" for layer in line["layers"])
        self.note(
            f"epoch {line['epoch']:>3}/{epochs}  loss {line['loss']:.4f}  train "
            f"{line['train_accuracy']:.2%}{held_out}  activity {activity}  "
            f"{line['seconds']:.1f} s  {line['samples_per_second']:,.0f} samples/s"
        )


def live_table(totals: Totals, seconds: float, position: tuple[int, int, int, int]) -> Table:
    """Loss, accuracy, speed, memory, and rate and activity per layer of the epoch so far."""
    epoch, epochs, batch, batches = position
    memory = peak_memory()
    table = Table(
        title=f"epoch {epoch}/{epochs}  batch {batch}/{batches}",
        caption=f"loss {totals.mean_loss():.4f}   accuracy {totals.accuracy():.2%}   "
        f"{totals.n_samples / max(seconds, 1e-9):,.0f} samples/s   "
        + ("" if memory is None else f"peak memory {memory:,.0f} MiB"),
        min_width=76,  # so that the caption takes one line of a terminal of 80 columns
    )
    for heading in ("layer", "activity", "spike rate"):
        table.add_column(heading, justify="right")
    for i, layer in enumerate(totals.layers(), start=1):
        table.add_row(str(i), f"{layer['activity']:.3%}", f"{layer['rate']:.3%}")
    return table


def score_table(title: str, score: dict[str, Any], split: str = "test") -> Table:
    """The table of an evaluation, of what `evaluate` returns; `split` names the samples scored."""
    table = Table(title=title, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row(f"{split} accuracy", f"{score['accuracy']:.2%}")
    table.add_row(f"{split} loss", f"{score['loss']:.4f}")
    table.add_row("samples", f"{score['n_samples']:,}")
    if score["n_late"]:
        table.add_row("late events, dropped", f"{score['n_late']:,}")
    for i, layer in enumerate(score["layers"], start=1):
        table.add_row(f"layer {i} activity", f"{layer['activity']:.3%}")
        table.add_row(f"layer {i} spike rate", f"{layer['rate']:.3%}")
    for i, accuracy in enumerate(score["per_class"]):
        table.add_row(f"class {i}", "no samples" if accuracy is None else f"{accuracy:.2%}")
    return table


def metrics_table(found: Metrics) -> Table:
    """The table of what a network costs, as counted while it was scored."""
    table = Table(title="operations", caption=ASSUMED, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for label, value in found.rows():
        table.add_row(label, value)
    return table


def run_table(result: dict[str, Any]) -> Table:
    """The final table of a run, of what `train` returns."""
    test, chosen = result["test"], result["checkpoint"]
    table = Table(title=f"{result['dataset']}: {result['epochs']} epochs", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    by = "best on the held-out samples" if chosen == "best" else "the last"
    table.add_row("test accuracy", f"{test['accuracy']:.2%} of {test['n_samples']:,} samples")
    table.add_row("of epoch", f"{result['epoch']} ({by})")
    table.add_row("train accuracy, last epoch", f"{result['train_accuracy']:.2%}")
    if result["validation_accuracy"] is not None:
        table.add_row("validation accuracy", f"{result['validation_accuracy']:.2%}")
    for i, layer in enumerate(test["layers"], start=1):
        shares = f"{layer['activity']:.3%} / {layer['rate']:.3%}"
        table.add_row(f"layer {i} activity / spike rate", shares)
    table.add_row("training time", f"{result['seconds']:.1f} s")
    table.add_row("training speed", f"{result['samples_per_second']:,.0f} samples/s")
    if result["peak_memory_mib"] is not None:
        table.add_row("peak memory", f"{result['peak_memory_mib']:,.0f} MiB")
    return table
