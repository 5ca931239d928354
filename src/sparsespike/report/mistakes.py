"""The worst mistakes: samples that the network is surest about, and wrong."""

from __future__ import annotations

import math

from sparsespike.data import EventDataset
from sparsespike.pages.figure import Drawing, panels, style
from sparsespike.report import inputs
from sparsespike.report.scores import Scores
from sparsespike.training.recipe import Recipe

SHOWN, IN_A_ROW = 12, 6


def worst(dataset: EventDataset, recipe: Recipe, scores: Scores, split: str) -> Drawing | None:
    """Up to twelve of them; None where there is no mistake."""
    wrong = scores.mistakes()
    if not len(wrong):
        return None
    shown = wrong[:SHOWN].tolist()
    label, prediction, sure = (
        scores.label.tolist(),
        scores.prediction.tolist(),
        scores.sure.tolist(),
    )
    spikes, _ = dataset.batch(shown, recipe.steps, recipe.dt)
    rows = math.ceil(len(shown) / IN_A_ROW)
    with style():
        figure, axes = panels(rows, IN_A_ROW, height=2.15 * rows)
        for place, i, one in zip(axes, shown, spikes, strict=False):
            inputs.draw(place, one, recipe.dt)
            said = (
                f"is {scores.classes[label[i]]}\n→ {scores.classes[prediction[i]]}, {sure[i]:.0%}"
            )
            place.set_title(said, size=8.5)
            place.set_xlabel(f"sample {i}", size=8, labelpad=3)
        for place in axes[len(shown) :]:
            place.set_axis_off()
    kind = _kind(dataset, recipe)
    which = f"The {SHOWN} of {len(wrong):,}" if len(wrong) > SHOWN else f"All {len(wrong)}"
    says = (
        f"{which} mistakes among the {split} samples, those first that the network is surest about: label, "
        f"prediction and its probability (softmax of the logits). {kind}"
    )
    pairs = ", ".join(
        f"{scores.classes[label[i]]} as {scores.classes[prediction[i]]}" for i in shown
    )
    return Drawing("mistakes", figure, says, f"Inputs taken for another class: {pairs}.")


def _kind(dataset: EventDataset, recipe: Recipe) -> str:
    """What an input's picture shows."""
    sensor = dataset.about.sensor
    if len(sensor) != 3:
        return f"Rasters of {dataset.n_units} units over {recipe.steps * recipe.dt * 1e3:g} ms."
    polarity = ", orange where OFF events outweigh ON" if sensor[0] == 2 else ""
    return (
        "Images of the events: a pixel is stronger the more of them it has, or the earlier its only "
        f"one{polarity}."
    )
