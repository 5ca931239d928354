"""Several processes that train together: the same training as one, and one clear error where one fails."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import signal
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sparsespike
from ranks import new_store, on_ranks
from sparsespike import data
from sparsespike.data import whole as writing
from sparsespike.neurons.silence import SilenceWarning
from sparsespike.training import architecture, checkpoint, epochs
from sparsespike.training.batch import gradient
from sparsespike.training.evaluate import load_run
from sparsespike.training.ranks import ALONE, joined
from sparsespike.training.recipe import Recipe
from sparsespike.training.run import Run
from sparsespike.training.train import train
from training import CONV, QUICK, Listener, few

# At the paper's learning rate: at a higher one the last bit of a sum soon decides about spikes.
RECIPE = dataclasses.replace(QUICK, epochs=4, lr=2e-4)
RECIPES = {
    "linear": RECIPE,
    # The last batch of an epoch is one sample: a rank has none.
    "one sample": dataclasses.replace(RECIPE, batch_size=287, epochs=3, ema=0.5, clip_norm=0.01),
    "convolution": dataclasses.replace(
        CONV,
        lr=2e-4,
        layers=("Conv2d(1, 3, 5, padding=2)", "MaxPool2d(2)", "Linear(588, 15)"),
        epochs=2,
    ),
    "numbers": dataclasses.replace(
        RECIPE,
        learn=("tau_mem",),
        delay=5,
        recurrent=True,
        init="neuron",
        chunk=15,
        accumulate=3,
    ),
    "sparse": dataclasses.replace(
        RECIPE, hidden=(), layers=("SparseLinear.random(784, 50, fan_in=100)",)
    ),
}


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(data, "load", few)


def trained(rank: int, recipe: Recipe, folder: Path, resume: bool = False) -> tuple[Any, str]:
    data.load = few
    listener = Listener()
    result = train(recipe, folder, progress=listener, resume=resume)
    return result, listener.text


def weights(folder: Path) -> dict[str, Any]:
    net, *_ = load_run(folder, "last")
    return {name: value.numpy() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("name", ["linear", "one sample", "convolution", "sparse"])
def test_ranks_train_as_one_process_does(tmp_path, name):
    recipe = RECIPES[name]
    alone, together = tmp_path / "alone", tmp_path / "together"
    expected = train(recipe, alone, progress=Listener())
    (found, text), (other, silent) = on_ranks(trained, recipe, together)
    assert found == other == checkpoint.read_json(together / "result.json")
    assert "epoch   1/" in text
    assert not silent
    before = recipe.network((1, 28, 28), 10).state_dict()
    assert_same(weights(together), weights(alone), before, 1e-6)
    lines = [checkpoint.read_lines(each / "metrics.jsonl") for each in (alone, together)]
    for line, same in zip(*lines, strict=True):
        assert same["train_accuracy"] == line["train_accuracy"]
        assert same["validation_accuracy"] == line["validation_accuracy"]
        assert same["loss"] == pytest.approx(line["loss"], rel=1e-5)
        assert same["n_late"] == line["n_late"] > 0
        assert same["layers"] == line["layers"]
    assert found["test"]["per_class"] == expected["test"]["per_class"]


def stepped(rank: int, recipe: Recipe, together: bool = True) -> dict[str, Any]:
    """The weights after ten steps in float64."""
    quiet = warnings.catch_warnings(action="ignore", category=SilenceWarning)
    with quiet, joined("cpu") if together else nullcontext(ALONE) as ranks:
        net = recipe.network((1, 28, 28), 10).double()
        optimiser = torch.optim.AdamW(architecture.groups(recipe, net), lr=recipe.lr)
        run = Run(Path("unused"), recipe, net, optimiser, ranks=ranks)
        run.model = ranks.wrapped(net)
        loader = data.EventLoader(
            few("", "train"), 65, True, steps=40, rank=ranks.rank, world_size=ranks.size
        )
        loader.watch.told = True
        for epoch in range(2):
            for number, (spikes, label) in enumerate(loader.batches(epoch)):
                optimiser.zero_grad()
                gradient(run, spikes.to(torch.float64), label, loader.n_samples(number))
                optimiser.step()
    # As arrays: tensors go to another process by files that end with this one.
    return {key: value.numpy() for key, value in net.state_dict().items()}


@pytest.mark.parametrize("name", RECIPES)
def test_ranks_and_parts_add_up_to_the_batch_in_float64(name):
    recipe = RECIPES[name]
    before = recipe.network((1, 28, 28), 10).double().state_dict()
    alone = stepped(0, dataclasses.replace(recipe, accumulate=1), together=False)
    assert_same(stepped(0, recipe, together=False), alone, before, 1e-12)
    for found in on_ranks(stepped, recipe):
        assert_same(found, alone, before, 1e-12)


def assert_same(found: Any, expected: Any, before: Any, tolerance: float) -> None:
    for key, value in expected.items():
        if "weight" in key:
            assert abs(value - before[key].numpy()).max() > 1e-4  # it has learned
        np.testing.assert_allclose(found[key], value, rtol=0, atol=tolerance)


def shared(rank: int) -> list[Any]:
    few_ones = few("", "train").subset(range(7))
    loader = data.EventLoader(few_ones, 3, shuffle=True, steps=40, rank=rank, world_size=2)
    return [(spikes.to_dense(), label) for spikes, label in loader]


def test_ranks_read_shares_of_the_same_batches():
    whole = data.EventLoader(few("", "train").subset(range(7)), 3, shuffle=True, steps=40)
    first, second = shared(0), shared(1)
    assert [len(label) for _, label in first] == [1, 1, 0]
    assert [len(label) for _, label in second] == [2, 2, 1]
    for (spikes, label), *shares in zip(whole, first, second, strict=True):
        assert torch.equal(torch.cat([x for x, _ in shares]), spikes.to_dense())
        assert torch.equal(torch.cat([y for _, y in shares]), label)
    assert [whole.n_samples(number) for number in range(3)] == [3, 3, 1]
    assert "rank 1 of 2" in repr(data.EventLoader(few("", "train"), 3, rank=1, world_size=2))
    with pytest.raises(ValueError, match=r"rank: expected an integer in \[0, 2\)|rank: .*2"):
        data.EventLoader(few("", "train"), 3, rank=2, world_size=2)


def unlike(rank: int, how: str, folder: Path) -> Any:
    """A training in which rank 1, or the disk of rank 0, is not as it should be."""
    recipe, timeout = RECIPE, 6.0 if how in ("hangs", "killed") else 60.0
    if how == "recipe" and rank == 1:
        recipe = dataclasses.replace(recipe, lr=1e-3)
    if how == "version" and rank == 1:
        sparsespike.__version__ = "0.0.9"
    data.load = few
    if how == "data" and rank == 1:
        data.load = damaged
    if how == "disk" and rank == 0:
        at = writing.os.replace

        def full(source: Any, target: Any) -> None:
            if str(target).endswith("metrics.jsonl"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
            at(source, target)

        writing.os.replace = full

    if how in ("hangs", "killed") and rank == 1:
        gradient = epochs.gradient

        def lost(run: Run, *given: Any) -> list[float]:
            if (run.epoch, run.batch) == (1, 2):
                os.kill(os.getpid(), signal.SIGSTOP if how == "hangs" else signal.SIGKILL)
            return gradient(run, *given)

        epochs.gradient = lost
    return train(recipe, folder, progress=Listener(), timeout=timeout)


def damaged(*_: Any) -> Any:
    raise OSError(errno.EIO, os.strerror(errno.EIO), "train.events")


@pytest.mark.parametrize(
    ("how", "rank", "expected"),
    [
        ("recipe", None, "rank 1: lr: expected 0.0002, as rank 0 has, found 0.001"),
        ("version", None, "rank 1: sparsespike: expected .* as rank 0 has, found '0.0.9'"),
        ("data", 1, "rank 1: .*Input/output error.*train.events"),
        ("disk", 0, "rank 0: cannot save .*metrics.jsonl: No space left on device"),
    ],
)
def test_what_fails_on_one_rank_is_told_by_all(tmp_path, how, rank, expected):
    started = time.monotonic()
    found = on_ranks(unlike, how, tmp_path / "run")
    assert time.monotonic() - started < 60
    for each, (kind, text) in enumerate(found):
        assert kind == ("OSError" if each == rank else "RankError")
        assert re.search(expected, f"rank {each}: {text}" if each == rank else text)


@pytest.mark.parametrize("how", ["hangs", "killed"])
def test_a_rank_that_is_missing_is_named_and_a_restart_ends_with_the_same_bits(tmp_path, how):
    store = new_store()
    (kind, text), lost = on_ranks(unlike, how, tmp_path / "run", store=store)
    assert (kind, text) == ("RankError", "rank 1 is missing: killed, or silent for 6 s")
    assert lost is None
    (found, _), _ = on_ranks(trained, RECIPE, tmp_path / "run", True, store=store)
    assert found["epochs"] == RECIPE.epochs
    on_ranks(trained, RECIPE, tmp_path / "whole")
    last, state = checkpoint.load(tmp_path / "run" / "last.safetensors")
    whole, state_of_whole = checkpoint.load(tmp_path / "whole" / "last.safetensors")
    assert state["best_accuracy"] == state_of_whole["best_accuracy"]
    assert len(last) == 12
    assert all(torch.equal(last[key], whole[key]) for key in whole)


def test_another_number_of_ranks_may_go_on_and_is_told(tmp_path):
    first = dataclasses.replace(RECIPE, epochs=1)
    on_ranks(trained, first, tmp_path)
    assert checkpoint.read_json(tmp_path / "run.json")["ranks"] == 2
    listener = Listener()
    result = train(dataclasses.replace(RECIPE, epochs=2), tmp_path, resume=True, progress=listener)
    told = "this run began with 2 ranks and goes on with 1: sums may differ in the last bit"
    assert told in listener.text
    assert result["epochs"] == 2
    train(dataclasses.replace(RECIPE, epochs=2), tmp_path / "alone", progress=Listener())
    before = RECIPE.network((1, 28, 28), 10).state_dict()
    assert_same(weights(tmp_path), weights(tmp_path / "alone"), before, 1e-6)
