"""The pages tell what is refused in the words in which it is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sparsespike as ss

for peer in ("snntorch", "spikingjelly", "norse", "nir"):
    pytest.importorskip(peer, reason="installed by `make peers`", exc_type=ImportError)

# ruff: noqa: E402
import test_interop_nir as of_nir
import test_interop_refused as of_peers
from interop_nets import layer, neuron, norse, sg, snn
from nir_graphs import DT
from nir_refused import REFUSED

DOCS = Path(__file__).parents[1] / "docs"
MAKE: dict[str, Callable[..., Any]] = {
    "from-snntorch": ss.interop.from_snntorch,
    "from-spikingjelly": ss.interop.from_spikingjelly,
    "from-norse": ss.interop.from_norse,
}


def behind(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), *layers)


def leaky(**more: Any) -> nn.Module:
    return snn.Leaky(0.9, **more, **of_peers.INIT)


def hooked() -> nn.Module:
    net = behind(leaky())
    net.register_forward_hook(lambda *_: None)
    return net


def computed() -> nn.Module:
    net: Any = behind(leaky())
    nn.utils.parametrizations.weight_norm(net[0])
    return net


def set_later() -> nn.Module:
    net: Any = behind(leaky())
    net[1].reset_mechanism = "zero"
    return net


def given(net: nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    return lambda: ss.interop.from_snntorch(net)(x)


def of_snntorch() -> list[Callable[[], Any]]:
    make = ss.interop.from_snntorch
    nets = [of_peers.snn_net(build()) for build, _ in of_peers.SNNTORCH.values()]
    nets += [of_peers.Odd(what) for what, _ in of_peers.ODD.values()]
    circular = nn.Conv2d(1, 1, 3, padding_mode="circular")
    nets += [set_later(), hooked(), computed(), nn.Sequential(circular, leaky())]
    nets += [behind(norse.LIFBoxCell())]
    flat = behind(leaky(spike_grad=sg.straight_through_estimator()))
    ones = torch.ones(4, 2, 3)
    return [
        *[lambda net=net: make(net) for net in nets],
        given(behind(nn.BatchNorm1d(4), leaky()), ones),
        given(behind(leaky()), 0.5 * ones),
        lambda: make(flat, mass=0.95),
        lambda: inhibited(make),
    ]


def inhibited(make: Callable[[nn.Module], Any]) -> Any:
    with pytest.warns(UserWarning, match="Inhibition"):
        net = behind(leaky(inhibition=True))
    return make(net)


def cases(page: str) -> list[Callable[[], Any]]:
    """All that the tests know to be refused."""
    if page == "nir":
        graphs = [build for build, _ in REFUSED.values()]
        return [build for build, _ in of_nir.REFUSED.values()] + [
            lambda build=build: ss.interop.from_nir(build(), dt=DT) for build in graphs
        ]
    if page == "from-snntorch":
        return of_snntorch()
    if page == "from-spikingjelly":
        nets = [behind(build()) for build, _ in of_peers.SPIKINGJELLY.values()]
        modes = neuron.IFNode(), nn.Linear(4, 4), neuron.IFNode(step_mode="m")
        nets += [behind(*modes), nn.Sequential(neuron.IFNode(), layer.VotingLayer(2))]
    else:
        nets = [norse.SequentialState(behind(), b()) for b, _ in of_peers.NORSE.values()]
        whole = nn.Linear(3, 4), norse.LIF(), nn.BatchNorm1d(4), norse.LIF()
        nets += [norse.SequentialState(*whole)]
    return [lambda net=net: MAKE[page](net) for net in nets]


@cache
def said(page: str) -> str:
    """What they are refused with, line by line."""
    lines = []
    for case in cases(page):
        with pytest.raises(ValueError) as error:  # noqa: PT011
            case()
        lines.append(str(error.value))
    return "\n".join(lines)


def listed(page: str) -> list[str]:
    """The messages in the page's tables: in each row all that stands in code after the first column."""
    _, text = (DOCS / f"{page}.md").read_text(encoding="utf-8").split("## What is refused")
    (text, *_) = text.split("\n## ")
    rows = re.findall(r"^\| .*? \| (.*) \|$", text, re.MULTILINE)
    return [each for row in rows for each in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize("page", [*MAKE, "nir"])
def test_every_message_of_the_page_is_said(page):
    messages = [each for each in listed(page) if each != 'input="values"']
    assert len(messages) > 5
    assert [each for each in messages if each not in said(page)] == []
