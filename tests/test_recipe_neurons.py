"""Recipes with other neurons, learned numbers, recurrence and delays: built, trained, stopped and resumed."""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import Any

import pytest
import torch

import sparsespike as ss
from sparsespike import data
from sparsespike.training import architecture, checkpoint
from sparsespike.training.evaluate import load_run
from sparsespike.training.recipe import Recipe
from sparsespike.training.train import Stopped, train
from training import QUICK, Listener, few

RICH = dataclasses.replace(
    QUICK,
    neuron="AdLIF(tau_adapt=0.03, a=0.02, b=0.1)",
    learn=("tau_mem", "tau_adapt", "a", "b"),
    recurrent=True,
    delay=5,
    init="neuron",
    weight_decay=0.1,
    schedule="cosine",
)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(data, "load", few)


def test_a_recipe_builds_what_it_says():
    net = RICH.network(784, 10)
    first, second, last = net
    for layer, n_in, n in ((first, 784, 20), (second, 20, 15)):
        assert isinstance(layer, ss.Layer)
        assert isinstance(layer.neuron, ss.AdLIF)
        assert layer.neuron.tau_mem.shape == layer.neuron.b.shape == (n,)
        assert layer.recurrent.weight.shape == (n, n)
        assert layer.connection.delay.steps.shape == (n, n_in)
        assert 0 <= layer.connection.delay.steps.min() < layer.connection.delay.steps.max() <= 5
        mine, other = layer.recurrent.weight.detach(), layer.connection.weight.detach()
        ratio = float(mine.std() / other.std())
        assert ratio == pytest.approx(0.5 * (n_in / n) ** 0.5, rel=0.2)
    assert first.neuron is not second.neuron
    assert isinstance(last, ss.Layer)
    assert not list(last.neuron.parameters())
    again = RICH.network(784, 10)
    for mine, other in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, other)
    plain = QUICK.network(784, 10)
    assert plain[0].neuron is plain[1].neuron  # pyright: ignore


def test_fully_connected_layers_among_others_are_recurrent_and_delayed():
    changes = {
        "hidden": (),
        "layers": ("Conv2d(1, 2, 5, stride=8)", "Dropout(0.2)", "Linear(18, 9)"),
    }
    conv, _, linear, _ = dataclasses.replace(RICH, **changes).network((1, 28, 28), 10)
    assert isinstance(conv, ss.Layer)
    assert isinstance(linear, ss.Layer)
    assert conv.recurrent is None
    assert linear.recurrent.weight.shape == (9, 9)
    assert linear.connection.delay.steps.shape == (9, 18)
    assert linear.connection.delay.steps.requires_grad


def test_numbers_and_delays_have_a_rate_of_their_own_and_no_decay():
    net = RICH.network(784, 10)
    groups = architecture.groups(RICH, net)
    flat = [p for group in groups for p in group["params"]]
    assert [id(p) for p in flat] == [id(p) for p in net.parameters()]
    by_name = dict(net.named_parameters())
    rates = {id(p): group["share"] * RICH.lr for group in groups for p in group["params"]}
    decays = {id(p): group.get("weight_decay") for group in groups for p in group["params"]}
    assert rates[id(by_name["0.neuron.tau_mem"])] == pytest.approx(0.01 * 10e-3)
    assert rates[id(by_name["0.connection.delay.steps"])] == pytest.approx(0.01 * 5)
    assert rates[id(by_name["0.connection.weight"])] == RICH.lr
    assert decays[id(by_name["0.neuron.tau_mem"])] == 0
    assert len(architecture.groups(QUICK, QUICK.network(784, 10))) == 1


def test_such_a_run_learns_and_ends_alike_where_it_was_stopped(tmp_path):
    whole = train(RICH, tmp_path / "whole", progress=Listener())

    def stop(epoch: int, batch: int) -> None:
        if (epoch, batch) == (2, 2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        train(RICH, tmp_path / "parts", progress=Listener(stop))
    parts = train(RICH, tmp_path / "parts", resume=True, progress=Listener())
    assert parts["test"]["accuracy"] == whole["test"]["accuracy"]
    lines = checkpoint.read_lines(tmp_path / "whole" / "metrics.jsonl")
    assert lines[-1]["loss"] < lines[0]["loss"]
    first, second = (load_run(tmp_path / name)[0] for name in ("whole", "parts"))
    start = RICH.network(784, 10).state_dict()
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
        assert not torch.equal(value, start[name]), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neuron": "CuBa"}, "neuron: expected one of LIF, .*did you mean 'CuBaLIF'"),
        ({"neuron": "LIF(0.1)"}, "neuron: expected named values"),
        ({"neuron": "AdLIF(tau_adapt=0.1, a=0.1)"}, "neuron: AdLIF"),
        ({"neuron": "LIF(tau_mem=0.1)"}, "neuron: expected named values"),
        (
            {"neuron": "ALIF(tau_adapt=0.1, beta=0.2)", "reset": "zero"},
            "reset: expected 'subtract'",
        ),
        ({"learn": ("tau_syn",)}, "learn: expected numbers of LIF"),
        ({"delay": -1}, "delay: expected an integer >= 0"),
        ({"recurrent": 1}, "recurrent: expected true or false"),
        ({"lr_numbers": 0.0}, "lr_numbers: expected"),
        (
            {"hidden": (), "layers": ("Conv2d(1, 2, 3)",), "recurrent": True},
            "recurrent: expected a fully connected layer",
        ),
    ],
    ids=str,
)
def test_what_a_recipe_cannot_be_is_refused_by_name(changes: Any, message: str):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(QUICK, **changes).network(784, 10)
    assert Recipe(neuron="CuBaLIF(tau_syn=5e-3)").network(784, 10)
