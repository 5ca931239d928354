"""Curves of one run over its epochs: loss, accuracy, and activity and spike rate of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparsespike.pages.figure import COLOURS, PAPER, Drawing, panels, style
from sparsespike.report.files import Files, layer_names

# In the order of layers, or of runs compared.
ORDER = ("blue", "vermilion", "green", "orange", "purple", "sky", "grey")
DASHES = ("-", "--", ":", "-.")


def line_style(i: int) -> dict[str, Any]:
    """Colour and dashes of the i-th line; beyond seven the colours come again, dashed."""
    return {"color": COLOURS[ORDER[i % len(ORDER)]], "ls": DASHES[i // len(ORDER) % len(DASHES)]}


def draw(axes: Any, values: Sequence[float], **look: Any) -> None:
    """Values of epochs 1, 2, ..., with a mark at each while they are few; a single one is a mark."""
    few = len(values) <= 20
    axes.plot(range(1, len(values) + 1), values, marker="o" if few else None, ms=3.5, **look)


def epochs_below(axes: Any) -> None:
    """The axis of epochs: whole numbers, from the first."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.grid(axis="y")


def spans_decades(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis shows them better."""
    return min(values) > 0 and max(values) > 30 * min(values)


def learning(files: Files) -> Drawing:
    """Loss and accuracy over the epochs."""
    history = files.history
    loss = [line["loss"] for line in history]
    train = [100 * line["train_accuracy"] for line in history]
    held_out = [line["validation_accuracy"] for line in history]
    has_held_out = None not in held_out
    with style():
        figure, (left, right) = panels(1, 2, height=2.9)
        draw(left, loss, color=COLOURS["blue"])
        left.set(ylabel="loss (nats)", title="Training loss")
        if spans_decades(loss):
            left.set_yscale("log")
        draw(right, train, color=COLOURS["blue"], label="training")
        if has_held_out:
            shares = [100 * share for share in held_out]
            draw(right, shares, color=COLOURS["vermilion"], label="held out")
        if files.result:
            at, score = files.result["epoch"], 100 * files.result["test"]["accuracy"]
            look = {"color": COLOURS["green"], "mec": PAPER, "mew": 0.8, "ls": "none", "ms": 8}
            right.plot([at], [score], "D", label="test", zorder=5, **look)
        right.set(ylabel="accuracy (%)", title="Accuracy")
        right.legend(loc="lower right")
        for axes in (left, right):
            epochs_below(axes)
    test = f", test {files.result['test']['accuracy']:.1%} (diamond)" if files.result else ""
    whose = "training and held-out samples" if has_held_out else "training samples"
    says = (
        "Loss of the training samples, with the penalties on activity and what else the recipe adds; "
        f"accuracy on {whose}{test}. Training accuracy is that of the batches as they were learnt from, so "
        "it lags behind."
    )
    alt = (
        f"Over {len(loss)} epochs the loss goes from {loss[0]:.3g} to {loss[-1]:.3g}, training accuracy "
        f"from {train[0]:.1f} to {train[-1]:.1f} percent."
    )
    return Drawing("learning", figure, says, alt)


def sparsity(files: Files) -> Drawing:
    """Activity and spike rate of each layer over the epochs."""
    names = layer_names(files.n_layers)
    kinds = ("activity", "rate")
    of_layer = {
        kind: [[100 * line["layers"][i][kind] for line in files.history] for i in range(len(names))]
        for kind in kinds
    }
    with style():
        figure, axes = panels(1, 2, height=2.9)
        for place, kind in zip(axes, kinds, strict=True):
            for i, values in enumerate(of_layer[kind]):
                draw(place, values, label=names[i], **line_style(i))
            everything = [value for values in of_layer[kind] for value in values]
            if spans_decades(everything):
                place.set_yscale("log")
            else:
                place.set_ylim(0, 1.08 * max(everything) or 1)
            epochs_below(place)
        axes[0].set(ylabel="active entries (%)", title="Activity: where gradients flow")
        axes[1].set(ylabel="entries with a spike (%)", title="Spike rate")
        axes[0].legend(ncols=2 if len(names) > 3 else 1)
    last = files.history[-1]["layers"]
    now = "; ".join(
        f"{name} {layer['activity']:.2%} active, {layer['rate']:.2%} spikes"
        for name, layer in zip(names, last, strict=True)
    )
    says = (
        f"Shares of all (sample, step, neuron) entries, in the last epoch: {now}. The backward pass costs "
        f"what is active: potentials within `b_th` = {files.recipe.b_th:g} of the threshold."
    )
    return Drawing(
        "sparsity", figure, says, f"Activity and spike rate over the epochs; at last {now}."
    )
