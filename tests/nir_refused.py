"""Graphs of NIR that no network of ours can be, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nir_graphs import DT, affine, chain, conv, delays, graph, leaky, lif, linear, pool, scale

nir: Any = pytest.importorskip("nir", reason="installed by `make peers`")

IN, OUT = ("input", "w"), ("n", "output")


def skip(*nodes: Any) -> Any:
    """A graph whose middle may be anything that takes 3 and gives 3."""
    return chain(3, 3, linear(3, 3), *nodes, linear(3, 3), lif(3))


def with_ends(more: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
    return graph(3, 3, {"w": linear(3, 3), "n": lif(3)} | more, [("w", "n"), *edges])


def cycle(*nodes: Any) -> Any:
    """Nodes in a row, of which the last gives to the first as well."""
    made = chain(3, 3, *nodes)
    made.edges.append((str(len(nodes) - 1), "0"))
    return made


def end(kind: Any) -> Any:
    return kind(np.array([3]))


def wrong(kind: Any, *shapes: Any) -> Any:
    return kind(*[np.ones(shape) for shape in shapes])


# name of the node, and what is said of it
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "delay alone": (
        lambda: chain(3, 3, delays(3)),
        r"0 \(nir.Delay\): only a Linear or an Affine beside",
    ),
    "scale alone": (
        lambda: chain(4, 4, scale()),
        r"0 \(nir.Scale\): only a Linear or an Affine beside",
    ),
    "late bias": (
        lambda: chain(3, 3, affine(3, 3), delays(3), lif(3)),
        r"1 \(nir.Delay\): 0 beside it has .* a bias",
    ),
    "late between": (
        lambda: chain(3, 3, linear(3, 3), delays(3), affine(3, 3), lif(3)),
        r"2 \(nir.Affine\): 0 before it .* delays between",
    ),
    "parts of steps": (
        lambda: chain(3, 3, nir.Delay(np.full(3, DT / 2)), linear(3, 3), lif(3)),
        r"1 \(nir.Linear\): the delays beside it are no whole steps",
    ),
    "earlier": (
        lambda: chain(3, 3, nir.Delay(np.full(3, -DT)), linear(3, 3), lif(3)),
        r"1 \(nir.Linear\): delay: expected 3 times >= 0",
    ),
    "integrator in a cycle": (
        lambda: cycle(affine(3, 3), nir.I(np.ones(3))),
        r"graph: expected cycles of spiking neurons and .* found one of 0\.1, 1",
    ),
    "delay in a cycle": (lambda: cycle(nir.I(np.ones(3)), delays(3)), r"1 \(nir.Delay\): only"),
    "no neurons in a cycle": (
        lambda: cycle(affine(3, 3)),
        "graph: expected neurons in every cycle, found one of 0",
    ),
    "two neurons in a cycle": (
        lambda: cycle(linear(3, 3), lif(3), linear(3, 3), lif(3)),
        "graph: expected cycles of spiking neurons and one",
    ),
    "spikes into neurons": (
        lambda: skip(lif(3), lif(3)),
        r"2 \(nir.LIF\): it takes spikes, and not a current",
    ),
    "a potential into a matrix": (
        lambda: skip(nir.I(np.ones(3))),
        r"2 \(nir.Linear\): it takes a dense tensor, and not the spikes",
    ),
    "a current into a pool": (
        lambda: chain((2, 4, 4), 3, conv(2, 2, 3, (4, 4)), pool()),
        r"1 \(nir.SumPool2d\): it takes a current",
    ),
    "some dimensions": (
        lambda: chain((2, 4, 4), 3, nir.Flatten({"input": np.array([2, 4, 4])}, 1, -1)),
        r"0 \(nir.Flatten\): it flattens 1 to -1; expected 0 to -1, .* of \(2, 4, 4\)",
    ),
    "leak of a readout": (
        lambda: chain(3, 2, linear(3, 2), leaky(1.0)),
        r"1 \(nir.LI\): v_leak: expected 0",
    ),
    "reset above": (
        lambda: chain(3, 3, linear(3, 3), nir.IF(np.ones(3), np.ones(3), np.ones(3))),
        r"1 \(nir.IF\): v_reset: expected less than v_th",
    ),
    "weight": (
        lambda: skip(wrong(nir.Linear, (1, 3, 3))),
        r"1 \(nir.Linear\): weight: expected \(n_out, n_in\), found \(1, 3, 3\)",
    ),
    "bias": (
        lambda: skip(wrong(nir.Affine, (3, 3), 2)),
        r"1 \(nir.Affine\): bias: expected 3 numbers, found 2",
    ),
    "product": (
        lambda: skip(wrong(nir.Linear, (2, 2))),
        r"1 \(nir.Linear\): weight: expected 3 columns after 0, found 2",
    ),
    "scale": (
        lambda: skip(nir.Scale(np.ones(2))),
        r"1 \(nir.Scale\): scale: expected 3 numbers for 0, found 2",
    ),
    "kernel": (
        lambda: chain((2, 4, 4), 3, nir.Conv2d(None, np.ones((2, 3, 3)), 1, 1, 1, 1, None)),
        r"0 \(nir.Conv2d\): weight: expected 4 dimensions, found \(2, 3, 3\)",
    ),
    "kernel's bias": (
        lambda: chain((2, 4, 4), 3, conv(2, 2, 3, (4, 4), bias=np.ones(3))),
        r"0 \(nir.Conv2d\): bias: expected 2 numbers, found 3",
    ),
    "no input": (lambda: with_ends({}, [OUT]), r"w \(nir.Linear\): nothing comes into it"),
    "two inputs": (
        lambda: with_ends({"more": end(nir.Input)}, [IN, ("more", "w"), OUT]),
        "graph: expected one Input, found 2: input, more",
    ),
    "input of both": (
        lambda: with_ends({}, [IN, ("input", "n"), OUT]),
        r"input \(nir.Input\): neurons take it as a current",
    ),
    "no output": (lambda: with_ends({}, [IN]), r"output \(nir.Output\): nothing comes into it"),
    "spikes of two": (
        lambda: with_ends(
            {"v": linear(3, 3), "m": lif(3)}, [IN, OUT, ("input", "v"), ("v", "m"), ("m", "output")]
        ),
        r"output \(nir.Output\): it takes the spikes of several nodes",
    ),
    "an edge to nowhere": (
        lambda: with_ends({}, [IN, ("n", "outptu")]),
        "graph: expected edges between its nodes, found n -> outptu",
    ),
    "two ways out": (
        lambda: chain(3, 3, with_ends({"more": end(nir.Output)}, [IN, OUT, ("n", "more")])),
        r"0 \(nir.NIRGraph\): expected a subgraph of one Output, found 2",
    ),
}
