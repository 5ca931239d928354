"""The tutorials that `tools/time_tutorials.py` times: before and after, the same output and gradients."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import sparsespike as ss

for peer in ("snntorch", "spikingjelly", "norse"):
    pytest.importorskip(peer, reason="installed by `make peers`", exc_type=ImportError)

FILE = Path(__file__).parents[1] / "tools" / "tutorials.py"
BANDS = {
    "snntorch": [("lif1", 4.04), ("lif2", 4.04)],
    "spikingjelly": [("2", 4.04)],
    "norse": [("0", 19)],
}


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorials", FILE)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["tutorials"] = made  # its dataclass looks itself up
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("peer", BANDS)
def test_a_tutorial_gives_and_learns_the_same_after_conversion(peer):
    tutorial = tool().TUTORIALS[peer]()
    torch.manual_seed(0)
    net: Any = tutorial.build()
    if peer == "spikingjelly":
        net[1].weight.data.mul_(6)  # a network of one layer is silent before it is trained
    x = tutorial.encode(torch.rand(6, 1, 28, 28))
    label = torch.arange(6)
    with ss.use_backend("dense"):
        runs = [tutorial.run(net, x), tutorial.convert(net, None)(x)]
    before, after = (tutorial.logit(out) for out in runs)
    assert before.any()
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    grads = [torch.autograd.grad(tutorial.loss(out, label), net.parameters()) for out in runs]
    for a, b in zip(*grads, strict=True):
        assert a.any()
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    banded = tutorial.convert(net, 0.95)
    (converted,) = (each for each in banded.modules() if isinstance(each, ss.interop.Converted))
    assert [(b.layer, round(b.b_th, 2)) for b in converted.bands] == BANDS[peer]
