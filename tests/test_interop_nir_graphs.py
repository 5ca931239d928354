"""Graphs of NIR's own kinds run as the equations of their nodes say, or are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sparsespike as ss

nir: Any = pytest.importorskip("nir", reason="installed by `make peers`")

from nir_graphs import DT, RANDOM, RUN, START  # noqa: E402
from nir_loops import flat, literal  # noqa: E402
from nir_refused import REFUSED  # noqa: E402
from sparsespike.interop.nir_graph import SPIKING  # noqa: E402


def drawn(shape: Any, steps: int = 60) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    sizes = [int(size) for size in np.atleast_1d(shape)]
    return (torch.rand(steps, 3, *sizes, generator=draw) < 0.3).double()


def run(net: Any, x: Tensor) -> tuple[Tensor, ...]:
    with ss.use_backend("dense"), torch.no_grad():
        out = net.double()(x)
    return out if isinstance(out, tuple) else (out,)


@pytest.mark.parametrize("scheme", ["euler", "exact"])
@pytest.mark.parametrize("case", RUN)
def test_it_runs_as_the_equations_of_its_nodes_say(case, scheme):
    RANDOM.bit_generator.state = START
    given = RUN[case]()
    # Its IF have r = 1 and no time constant, so that a step is one unit of time.
    dt = 1.0 if case == "cnn" else DT
    x = drawn(given.nodes["input"].input_type["input"])
    expected = literal(given, x, dt, scheme)
    kinds = {name: type(node).__name__ for name, node in flat(given)[0].items()}
    last = [name for name in given.nodes if kinds.get(name) == "Output"]
    for name, kind in kinds.items():
        if kind in SPIKING:
            assert 0.001 < float(expected[name].mean()) < 0.95, name
    given.metadata.update(dt=dt, scheme=scheme)
    found = run(ss.interop.from_nir(given), x)
    assert len(found) == len(last)
    for mine, name in zip(found, last, strict=True):
        assert expected[name].any()
        torch.testing.assert_close(mine, expected[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_network_is_refused_by_the_node(case):
    make, said = REFUSED[case]
    with pytest.raises(ValueError, match=said):
        ss.interop.from_nir(make(), dt=DT)


def test_one_matrix_of_the_graph_stays_one():
    net = ss.interop.from_nir(RUN["shared_loop"](), dt=DT)
    assert [tuple(p.shape) for p in net.parameters()] == [(4, 4)]
    with ss.use_backend("dense"):
        net.double()(drawn(4)).sum().backward()
    (weight,) = net.parameters()
    assert weight.grad is not None
    assert weight.grad.any()


def test_a_network_of_doubles_takes_floats():
    net, x = ss.interop.from_nir(RUN["rnn"](), dt=DT), drawn(12)
    assert net(x.float()).any()
    assert torch.equal(net(x.float()), net(x))


def test_weights_of_two_dtypes_become_the_wider():
    given, x = RUN["residual"](), drawn(2)
    expected = literal(given, x, DT)["output"]
    given.nodes["c"].weight = given.nodes["c"].weight.astype(np.float32)
    net = ss.interop.from_nir(given, dt=DT)
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert expected.any()
    assert int((run(net, x)[0] != expected).sum()) <= 2  # of rounded weights
    for name in "ace":
        given.nodes[name].weight = given.nodes[name].weight.astype(np.float32)
    net = ss.interop.from_nir(given, dt=DT)
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    with ss.use_backend("dense"):
        assert net(x).any()


def test_what_is_no_graph_is_refused():
    with pytest.raises(ValueError, match=r"graph: expected a nir\.NIRGraph, found Linear"):
        ss.interop.from_nir(nir.Linear(np.ones((2, 2))), dt=DT)
    with pytest.raises(ValueError, match="dt: expected a time step in seconds > 0, found '1 ms'"):
        ss.interop.from_nir(RUN["one_lif"](), dt="1 ms")  # pyright: ignore[reportArgumentType]
