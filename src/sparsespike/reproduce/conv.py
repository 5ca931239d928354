"""Convolution and pooling (section 3.4), which the paper simulated with dense tensors."""

from __future__ import annotations

from typing import Any

from sparsespike.pages.page import Section, Table
from sparsespike.reproduce.cell import Cell
from sparsespike.reproduce.claim import Claim, spread
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Scope
from sparsespike.reproduce.timed import CLEAN, TrainedStep
from sparsespike.reproduce.trained import Training

NAME, TITLE = "conv", "Convolution and pooling"
RECIPE, BATCH = "fashion-mnist-conv", 32
PAPER, PAPER_UNCUT = 0.867, 0.869


def cells(scope: Scope) -> list[Cell]:
    """The run, a short pair with and without a band, and a training step."""
    return [_run(scope), *([] if scope.quick else _pair(scope)), _step(scope)]


def section(scope: Scope, records: Records) -> Section:
    """Accuracies, and the cost of a step."""
    parts: list[Any] = []
    rows = []
    cut, uncut = _pair(scope)
    for label, run in (("sparse", _run(scope)), ("sparse", cut), ("original", uncut)):
        found = records.find(run)
        if found is not None:
            test, last = found["result"]["test"], found["epochs"][-1]
            shares = " ".join(f"{share:.2%}" for share in last["activity"])
            rows.append(
                [label, found["result"]["dataset"], len(found["epochs"]), f"{test['accuracy']:.1%}",
                 f"{last['loss']:.3f}", shares]
            )  # fmt: skip
    if rows:
        parts.append(
            Table(
                ("gradient", "data", "epochs", "test accuracy", "last loss", "activity by layer"),
                rows,
                f"`{RECIPE}`, 16C5-P2-32C5-P2-10. The paper: {PAPER:.1%} sparse, {PAPER_UNCUT:.1%} "
                "original.",
            )
        )
    found = records.find(_step(scope))
    if found is not None:
        steps = [
            [row["method"], *(row["ms"].get(phase, {}).get("median") for phase in ("forward", "backward")),
             row["ratio"].get("total"), row["peak_mib"]]
            for row in found["rows"]
        ]  # fmt: skip
        shares = ", ".join(f"{share:.2%}" for share in found["case"]["activity"])
        header = ("method", "forward, ms", "backward, ms", "times sparsespike's", "peak, MiB")
        parts.append(
            Table(
                header,
                steps,
                f"A training step, B = {BATCH}, T = 100, {records.processor}; activity {shares}.",
            )
        )
    return Section(TITLE, parts or ["Not measured yet."])


def claims(scope: Scope, records: Records) -> list[Claim]:
    """Accuracy, sparse against original, and what the paper could not time."""
    made = []
    found = records.find(_run(scope))
    if found is not None:
        accuracy = spread([found["result"]["test"]["accuracy"]])
        assert accuracy is not None
        n = len(found["epochs"])
        before, last = (found["epochs"][i]["loss"] for i in (max(0, n - 2), n - 1))
        falling = f", its loss still falling ({before:.3f}, {last:.3f})" if last < before else ""
        made.append(
            Claim(
                "Sparse gradients train a convolutional network",
                "3.4",
                f"{PAPER:.1%}",
                accuracy.percent(),
                "reproduced" if accuracy.mean >= PAPER else "not reproduced",
                f"after {n} epochs{falling}; the paper does not say which convolutions, nor how long",
            )
        )
    cut, uncut = (records.find(run) for run in _pair(scope))
    if cut is not None and uncut is not None:
        left, right = (one["result"]["test"]["accuracy"] for one in (cut, uncut))
        made.append(
            Claim(
                "A convolutional network learns the same from sparse and original gradients",
                "3.4",
                f"{PAPER:.1%} and {PAPER_UNCUT:.1%}",
                f"{left:.1%} and {right:.1%}",
                "reproduced" if left > right - 0.02 else "not reproduced",
                f"on {cut['result']['dataset']}, {len(cut['epochs'])} epochs, one seed",
            )
        )
    return made


def _run(scope: Scope) -> Training:
    if scope.quick:
        return Training(RECIPE, "fashion-mnist-sample", 0, 1, epoch_s=30.0)
    return Training(RECIPE, scope.images.dataset, 0, 10, epoch_s=240.0)


def _pair(scope: Scope) -> tuple[Training, Training]:
    # Every entry listed as active takes 40 bytes: batches of the recipe would need 10 GiB.
    cut, uncut = (
        Training(RECIPE, "fashion-mnist-sample", 0, 1, b_th, batch_size=64, epoch_s=epoch_s)
        for b_th, epoch_s in ((0.2, 30.0), (float("inf"), 1200.0))
    )
    return cut, uncut


def _step(scope: Scope) -> TrainedStep:
    return TrainedStep(_run(scope), BATCH, CLEAN, 2 if scope.quick else 5)
