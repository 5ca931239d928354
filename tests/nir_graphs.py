"""Graphs of the kinds that NIR's own test suite and paper have, with weights drawn anew.

The networks of the paper (Pedersen et al., Nature Communications 15:8122, 2024) are one LIF, a convolutional
and a recurrent one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

nir: Any = pytest.importorskip("nir", reason="installed by `make peers`")

DT = 1e-4
RANDOM = np.random.default_rng(0)
START = RANDOM.bit_generator.state


def affine(n_in: int, n_out: int, bias: float = 0.1, wide: float = 3.0) -> Any:
    return nir.Affine(weights(n_out, n_in, wide=wide), RANDOM.standard_normal(n_out) * bias)


def weights(*shape: int, wide: float = 3.0) -> Any:
    return (RANDOM.standard_normal(shape) + 0.5) * wide / np.sqrt(shape[1])


def linear(n_in: int, n_out: int, wide: float = 3.0) -> Any:
    return nir.Linear(weights(n_out, n_in, wide=wide))


def lif(n: int, leak: float = 0.0) -> Any:
    tau = np.linspace(4, 12, n) * DT
    ones = np.ones(n)
    return nir.LIF(tau, tau / DT, ones * leak, v_threshold=ones, v_reset=ones * 0.0)


def cuba(n: int, steps: float = 9.0) -> Any:
    tau, ones = np.full(n, steps) * DT, np.ones(n)
    fast = tau / 4
    zero = ones * 0.0
    return nir.CubaLIF(fast, tau, tau / DT, zero, v_threshold=ones, v_reset=zero, w_in=fast / DT)


def ends(n_in: Any, n_out: Any) -> dict[str, Any]:
    return {
        "input": nir.Input({"input": np.atleast_1d(n_in)}),
        "output": nir.Output({"output": np.atleast_1d(n_out)}),
    }


def chain(n_in: Any, n_out: Any, *nodes: Any) -> Any:
    """Nodes in a row, named 0, 1, ..."""
    named = {str(i): node for i, node in enumerate(nodes)}
    return graph(n_in, n_out, named, list(pairwise(["input", *named, "output"])))


def graph(n_in: Any, n_out: Any, nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
    return nir.NIRGraph(ends(n_in, n_out) | nodes, edges, type_check=False)


def conv(n_out: int, n_in: int, size: int, shape: tuple[int, int], **how: Any) -> Any:
    kernel = (RANDOM.standard_normal((n_out, n_in, size, size)) + 0.1) * 2 / size / n_in**0.5
    settings = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "bias": np.zeros(n_out)}
    return nir.Conv2d(shape, kernel, **(settings | how))


def integrate(*shape: int, r: float = 1.0) -> Any:
    ones = np.ones(shape)
    return nir.IF(r * ones, v_threshold=ones, v_reset=0 * ones)


def pool(kind: Any = None) -> Any:
    two = np.array([2, 2])
    return (kind or nir.SumPool2d)(two, two, 0 * two)


def flatten(*shape: int) -> Any:
    return nir.Flatten({"input": np.array(shape)}, start_dim=-len(shape), end_dim=-1)


def recurrent(kind: Callable[[int], Any], n: int) -> Any:
    """Neurons that an own connection takes back to themselves, as a subgraph."""
    edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    return graph(n, n, {"lif": kind(n), "w_rec": affine(n, n, wide=-0.5)}, edges)


def integrator() -> Any:
    return nir.I(np.array([0.5, 1.0]) / DT)


def leaky(leak: float = 0.0) -> Any:
    return nir.LI(np.full(2, 5 * DT), np.ones(2), np.full(2, leak))


def paper_cnn() -> Any:
    """Of the paper, with fewer channels and 10 of its 34 pixels."""
    return chain(
        (2, 10, 10),
        4,
        conv(4, 2, 5, (10, 10), stride=(2, 2)),
        integrate(4, 4, 4),
        conv(4, 4, 3, (4, 4), bias=None),
        integrate(4, 4, 4),
        pool(),
        conv(3, 4, 3, (2, 2), groups=(1, 1)),
        integrate(3, 2, 2),
        pool(),
        flatten(3, 1, 1),
        affine(3, 8, 0.0),
        integrate(8),
        affine(8, 4, 0.0),
        integrate(4),
    )


def paper_rnn(bias: bool) -> Any:
    """Of the paper, with its names and flat cycle."""
    nodes = {
        "fc1": affine(12, 38, wide=1.0) if bias else linear(12, 38, wide=1.0),
        "lif1.lif": cuba(38, 10.0),
        "lif1.w_rec": affine(38, 38, wide=-0.5) if bias else linear(38, 38, wide=-0.5),
        "fc2": affine(38, 7, wide=0.5) if bias else linear(38, 7, wide=0.5),
        "lif2": cuba(7),
    }
    edges = [("input", "fc1"), ("fc1", "lif1.lif"), ("lif1.lif", "fc2"), ("fc2", "lif2")]
    loop = [("lif1.lif", "lif1.w_rec"), ("lif1.w_rec", "lif1.lif")]
    return graph(12, 7, nodes, [*loop, *edges, ("lif2", "output")])


def branches() -> Any:
    """Subgraphs side by side, whose spikes come together in one matrix."""

    def side(n: int) -> Any:
        return chain(4, n, affine(4, n), lif(n))

    nodes = {"before": chain(3, 4, affine(3, 4), lif(4)), "a": side(2), "b": side(2)}
    nodes["junction"] = affine(2, 3)
    edges = [("input", "before"), ("before", "a"), ("before", "b")]
    edges += [("a", "junction"), ("b", "junction"), ("junction", "output")]
    return graph(3, 3, nodes, edges)


def crossed() -> Any:
    """Whole numbers for weights; spikes and a current come together."""
    n = [nir.Affine(np.array(w), np.array(b)) for w, b in (
        ([[1], [2], [3]], [[0, 0, 1]]), ([[1, 2, 1], [3, -3, 4]], [0, 1]),
        ([[1, 2, 1], [-3, 3, 4]], [0, 0]), ([[1, 1], [-3, 4]], [2, 0]),
    )]  # fmt: skip
    nodes = {"a": n[0], "b": lif(3), "c": lif(3), "d": n[1], "e": n[2], "f": n[3]}
    edges = [("input", "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("c", "e")]
    return graph(1, 2, nodes, [*edges, ("d", "f"), ("e", "f"), ("f", "output")])


def residual() -> Any:
    nodes = {"a": affine(2, 4), "b": lif(4), "c": affine(4, 4), "d": lif(4), "e": affine(4, 3)}
    nodes["f"] = lif(3)
    edges = [("input", "a"), ("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("a", "e")]
    return graph(2, 3, nodes, [*edges, ("e", "f"), ("f", "output")])


def shared_loop() -> Any:
    """One matrix for the input and for the way back."""
    nodes = {"w": nir.Linear(weights(4, 4)), "n": integrate(4, r=1 / DT)}
    edges = [("input", "w"), ("w", "n"), ("n", "w"), ("n", "output")]
    return graph(4, 4, nodes, edges)


def delays(n: int, last: int = 3) -> Any:
    return nir.Delay(np.arange(n) % (last + 1) * DT)


def late_loop() -> Any:
    """Delays on the way back."""
    nodes = {"w": affine(3, 4), "n": lif(4), "wait": delays(4), "own": affine(4, 4)}
    edges = [("input", "w"), ("w", "n"), ("n", "wait"), ("wait", "own"), ("own", "n")]
    return graph(3, 4, nodes, [*edges, ("n", "output")])


def two_outputs() -> Any:
    nodes = {"w": affine(3, 4), "n": lif(4), "v": linear(4, 2)}
    nodes["out"] = nir.Output({"output": np.array([2])})
    edges = [("input", "w"), ("w", "n"), ("n", "output"), ("n", "v"), ("v", "out")]
    return graph(3, 4, nodes, edges)


def scale() -> Any:
    return nir.Scale(np.linspace(0.5, 1.5, 4))


RUN: dict[str, Callable[[], Any]] = {
    "one_lif": lambda: chain(1, 1, nir.Affine(np.full((1, 1), 0.5), np.zeros(1)), lif(1)),
    "leak_upwards": lambda: chain(1, 1, nir.Linear(np.ones((1, 1)) / 9), lif(1, 1.2)),
    "cnn": paper_cnn,
    "rnn": lambda: paper_rnn(bias=True),
    "rnn_without_bias": lambda: paper_rnn(bias=False),
    "subgraph": lambda: chain(3, 2, affine(3, 5, wide=1.0), recurrent(cuba, 5), linear(5, 2, 1.0), cuba(2)),
    "branches": branches,
    "crossed": crossed,
    "residual": residual,
    "shared_loop": shared_loop,
    "late_loop": late_loop,
    "two_outputs": two_outputs,
    "matrices": lambda: chain(3, 2, linear(3, 4), affine(4, 5), affine(5, 4), linear(4, 2), lif(2)),
    "current": lambda: chain(3, 4, affine(3, 4)),
    "conv_current": lambda: chain((2, 6, 6), (3, 6, 6), conv(3, 2, 3, (6, 6))),
    "conv1d_current": lambda: chain((2, 8), (3, 4), nir.Conv1d(8, weights(3, 2, 3), 2, 1, 1, 1, None)),
    "late_current": lambda: chain(4, 4, linear(4, 4), delays(4), lif(4)),
    "late_spikes": lambda: chain(4, 3, delays(4), scale(), affine(4, 3), lif(3)),
    "scales": lambda: chain(4, 4, scale(), delays(4), affine(4, 4), scale(), lif(4)),
    "integrator": lambda: chain(3, 2, affine(3, 2), integrator()),
    "leaky": lambda: chain(3, 2, affine(3, 2), leaky()),
    "threshold": lambda: chain(3, 3, nir.Threshold(np.array([0.5, 1.0, 0.2]))),
    "neurons_first": lambda: chain(3, 3, lif(3), linear(3, 2), lif(2)),
    "average": lambda: chain((2, 4, 4), 3, pool(nir.AvgPool2d), flatten(2, 2, 2), affine(8, 3), lif(3)),
}  # fmt: skip
