"""How a pass is cut and computed: segments of time, and the form of each sum of the backward pass.

Currents and δ of a segment are the only tensors with a number per (sample, step, unit). They live
for two kernel launches and are small enough to stay in, or near, the second cache. Where one word of the
batch is too much for the memory, the batch is cut as well (`batches.py`).

The forms of a sum are equal but for rounding (`linear.py`). Which is faster depends on the share of
entries and on the GPU: `break_even.json` has, per GPU model and number of units, the share below
which the sparse form wins.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch

from sparsespike.compiling.folder import user_cache
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.words import STEPS

TRANSIENT = 64 * 2**20  # bytes of currents or δ
LARGEST = (
    512 * 2**20
)  # the same, where one word of a batch is more than that: of the samples at a time
TABLE = "break_even.json"

Form = Literal["dense", "sparse"]
log = logging.getLogger("sparsespike.gpu")


class Forms(NamedTuple):
    """How one backward pass computes its two sums.

    Attributes:
        gradient: ∇W.
        input: ε at the active inputs.
    """

    gradient: Form
    input: Form


_forced: Forms | None = None  # no ContextVar: backward passes run in threads of autograd's own


def segments(batch: int, n_word: int, units: int, itemsize: int) -> list[tuple[int, int]]:
    """(first word, words) of each segment, in order: as many words as `TRANSIENT` allows, at least one."""
    return pieces(n_word, batch * STEPS * units * itemsize)


def batches(batch: int, units: int, itemsize: int) -> list[tuple[int, int]]:
    """(first sample, samples) of each part of a batch: as many as `LARGEST` allows, at least one."""
    return pieces(batch, STEPS * units * itemsize, LARGEST) or [(0, 0)]


def pieces(n: int, size: int, limit: int | None = None) -> list[tuple[int, int]]:
    """(first, number) of each piece of n things of `size` bytes: as many as the limit allows, or one.

    Args:
        n: how many things.
        size: bytes of one.
        limit: bytes of a piece; None: `TRANSIENT`.
    """
    most = min(max(1, n), max(1, (limit or TRANSIENT) // max(1, size)))
    return [(first, min(most, n - first)) for first in range(0, n, most)]


@contextmanager
def use_forms(gradient: Form, input: Form) -> Iterator[None]:
    """Backward passes inside the `with` compute their sums so, whatever the table says; in all threads.

    Raises:
        ValueError: if there is no such form.
    """
    global _forced
    for name, form in (("gradient", gradient), ("input", input)):
        if form not in get_args(Form):
            raise ValueError(f'{name}: expected "dense" or "sparse", found {form!r}')
    before, _forced = _forced, Forms(gradient, input)
    try:
        yield
    finally:
        _forced = before


def forms(spikes: Spikes, n_out: int) -> Forms:
    """The faster form of each sum, by the share of input entries that spike and that are active.

    Args:
        spikes: the layer's input.
        n_out: the layer's units.
    """
    if _forced is not None:
        return _forced
    entries = max(1, spikes.shape[0] * spikes.shape[1] * spikes.shape[2])
    rate, activity = spikes.n_spikes / entries, len(spikes.value) / entries
    limit = break_even(model_of(spikes.device))
    chosen = Forms(
        "sparse" if rate < nearest(limit["gradient"], n_out) else "dense",
        "sparse" if activity < nearest(limit["input"], n_out) else "dense",
    )
    log.debug("%s -> %d: rate %.3g, activity %.3g, %s", spikes.shape, n_out, rate, activity, chosen)
    return chosen


def model_of(device: torch.device) -> str:
    """The GPU's name, as in the table."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "default"


def tuned_path() -> Path:
    """Where `sparsespike bench gpu --tune` writes what it finds."""
    return user_cache() / f"gpu_{TABLE}"


@lru_cache(maxsize=16)
def break_even(model: str) -> dict[str, dict[str, float]]:
    """Per sum ("gradient", "input") and number of units, the share below which the sparse form is faster.

    A table that was tuned on this machine comes before the shipped one; a model that neither knows gets
    the default.
    """
    table = json.loads((files("sparsespike.backends.gpu") / TABLE).read_text())
    path = tuned_path()
    if path.exists():
        try:
            table.update(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: expected a table of break-even points, {error}") from None
    return table.get(model, table["default"])


def nearest(limit: dict[str, float], units: int) -> float:
    """The share at the number of units that is nearest, by ratio."""
    return limit[min(limit, key=lambda known: max(int(known), units) / min(int(known), units))]
