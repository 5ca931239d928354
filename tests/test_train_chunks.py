"""Training in chunks of time: the loss of the whole, and its gradient but for what crosses a seam."""

from __future__ import annotations

import copy
import dataclasses
import os
import signal
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import sparsespike as ss
from checks import relative_error
from sparsespike import data
from sparsespike.backends.cpu.linear_form import LinearForm
from sparsespike.training import checkpoint
from sparsespike.training.evaluate import evaluate, load_run
from sparsespike.training.loss import Pool, chunks, outcome, read
from sparsespike.training.train import Stopped, train
from training import QUICK, Listener, few

RICH = dataclasses.replace(
    QUICK, recurrent=True, learn=("tau_mem",), init="neuron", activity_upper=0.3, chunk=15
)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(data, "load", few)


def batch(n: int = 6) -> tuple[ss.Spikes, Tensor]:
    draw = torch.Generator().manual_seed(0)
    dense = torch.rand(n, 40, 784, generator=draw) < 0.02
    return ss.Spikes.from_dense(dense), torch.arange(n)


def gradients(net: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def literal(net: ss.Network, spikes: ss.Spikes, label: Tensor, recipe: Any) -> Tensor:
    """The loss of the whole by one graph, whose only cuts are detached states."""
    potentials, hidden, state = [], [], None
    for start in range(0, spikes.shape[1], recipe.chunk):
        part = spikes[:, start : start + recipe.chunk]
        potential, layers, state = net(part, True, state=state, return_state=True)
        state = state.detach()
        potentials.append(potential)
        hidden.append([layer.to_dense() for layer in layers])
    logit = ss.losses.logits(torch.cat(potentials, 1), recipe.reduce)
    loss = functional.cross_entropy(logit, label)
    for parts in zip(*hidden, strict=True):
        whole = torch.cat(parts, 1)
        leaf = ss.Spikes.from_dense(whole)
        upper, weight = recipe.activity_upper, recipe.activity_upper_weight
        loss = loss + ss.losses.activity(leaf, upper=upper, upper_weight=weight)
    return loss


@pytest.mark.parametrize("reduce", ["max", "sum", "mean", "last"])
def test_the_loss_is_the_wholes_and_its_gradient_lacks_what_crosses_a_seam(reduce):
    recipe = dataclasses.replace(RICH, reduce=reduce)
    spikes, label = batch()
    net = recipe.network(784, 10)
    torch.nn.init.normal_(net[-1].connection.weight, 0.3, 0.5)  # pyright: ignore
    expected = literal(net, spikes, label, recipe)
    expected.backward()
    wanted = gradients(net)
    net.zero_grad()
    found = outcome(net, spikes, label, recipe)
    assert not gradients(net) or all(not bool(g.any()) for g in gradients(net).values())
    found.backward()
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert all(layer.n_spikes > 0 for layer in found.hidden)
    for name, grad in wanted.items():
        assert bool((grad != 0).any()), name
        assert relative_error(gradients(net)[name], grad) < 2e-5, name
    with torch.no_grad():
        logit, hidden = read(net, spikes, recipe)
        whole, layers, _ = net(spikes, True, return_state=True)
    torch.testing.assert_close(logit, found.logit, rtol=0, atol=0)
    torch.testing.assert_close(logit, ss.losses.logits(whole, reduce), rtol=1e-6, atol=1e-6)
    for mine, layer in zip(hidden, layers, strict=True):
        assert (mine.shape, mine.n_spikes) == (layer.shape, layer.n_spikes)
        assert mine.n_active == layer.n_active


def test_one_chunk_is_no_chunk(tmp_path):
    whole = train(QUICK, tmp_path / "whole", progress=Listener())
    one = train(dataclasses.replace(QUICK, chunk=40), tmp_path / "one", progress=Listener())
    assert one["test"]["loss"] == whole["test"]["loss"]
    first, second = (load_run(tmp_path / name)[0].state_dict() for name in ("whole", "one"))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_run_in_chunks_learns_and_ends_alike_where_it_was_stopped(tmp_path):
    whole = train(RICH, tmp_path / "whole", progress=Listener())

    def stop(epoch: int, at: int) -> None:
        if (epoch, at) == (2, 2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        train(RICH, tmp_path / "parts", progress=Listener(stop))
    parts = train(RICH, tmp_path / "parts", resume=True, progress=Listener())
    for key in ("accuracy", "loss", "layers"):
        assert parts["test"][key] == whole["test"][key]
    lines = checkpoint.read_lines(tmp_path / "whole" / "metrics.jsonl")
    assert lines[-1]["loss"] < lines[0]["loss"]
    net, recipe, _ = load_run(tmp_path / "whole")
    scored = evaluate(net, few("fashion-mnist-sample", "test"), recipe)
    at_once = evaluate(
        net, few("fashion-mnist-sample", "test"), dataclasses.replace(recipe, chunk=0)
    )
    assert scored["loss"] == pytest.approx(at_once["loss"], rel=1e-5)


def test_of_equal_maxima_the_first_is_taken():
    potential = torch.zeros(1, 6, 2)
    potential[0, 1, 0] = potential[0, 4, 0] = 3.0
    parts = [part.clone().requires_grad_() for part in potential.split(2, 1)]
    pool = Pool("max", 6)
    for part in parts:
        pool.add(part.detach())
    for i, part in enumerate(parts):
        pool.part(i, part).sum().backward()
    grad = torch.cat([part.grad for part in parts if part.grad is not None], 1)
    assert grad[0, :, 0].tolist() == [0, 1, 0, 0, 0, 0]
    assert pool.logit().tolist() == [[3.0, 0.0]]


def test_dropout_by_event_drops_alike_in_both_passes():
    recipe = dataclasses.replace(
        RICH,
        hidden=(),
        recurrent=False,
        learn=(),
        layers=("Linear(784, 20)", 'Dropout(0.3, per="event")', "Linear(20, 15)"),
    )
    spikes, label = batch()
    net = recipe.network(784, 10)
    torch.manual_seed(3)
    found = outcome(net, spikes, label, recipe)
    found.backward()
    torch.manual_seed(3)
    other = copy.deepcopy(net)
    other.zero_grad()
    literal(other, spikes, label, recipe).backward()
    for name, grad in gradients(other).items():
        assert relative_error(gradients(net)[name], grad) < 2e-5, name
    with pytest.raises(ValueError, match=r"^chunk: expected 0 with Dropout\(0.3\)"):
        dataclasses.replace(recipe, layers=("Linear(784, 20)", "Dropout(0.3)"))


def test_chunks_hand_on_the_state():
    spikes, _ = batch()
    net = RICH.network(784, 10)
    with torch.no_grad():
        parts = [potential for potential, _ in chunks(net, spikes, 7)]
        whole, _ = net(spikes, return_state=True)
    assert [part.shape[1] for part in parts] == [7, 7, 7, 7, 7, 5]
    assert torch.equal(torch.cat(parts, 1), whole)


def test_weights_are_turned_over_once_in_each_pass(monkeypatch):
    turned = []
    fan_outs = LinearForm._fan_outs
    monkeypatch.setattr(LinearForm, "_fan_outs", lambda *a: turned.append(a) or fan_outs(*a))
    recipe = dataclasses.replace(RICH, recurrent=False)
    net = recipe.network(784, 10)
    outcome(net, *batch(), recipe).backward()
    assert len(turned) == 2 * len(net)  # two passes of three chunks, as if each were one


def test_chunks_are_counted_in_whole_steps():
    with pytest.raises(ValueError, match="chunk: expected an integer >= 0, found -1"):
        dataclasses.replace(QUICK, chunk=-1)
