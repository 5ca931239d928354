"""Runs side by side: results, curves over each other, and in which numbers their recipes differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsespike.pages.figure import Drawing, panels, style
from sparsespike.pages.page import Section, Table, html
from sparsespike.report import curves, operations
from sparsespike.report.files import Files, read
from sparsespike.report.one import spelled


def page(folders: Sequence[Path]) -> str:
    """The comparison, as HTML; of the runs' files alone, nothing is scored anew.

    Raises:
        ValueError: if a run is named twice, or damaged.
    """
    runs = [read(folder) for folder in folders]
    names = run_names([run.folder for run in runs])
    trained = [(name, run) for name, run in zip(names, runs, strict=True) if run.history]
    curve_parts: list[Any] = [learning(trained), sparsity(trained)] if trained else []
    for name, run in zip(names, runs, strict=True):
        if not run.history:
            curve_parts.append(f"{name} has no complete epoch yet, and no curves.")
    sections = [
        Section("Results", [results(names, runs)]),
        Section("Curves", curve_parts),
        Section("Operations and energy", [operations.compared(names, runs)]),
        Section("Recipes", [differences(names, runs)]),
    ]
    return html("Runs compared", f"{', '.join(names)}.", sections)


def run_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of their paths that differ.

    Raises:
        ValueError: if two are the same folder.
    """
    parts = [folder.resolve().parts for folder in folders]
    for i, path in enumerate(parts):
        if path in parts[:i]:
            raise ValueError(f"DIR: expected runs that differ, found {folders[i]} twice")
    for n in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-n:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def results(names: Sequence[str], runs: Sequence[Files]) -> Table:
    """What each reached, from its own files."""
    header = [
        "run",
        "dataset",
        "epochs",
        "test accuracy",
        "test loss",
        "held out",
        "activity",
        "training",
    ]
    rows = []
    for name, run in zip(names, runs, strict=True):
        history, score = run.history, run.result and run.result["test"]
        accuracy = loss = None
        if score:
            share, n = score["accuracy"], score["n_samples"]
            accuracy = f"{share:.2%} ± {math.sqrt(share * (1 - share) / n):.2%}"
            loss = f"{score['loss']:.4f}"
        held_out = [line["validation_accuracy"] for line in history]
        best = max((share for share in held_out if share is not None), default=None)
        activity = activities(run) if history else None
        seconds = f"{sum(line['seconds'] for line in history):,.1f} s"
        dataset = run.about["dataset"]
        told = None if best is None else f"{best:.2%}"
        rows.append([name, dataset, run.progress, accuracy, loss, told, activity, seconds])
    caption = (
        "Test accuracy with one standard error, as each run found it when it finished; best accuracy on "
        "held-out samples; activity of each layer in the last epoch; time of all epochs, on whatever "
        "machine that was."
    )
    return Table(header, rows, caption)


def learning(trained: Sequence[tuple[str, Files]]) -> Drawing:
    """Loss and accuracy of all runs."""
    held_out = all(
        line["validation_accuracy"] is not None for _, run in trained for line in run.history
    )
    kind = "validation_accuracy" if held_out else "train_accuracy"
    losses = [line["loss"] for _, run in trained for line in run.history]
    with style():
        figure, (left, right) = panels(1, 2, height=3.2)
        for i, (name, run) in enumerate(trained):
            look = curves.line_style(i)
            curves.draw(left, [line["loss"] for line in run.history], label=name, **look)
            curves.draw(right, [100 * line[kind] for line in run.history], **look)
        left.set(ylabel="loss (nats)", title="Training loss")
        if curves.spans_decades(losses):
            left.set_yscale("log")
        right.set(
            ylabel="accuracy (%)",
            title=f"Accuracy, {'held-out' if held_out else 'training'} samples",
        )
        for axes in (left, right):
            curves.epochs_below(axes)
        figure.legend(loc="outside lower center", ncols=min(4, len(trained)))
    why = (
        ""
        if held_out
        else " Not every run held samples out, so accuracy is on the training samples."
    )
    says = (
        "Loss includes each recipe's own penalties: compare it between runs whose penalties are the "
        f"same.{why}"
    )
    last = "; ".join(f"{name} {run.history[-1][kind]:.1%}" for name, run in trained)
    return Drawing("learning", figure, says, f"Loss and accuracy over the epochs; at last {last}.")


def sparsity(trained: Sequence[tuple[str, Files]]) -> Drawing:
    """Activity of all runs, a panel per layer."""
    n_layer = max(run.n_layers for _, run in trained)
    rows = math.ceil(n_layer / 3)
    columns = min(3, n_layer)
    with style():
        figure, axes = panels(rows, columns, height=2.5 * rows + 0.4)
        for layer, place in enumerate(axes[:n_layer]):
            shown = []
            for i, (_, run) in enumerate(trained):
                if layer < run.n_layers:
                    values = [100 * line["layers"][layer]["activity"] for line in run.history]
                    curves.draw(place, values, **curves.line_style(i))
                    shown += values
            place.set(
                title=f"Layer {layer + 1}", ylabel="active entries (%)" if layer % 3 == 0 else ""
            )
            if curves.spans_decades(shown):
                place.set_yscale("log")
            else:
                place.set_ylim(bottom=0)
            curves.epochs_below(place)
        for place in axes[n_layer:]:
            place.set_axis_off()
    last = "; ".join(f"{name} {activities(run)}" for name, run in trained)
    return Drawing(
        "sparsity",
        figure,
        f"Activity of each layer, colours as above; at last {last}.",
        f"At last {last}.",
    )


def differences(names: Sequence[str], runs: Sequence[Files]) -> Table | str:
    """The fields in which the recipes differ, a column per run."""
    plain = [{"dataset": run.about["dataset"], **run.recipe.to_dict()} for run in runs]
    rows = [
        [f"`{field}`", *(spelled(values[field]) for values in plain)]
        for field in plain[0]
        if any(values[field] != plain[0][field] for values in plain)
    ]
    if not rows:
        return "The recipes do not differ."
    return Table(["field", *names], rows, "All other fields are the same.")


def activities(run: Files) -> str:
    """Of each layer in the last epoch: 0.52% / 0.53%."""
    return " / ".join(f"{layer['activity']:.2%}" for layer in run.history[-1]["layers"])
