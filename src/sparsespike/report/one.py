"""The report of one run: its sections, in order."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

from sparsespike import data
from sparsespike.data import EventDataset
from sparsespike.network import Layer, Network
from sparsespike.neurons.silence import SilenceWarning
from sparsespike.pages.page import Section, Table, html
from sparsespike.report import (
    confusion,
    costs,
    curves,
    membranes,
    mistakes,
    operations,
    rasters,
    weights,
)
from sparsespike.report.files import Files, layer_names, read
from sparsespike.report.scores import Scores, score
from sparsespike.training.evaluate import load_run
from sparsespike.training.recipe import Recipe

SPLIT = "test"


def page(folder: Path, root: Path | None = None) -> str:
    """The report of a run, as HTML.

    Args:
        folder: of the run.
        root: folder of the datasets.

    Raises:
        ValueError, OSError: if the run is damaged, or its dataset cannot be had.
    """
    files = read(folder)
    net, recipe, state = load_run(folder)
    dataset = recipe.seen(data.load(state["dataset"], SPLIT, root))
    # Silent layers are in the report; the first thing that is said of them.
    with warnings.catch_warnings(action="ignore", category=SilenceWarning):
        scores = score(net, dataset, recipe)
        sections = [
            Section("Result", result(files, net, scores, state)),
            Section("Training", _training(files)),
            Section("Confusion", [confusion.matrix(scores, SPLIT), confusion.classes(scores)]),
            Section("Worst mistakes", [_mistakes(dataset, recipe, scores)]),
            *_inside(net, dataset, recipe, scores),
            Section("Weights", _weights(files, net)),
            Section("Cost of each layer", _costs(net, dataset, recipe)),
            Section(
                "Operations and energy",
                _operations(net, scores),
            ),
            Section("Recipe", [_recipe(recipe)]),
        ]
    lead = (
        f"{files.network} on {state['dataset']}, {files.progress}: {scores.total['accuracy']:.2%} of "
        f"{scores.total['n_samples']:,} {SPLIT} samples."
    )
    return html(f"Run {folder.resolve().name}", lead, sections)


def result(files: Files, net: Network, scores: Scores, state: dict[str, Any]) -> list[str | Table]:
    """What was reached, and what to be warned of."""
    total, history = scores.total, files.history
    n, accuracy = total["n_samples"], total["accuracy"]
    error = math.sqrt(accuracy * (1 - accuracy) / n)
    by = "best on held-out samples" if state["checkpoint"] == "best" else "the last saved"
    rows: list[list[Any]] = [
        [
            f"{SPLIT} accuracy",
            f"**{accuracy:.2%}** ± {error:.2%} (standard error), of {n:,} samples",
        ],
        [f"{SPLIT} loss", f"{total['loss']:.4f}"],
        ["state", f"after {state['epoch']} epochs, {by}"],
        ["dataset", state["dataset"]],
        ["network", files.network],
        ["parameters", sum(parameter.numel() for parameter in net.parameters())],
        ["steps", f"{files.recipe.steps} of {files.recipe.dt * 1e3:g} ms"],
    ]
    if history:
        seconds = sum(line["seconds"] for line in history)
        memory = [line["peak_memory_mib"] for line in history if line.get("peak_memory_mib")]
        rows.append(
            [
                "training",
                f"{seconds:,.1f} s for {len(history)} epochs of {files.about['n_train']:,} samples",
            ]
        )
        if memory:
            rows.append(["peak memory", f"{max(memory):,.0f} MiB, the whole process"])
    for name, layer in zip(layer_names(len(total["layers"])), total["layers"], strict=True):
        rows.append([name, f"{layer['activity']:.3%} active, {layer['rate']:.3%} spikes"])
    if total["n_late"]:
        rows.append(
            ["late events", f"{total['n_late']:,}, at step {files.recipe.steps} or later: dropped"]
        )
    if total["n_clamped"]:
        rows.append(["merged events", f"{total['n_clamped']:,}, in the step and unit of another"])
    return [
        *_warned(files, scores),
        Table(["", ""], rows),
    ]


def _warned(files: Files, scores: Scores) -> list[str]:
    """What a reader should know before the numbers."""
    said = []
    if files.result is None:
        said.append(
            f"**This run is not finished**: {files.progress}. What follows is of the state that it saved "
            "last, or best."
        )
    elif abs(files.result["test"]["accuracy"] - scores.total["accuracy"]) > 1e-12:
        said.append(
            f"**Scored anew, it has {scores.total['accuracy']:.2%}**; when it finished, it had "
            f"{files.result['test']['accuracy']:.2%}. Another machine, backend or version rounds another "
            "way, or the dataset has changed."
        )
    for name, layer in zip(
        layer_names(len(scores.total["layers"])), scores.total["layers"], strict=True
    ):
        if layer["rate"] == 0 or layer["activity"] == 0:
            what = "spikes" if layer["rate"] == 0 else "comes near its threshold"
            said.append(
                f"**No neuron of {name} {what}** in any {SPLIT} sample, so it learns nothing."
            )
    latest = files.history[-1].get("warnings", []) if files.history else []
    return said + [f"In the last epoch: {text}." for text in latest]


def _training(files: Files) -> list[Any]:
    if not files.history:
        return ["No epoch is complete yet, so there are no curves."]
    return [curves.learning(files), curves.sparsity(files)]


def _mistakes(dataset: EventDataset, recipe: Recipe, scores: Scores) -> Any:
    found = mistakes.worst(dataset, recipe, scores, SPLIT)
    return f"There is none: every {SPLIT} sample is right." if found is None else found


def _inside(net: Network, dataset: EventDataset, recipe: Recipe, scores: Scores) -> list[Section]:
    inside = rasters.look(net, dataset, recipe, scores.examples())
    names = layer_names(len(inside.hidden))
    found = membranes.traces(net, inside)
    traced = "No neuron of any layer comes near its threshold in this sample."
    return [
        Section("Spikes of some samples", [rasters.rasters(inside, scores, recipe, names)]),
        Section(
            "Membrane potentials",
            [membranes.drawing(found, recipe, inside.index[0], names) if found else traced],
        ),
    ]


def _weights(files: Files, net: Network) -> list[Any]:
    about = files.about
    initial = files.recipe.network(about.get("unit_shape", about["n_in"]), about["n_class"])
    found = weights.weights(net, initial, _with_readout(net))
    return [weights.drawing(found), weights.table(found)]


def _costs(net: Network, dataset: EventDataset, recipe: Recipe) -> list[Any]:
    found = costs.costs(net, dataset, recipe, _with_readout(net))
    return [costs.drawing(found), costs.table(found, recipe)]


def _operations(net: Network, scores: Scores) -> list[Any]:
    layers = [name for name, module in net.named_children() if isinstance(module, Layer)]
    called = dict(zip(layers, _with_readout(net), strict=True))
    return [operations.table(scores.metrics, called), operations.summary(scores.metrics)]


def _with_readout(net: Network) -> list[str]:
    n_spiking = sum(getattr(getattr(module, "neuron", None), "spiking", False) for module in net)
    return [*layer_names(n_spiking), "readout"]


def _recipe(recipe: Recipe) -> Table:
    usual = Recipe().to_dict()
    rows = [
        [f"`{name}`", f"**{spelled(value)}**" if value != usual[name] else spelled(value)]
        for name, value in recipe.to_dict().items()
    ]
    return Table(
        ["field", "value"],
        rows,
        "Bold is what differs from the defaults, the paper's on Fashion-MNIST.",
    )


def spelled(value: Any) -> str:
    """A value of a recipe as one would write it, without markup."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else f"{value}"
    return text or "none"
