"""Finite bands of converted networks: what they cut is told, and is what they cut."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss

for peer in ("snntorch", "spikingjelly"):
    pytest.importorskip(peer, reason="installed by `make peers`", exc_type=ImportError)

# ruff: noqa: E402
from interop_nets import functional, layer, neuron, sg, sj, snn


@pytest.fixture(autouse=True)
def _dense():
    with ss.use_backend("dense"):
        yield


def spikes(*shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return (torch.rand(shape, generator=draw, dtype=torch.float64) < 0.4).double()


def leaky_net() -> nn.Sequential:
    kinds: dict[str, Any] = {"init_hidden": True, "spike_grad": sg.fast_sigmoid(10)}
    net = nn.Sequential(
        nn.Linear(6, 8),
        snn.Leaky(0.9, threshold=torch.linspace(0.8, 1.2, 8), **kinds),
        nn.Dropout(0.2),
        nn.Linear(8, 5),
        snn.Leaky(0.8, **kinds),
    )
    torch.manual_seed(0)
    for each in (net[0], net[3]):
        nn.init.normal_(each.weight, 0, 2 / each.weight.shape[1] ** 0.5)  # pyright: ignore
    return net.double()


def test_a_share_of_the_mass_sets_a_band_and_tells_what_it_cuts():
    net, x = leaky_net().eval(), spikes(10, 3, 6)
    exact, banded = ss.interop.from_snntorch(net), ss.interop.from_snntorch(net, mass=0.95)
    assert [band.b_th for band in exact.bands] == [math.inf] * 2
    assert [band.cut for band in exact.bands] == [0.0] * 2
    assert [band.layer for band in banded.bands] == ["1", "4"]
    for band in banded.bands:
        assert band.b_th == pytest.approx(1.9)  # 19 / slope
        assert band.cut == pytest.approx(0.05)
    assert torch.equal(exact(x), banded(x))
    batch = ss.Spikes.from_dense(x, time_first=True)
    assert banded(batch).n_active < exact(batch).n_active


def test_a_report_tells_what_the_bands_do_to_a_step():
    net, x = leaky_net().eval(), spikes(10, 3, 6)
    exact, banded = (ss.interop.from_snntorch(net, mass=mass) for mass in (None, 0.6))
    told = banded.report(x, repeats=2)

    batch = ss.Spikes.from_dense(x, time_first=True)
    whole, part = (each(batch) for each in (exact, banded))
    last = told.layers[1]
    assert 0 < part.n_active < whole.n_active
    assert last.active == pytest.approx(part.n_active / whole.n_active)
    slope = [10 * (each.potential - 1).abs() + 1 for each in (whole, part)]
    sums = [float(each.pow(-2).sum()) for each in slope]
    assert last.lost == pytest.approx(1 - sums[1] / sums[0])
    assert 0 < last.lost < 1

    # The gradient's cosine, under the same random gradient from above.
    torch.manual_seed(0)
    above = torch.randn(10, 3, 5).double()
    flat = []
    for each in (exact, banded):
        found = torch.autograd.grad((each(x) * above).sum(), list(each.parameters()))
        flat.append(torch.cat([g.flatten() for g in found]))
    assert flat[0].any()
    assert told.cosine == pytest.approx(float(torch.cosine_similarity(*flat, dim=0)))
    assert told.cosine < 0.9999

    assert told.speed == told.exact / told.banded > 0
    words = str(told).splitlines()
    assert [line[:2] for line in words[:2]] == ["1:", "4:"]
    assert "cuts 40.0% of the mass of FastSigmoid(beta=10" in words[0]
    assert f"{last.active:.1%} of the entries are inside" in words[1]
    assert "times as long" in words[2]
    assert words[3].startswith("gradient of the parameters: cosine 0.")


def test_thresholds_of_each_neuron_are_those_of_the_entries():
    net, x = leaky_net().eval(), spikes(10, 3, 6)
    hidden = ss.interop.from_snntorch(net[:2])
    (told,) = ss.interop.from_snntorch(net[:2], mass=0.6).report(x, repeats=1).layers
    whole = hidden(ss.Spikes.from_dense(x, time_first=True))
    distance = whole.potential.reshape(-1, 8) - torch.linspace(0.8, 1.2, 8, dtype=torch.float64)
    inside = distance.abs() < told.band.b_th
    slope = (10 * distance.abs() + 1).pow(-2)
    assert told.active == pytest.approx(float(inside.double().mean()))
    assert told.lost == pytest.approx(1 - float(slope[inside].sum() / slope.sum()))


def test_a_report_changes_nothing():
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1),
        layer.BatchNorm2d(4),
        neuron.IFNode(surrogate_function=sj.ATan()),
        layer.Dropout(0.2),
        layer.Flatten(),
        layer.Linear(144, 5),
        neuron.IFNode(surrogate_function=sj.ATan()),
    ).double()
    functional.set_step_mode(net, "m")
    ours = ss.interop.from_spikingjelly(net, mass=0.9, dense=True, input="values")
    before = {name: each.clone() for name, each in ours.state_dict().items()}
    x = torch.rand(8, 3, 2, 6, 6, dtype=torch.float64)
    bands, state = ours.bands, torch.get_rng_state()
    told = ours.report(x, repeats=1)
    assert 0 < told.cosine < 1
    assert [each.band for each in told.layers] == bands == ours.bands
    assert all(torch.equal(each, before[name]) for name, each in ours.state_dict().items())
    assert all(each.grad is None for each in ours.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_report_without_a_band_or_without_parameters_is_refused():
    net, x = leaky_net(), spikes(10, 3, 6)
    with pytest.raises(
        ValueError, match=r"b_th: expected a finite one, as mass=0\.95 sets it, found none"
    ):
        ss.interop.from_snntorch(net).report(x)
    banded = ss.interop.from_snntorch(net, mass=0.95)
    with pytest.raises(ValueError, match="repeats: expected an integer >= 1, found 0"):
        banded.report(x, repeats=0)
    with pytest.raises(ValueError, match="parameters: expected some that are learned, found none"):
        banded.requires_grad_(False).report(x)
