"""The backend "auto" chooses by the costs, and tells what it chose; costs are measured and kept."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict

import pytest
import torch

import sparsespike as ss
from cases import BASE, EXACT_LIF, Case
from checks import assert_close
from compare import run_layer
from conv_cases import ConvCase
from sparsespike import backends
from sparsespike.backends import auto, costs
from sparsespike.backends.cpu import unpacked
from sparsespike.compiling import folder
from sparsespike.descriptions import Cell


@pytest.fixture(autouse=True)
def no_file(tmp_path, monkeypatch):
    """Costs are the default's, whatever was measured on this machine."""
    monkeypatch.setattr(costs, "path", lambda: tmp_path / "cpu_costs.json")
    costs.in_force.cache_clear()
    folder.say_once.cache_clear()
    yield tmp_path / "cpu_costs.json"
    monkeypatch.undo()
    costs.in_force.cache_clear()


# ---- the choice ----------------------------------------------------------------------------------


def stub(sparse: float, dense: float) -> costs.Costs:
    """Costs of every layer alike."""
    numbers = dict.fromkeys(("scatter", "gradient", "gather"), sparse)
    numbers |= dict.fromkeys(("forward", "weight", "input"), dense)
    linear, conv = (costs.Measured((2,) * n, **numbers) for n in (2, 4))
    return costs.Costs((linear,), (conv,), 1e-9, (2.0, 2.0))


@pytest.mark.parametrize("conv", [False, True])
def test_the_choice_flips_with_activity(conv, monkeypatch):
    monkeypatch.setattr(costs, "in_force", lambda: costs.InForce(stub(1.0, 0.02), "stub"))
    chosen = {}
    for rate in (0.01, 0.9):
        with auto.noted() as seen:
            if conv:
                ConvCase(sizes=(4, 9, 9), rate=rate, active=rate, batch=16).run("auto")
            else:
                run_layer(Case(rate=rate, active=rate, batch=64, sizes=(64, 64)), "auto")
        chosen[rate] = [(choice.direction, choice.form) for choice in seen]
    assert chosen[0.01] == [("forward", "sparse"), ("backward", "sparse")]
    assert chosen[0.9] == [("forward", "dense"), ("backward", "dense")]


def test_what_has_no_dense_form_is_computed_event_driven(monkeypatch):
    index = torch.stack((torch.arange(12) % 7, torch.arange(12)))
    layer = ss.Layer(ss.SparseLinear(12, 7, index, dtype=torch.float64), EXACT_LIF, backend="auto")
    with auto.use_forms("dense", "dense"), auto.noted() as seen:
        layer(BASE.spikes()[0].detach())
        monkeypatch.setattr(unpacked, "ROOM", 1)
        out, _ = run_layer(BASE, "auto")
    assert out.n_spikes
    assert [choice.form for choice in seen] == ["sparse"] * 3
    reasons = [choice.reason for choice in seen]
    assert reasons[0] == "no dense form: SparseLinear has none"
    assert all("a sample takes" in reason for reason in reasons[1:])
    terms = layer.connection(BASE.spikes()[0].detach()).terms
    with pytest.raises(ValueError, match="current: expected a layer with a dense form, found one"):
        unpacked.spiking_forward(terms, Cell(EXACT_LIF.describe()), "full", True)


def test_the_choice_is_logged_with_counts_and_estimates(caplog):
    with caplog.at_level(logging.DEBUG, "sparsespike.backends.auto"):
        run_layer(BASE, "auto")
    forward, backward = (record.getMessage() for record in caplog.records)
    n_spikes = BASE.spikes()[0].n_spikes
    assert f"Linear 12 -> 7 ({n_spikes} spikes, " in forward
    assert "forward sparse, estimated" in forward
    assert "ms sparse, " in forward
    assert "ms dense" in forward
    assert "backward sparse, estimated" in backward


def test_auto_is_the_gpu_backend_for_words():
    words = BASE.spikes()[0].to_words()
    with ss.use_backend("auto"):
        assert backends.backend_for(words) == "gpu"
        assert backends.backend_for(BASE.spikes()[0]) == "auto"
    assert backends.device_for("auto") == torch.device("cpu")
    assert backends.precision_for("auto", torch.device("cpu")) == "full"


def test_neurons_without_kernels_and_unknown_forms_are_refused():
    from sparsespike.descriptions import Readout

    terms = ss.Linear(12, 7, dtype=torch.float64)(BASE.spikes()[0].detach()).terms
    with pytest.raises(ValueError, match=r'"auto" has no kernel for Readout.*"dense" computes any'):
        auto.spiking_forward(terms, Cell(Readout(0.5)), "full", False)
    with pytest.raises(ValueError, match='backward: expected "sparse" or "dense", found \'both\''):
        auto.use_forms("dense", "both").__enter__()  # pyright: ignore[reportArgumentType]


def test_benchmarks_and_recipes_take_auto_and_tell_what_it_chose(tmp_path, capsys):
    from sparsespike.bench import LayerBench, StepBench
    from sparsespike.cli import main
    from sparsespike.training.recipe import Recipe

    assert Recipe(backend="auto").backend == "auto"
    about = LayerBench(neurons=20, steps=10, batch_size=4, rate=0.1, backend="auto").case().about()
    assert [line.split(": ")[1].split()[0] for line in about["chosen"]] == ["forward", "backward"]
    words = (
        "bench layer --neurons 40 --steps 30 --batch-size 8 --rate 0.05 --repeats 1 --backend auto"
    )
    methods = ["--methods", "sparsespike", "--out", str(tmp_path)]
    assert main([*words.split(), *methods]) == 0
    assert "backward sparse, estimated" in capsys.readouterr().out
    chosen = StepBench("fashion-mnist", batch_size=4, neurons=20, backend="auto").case().about()
    assert len(chosen["chosen"]) == 4  # the readout is not chosen for
    with pytest.raises(ValueError, match="backend: expected"):
        LayerBench(device="cuda", backend="auto")


def test_info_says_which_costs_are_in_force(no_file, capsys):
    from sparsespike.cli import main

    for source in ("default, ", f"{no_file}, today"):
        assert main(["info", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["costs"].startswith(source)
        costs.write(stub(1.0, 1.0), "today")


# ---- the costs -----------------------------------------------------------------------------------


SHIPPED = "x86_64 emeraldrapids", "x86_64 znver4"


def test_costs_that_ship_are_of_the_processor_or_of_the_default():
    assert [costs.shipped(cpu).source for cpu in SHIPPED] == [f"default, {cpu}" for cpu in SHIPPED]
    assert costs.shipped("riscv64 abacus") == costs.shipped(costs.DEFAULT)
    assert costs.in_force() == costs.shipped(costs.origin()["cpu"])
    assert costs.shipped(SHIPPED[0]).costs != costs.shipped(SHIPPED[1]).costs


@pytest.mark.parametrize("cpu", SHIPPED)
def test_default_costs_prefer_events_where_little_happens_and_products_where_much_does(cpu):
    known = costs.shipped(cpu).costs
    for sizes in ((200, 200), (1000, 1000)):
        connection = ss.Linear(*sizes)
        for share, sparse_wins in ((0.001, True), (0.01, True), (1.0, False)):
            spikes = ss.Spikes.from_dense((torch.rand(2, 50, sizes[0]) < share).float())
            estimate = costs.forward(known, connection(spikes).terms)
            assert (estimate.sparse < estimate.dense) == sparse_wins, (sizes, share, estimate)


@pytest.mark.parametrize("cpu", SHIPPED)
def test_costs_of_a_measured_layer_are_its_own_and_others_lie_between(cpu):
    known = costs.shipped(cpu).costs
    for layers in (known.linear, known.conv):
        for layer in layers:
            found = costs.interpolated(layers, layer.sizes)
            assert_close(torch.tensor(found.forward), torch.tensor(layer.forward), "forward", 1e-5)
        between = costs.interpolated(layers, tuple(2 * size for size in layers[0].sizes)).scatter
        every = [layer.scatter for layer in layers]
        assert min(every) < between < max(every)


def test_measured_costs_are_written_and_read_again(no_file):
    assert costs.in_force().source.startswith("default, ")
    mine = stub(1.5, 0.25)
    assert costs.write(mine, "today") == no_file
    assert costs.in_force() == costs.InForce(mine, f"{no_file}, today")
    assert list(no_file.parent.iterdir()) == [no_file]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found | {"cpu": "abacus"}, "expected costs of cpu .*, found abacus"),
        (lambda found: found | {"torch": "0.1"}, "expected costs of torch .*, found 0.1"),
        (lambda found: {"when": "today"}, "KeyError"),
        (lambda found: [], "TypeError"),
        (lambda found: found | {"costs": found["costs"] | {"call": -1}}, "call: expected a number"),
        (lambda found: found | {"costs": found["costs"] | {"conv": []}}, "conv: expected layers"),
        (None, "JSONDecodeError"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_not_used(no_file, change, message, caplog):
    found = costs.origin() | {"when": "today", "costs": asdict(stub(1.0, 1.0))}
    no_file.write_text("{" if change is None else json.dumps(change(found)))
    with caplog.at_level(logging.WARNING, "sparsespike"):
        assert costs.in_force().source.startswith("default, ")
    (record,) = caplog.records
    assert str(no_file) in record.getMessage()
    assert re.search(message, record.getMessage())


def test_the_tuner_measures_every_number(monkeypatch, no_file):
    from rich.console import Console

    from sparsespike.bench import tune_cpu

    for name, value in {
        "LINEAR": {(5, 6): 2},
        "CONV": {(1, 6, 3, 3): 2},
        "STEPS": 4,
        "RUNS": 1,
        "SECONDS": 0.0,
        "DOUBLE": (((5, 6), 1), ((1, 6, 3, 3), 1)),
    }.items():
        monkeypatch.setattr(tune_cpu, name, value)
    console = Console(record=True, width=200)
    found = tune_cpu.run(console)
    assert costs.in_force().costs == found
    assert [layer.sizes for layer in found.linear + found.conv] == [(5, 6), (1, 6, 3, 3)]
    assert f"written to {no_file}" in console.export_text()
