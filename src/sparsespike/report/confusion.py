"""The confusion matrix: a drawing, and a table of the classes."""

from __future__ import annotations

from typing import Any

from sparsespike.pages.figure import COLOURS, INK, PAPER, Drawing, panels, style
from sparsespike.pages.page import Table
from sparsespike.report.scores import Scores

MOST_WITH_NUMBERS = 20  # classes, beyond which a number does not fit its cell
MOST_WITH_NAMES = 50


def matrix(scores: Scores, split: str) -> Drawing:
    """Samples by label and prediction, as shares of each label."""
    counts = scores.confusion().tolist()
    n_class, names = len(counts), scores.classes
    side = min(8.4, max(3.6, 1.6 + (0.42 if n_class <= MOST_WITH_NUMBERS else 0.14) * n_class))
    with style():
        figure, (axes,) = panels(height=side, width=side + 0.35)
        from matplotlib.patches import Rectangle

        for row, line in enumerate(counts):
            for column, n in enumerate(line):
                if not n:
                    continue
                # The root lets the few mistakes be seen beside the many that are right.
                shade = (n / sum(line)) ** 0.5
                colour = COLOURS["blue" if row == column else "vermilion"]
                look = {"facecolor": colour, "alpha": max(shade, 0.06), "linewidth": 0}
                axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **look))
                if n_class <= MOST_WITH_NUMBERS:
                    ink = PAPER if shade > 0.78 else INK
                    size = 8 if n < 1000 else 6.5
                    axes.text(column, row, f"{n}", ha="center", va="center", color=ink, size=size)
        axes.set(xlim=(-0.5, n_class - 0.5), ylim=(n_class - 0.5, -0.5), aspect="equal")
        axes.set(xlabel="predicted", ylabel="label")
        if n_class <= MOST_WITH_NAMES:
            small: dict[str, Any] = {"size": 8 if n_class <= MOST_WITH_NUMBERS else 5.5}
            turned = any(len(name) > 3 for name in names)
            axes.set_xticks(range(n_class), names, rotation=45 if turned else 0, **small)
            if turned:
                for text in axes.get_xticklabels():
                    text.set(ha="right", rotation_mode="anchor")
            axes.set_yticks(range(n_class), names, **small)
        axes.tick_params(length=0)
    total = scores.total
    right = sum(counts[i][i] for i in range(n_class))
    says = (
        f"All {total['n_samples']:,} {split} samples: {right:,} right ({total['accuracy']:.2%}), on the "
        "diagonal. Rows are labels, columns predictions; the shade grows with the root of the share of "
        "the label's samples."
    )
    return Drawing(
        "confusion", figure, says, f"{right} of {total['n_samples']} samples lie on the diagonal."
    )


def classes(scores: Scores) -> Table:
    """How well each class is recognised, and what it is taken for."""
    counts = scores.confusion()
    predicted = counts.sum(0).tolist()
    rows = []
    for i, name in enumerate(scores.classes):
        line = counts[i].tolist()
        n, hit = sum(line), line[i]
        line[i] = 0
        most = max(line)
        taken = f"{scores.classes[line.index(most)]} ({most:,})" if most else None
        right = f"{hit / n:.1%}" if n else None
        precise = f"{hit / predicted[i]:.1%}" if predicted[i] else None
        rows.append([name, n, right, precise, taken])
    header = ["class", "samples", "found", "right when predicted", "most often taken for"]
    return Table(header, rows)
