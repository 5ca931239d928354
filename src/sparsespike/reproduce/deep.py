"""Five hidden layers (section 3.4): what they learn, and what a step costs against depth."""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsespike.pages.figure import COLOURS, Drawing, panels, style
from sparsespike.pages.page import Section, Table
from sparsespike.reproduce.cell import Cell
from sparsespike.reproduce.claim import Claim, spread
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Scope
from sparsespike.reproduce.timed import CLEAN, TrainedStep
from sparsespike.reproduce.times import OF_RATIOS, Taken, draw, ratio_of
from sparsespike.reproduce.trained import Training

NAME, TITLE = "deep", "Five hidden layers"
RECIPE, WIDTH, DEPTHS, BATCH = "fashion-mnist-deep", 300, (1, 2, 3, 5), 128
PAPER, PAPER_SHALLOW = 0.827, 0.815  # test accuracy of 5 and of 2 hidden layers
PAPER_SPEED, PAPER_SPEED_SHALLOW = 15, 10  # backward, on a GTX 1080 Ti


def cells(scope: Scope) -> list[Cell]:
    """The runs, and a step of a shortly trained network of each depth."""
    return [*_runs(scope), _steep(scope), *_steps(scope)]


def section(scope: Scope, records: Records) -> Section:
    """Accuracy, activity per layer, and the speed-up of a step against depth."""
    parts: list[Any] = []
    rows = []
    for label, runs in (
        (f"`{RECIPE}`", _runs(scope)),
        ("the same with FastSigmoid(100), the slope of the paper", [_steep(scope)]),
    ):
        found = [one for run in runs if (one := records.find(run)) is not None]
        accuracy = spread([one["result"]["test"]["accuracy"] for one in found])
        if accuracy is not None:
            last = found[0]["epochs"][-1]["activity"]
            shares = " ".join(f"{share:.2%}" for share in last)
            rows.append([label, len(found[0]["epochs"]), accuracy.percent(), shares])
    if rows:
        header = ("run, 784-300-300-300-300-300-10", "epochs", "test accuracy", "activity by layer")
        parts.append(
            Table(header, rows, f"The paper: {PAPER:.1%}, and {PAPER_SHALLOW:.1%} with two layers.")
        )
    points = _points(scope, records)
    if len(points) > 1:
        parts += [_drawing(points), _reading(points)]
    return Section(TITLE, parts or ["Not measured yet."])


def claims(scope: Scope, records: Records) -> list[Claim]:
    """Accuracy and speed-up of five layers."""
    made = []
    found = [one for run in _runs(scope) if (one := records.find(run)) is not None]
    accuracy = spread([one["result"]["test"]["accuracy"] for one in found])
    if accuracy is not None:
        made.append(
            Claim(
                "Five hidden layers of 300 train",
                "3.4",
                f"{PAPER:.1%}",
                accuracy.percent(),
                "reproduced" if accuracy.mean >= PAPER else "not reproduced",
                "with a gentler surrogate than elsewhere in the paper, whose settings for this "
                "run are not given",
            )
        )
    points = dict(_points(scope, records))
    if 5 in points and 2 in points:
        deep, shallow = points[5], points[2]
        made.append(
            Claim(
                "The backward speed-up grows with depth",
                "3.4",
                f"{PAPER_SPEED}× with 5 layers, {PAPER_SPEED_SHALLOW}× with 2",
                f"{deep.backward.value:.3g}× with 5, {shallow.backward.value:.3g}× with 2",
                "reproduced"
                if deep.backward.value >= 0.97 * shallow.backward.value
                else "not reproduced",
                f"a whole step against the clean dense loop, B = {BATCH}, {records.processor}",
            )
        )
    return made


def _training(scope: Scope, depth: int, epochs: int, seed: int) -> Training:
    hidden = () if depth == 5 else (WIDTH,) * depth
    return Training(RECIPE, scope.images.dataset, seed, epochs, hidden=hidden, epoch_s=2.5 * depth)


def _runs(scope: Scope) -> list[Training]:
    epochs, seeds = (1, 1) if scope.quick else (15, 5)
    return [_training(scope, 5, epochs, seed) for seed in range(seeds)]


def _steep(scope: Scope) -> Training:
    epochs = 1 if scope.quick else 10
    return Training(
        RECIPE, scope.images.dataset, 0, epochs, surrogate="FastSigmoid(100)", epoch_s=12.0
    )


def _steps(scope: Scope) -> list[TrainedStep]:
    depths, epochs = ((2, 5), 1) if scope.quick else (DEPTHS, 3)
    repeats = 2 if scope.quick else 5
    return [
        TrainedStep(_training(scope, depth, epochs, 0), BATCH, CLEAN, repeats) for depth in depths
    ]


class _Point(NamedTuple):
    """A step of a network: how many times longer the clean dense loop takes, and mean activity."""

    backward: Taken
    total: Taken
    activity: float


def _points(scope: Scope, records: Records) -> list[tuple[int, _Point]]:
    """By number of hidden layers."""
    points = []
    for cell in _steps(scope):
        found = records.find(cell)
        if found is None:
            continue
        share = found["case"]["activity"]
        backward, total = (ratio_of(found, "clean-dense", one) for one in ("backward", "total"))
        points.append((len(share), _Point(backward, total, sum(share) / len(share))))
    return points


def _reading(points: list[tuple[int, _Point]]) -> str:
    speed, share, depth = (
        ", ".join(texts)
        for texts in (
            [f"{one.backward.value:.1f}" for _, one in points],
            [f"{one.activity:.1%}" for _, one in points],
            [str(n) for n, _ in points],
        )
    )
    return (
        f"Backward {speed} times as fast with {depth} hidden layers, whose mean activity is {share}: "
        "every layer adds its own cost to both methods, so the ratio follows activity, not depth. "
        "The paper compares with its O(T²) loop on a GPU."
    )


def _drawing(points: list[tuple[int, _Point]]) -> Drawing:
    depth = [n for n, _ in points]
    with style():
        figure, (left, right) = panels(1, 2, height=2.7)
        draw(left, depth, [one.backward for _, one in points], "o-", "orange", "backward")
        draw(left, depth, [one.total for _, one in points], "o-", "blue", "whole step")
        left.set(
            xlabel="hidden layers of 300", ylabel="clean dense time / sparsespike's", ylim=(0, None)
        )
        left.legend()
        right.plot(depth, [100 * one.activity for _, one in points], "o-", color=COLOURS["green"])
        right.set(xlabel="hidden layers of 300", ylabel="active entries, mean (%)", ylim=(0, None))
        for ax in (left, right):
            ax.set_xticks(depth)
    return Drawing(
        "deep",
        figure,
        "How many times longer the clean dense loop takes for a training step, against depth "
        f"(left), with the activity of the hidden layers (right). {OF_RATIOS}",
        "Speed-up and activity against the number of hidden layers.",
    )
