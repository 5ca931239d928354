"""Benchmarks on a GPU, as far as a machine without one goes: interpreted kernels, tuning on made-up times."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from sparsespike.bench import GpuBench, LayerBench, StepBench, fit, gpu, measure
from sparsespike.bench.trial import OURS
from sparsespike.cli import main
from sparsespike.spikes.words import Words

pytest.importorskip("triton")

from sparsespike.backends.gpu import plan
from sparsespike.bench import tune
from sparsespike.bench.tune import Timing

TINY = LayerBench(neurons=12, steps=30, batch_size=4, rate=0.05, repeats=2)
CARD = gpu.Card(bytes_per_s=1e9, products_per_s=1e9)
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
interpreted = pytest.mark.skipif(torch.cuda.is_available(), reason="kernels are compiled for a GPU")


@pytest.fixture
def tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The table of this machine in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(plan, "tuned_path", lambda: tmp_path / "sparsespike" / "tuned.json")
    plan.break_even.cache_clear()
    yield plan.tuned_path()
    plan.break_even.cache_clear()


# ---- the device --------------------------------------------------------------------------------


@without_gpu
@pytest.mark.parametrize("kind", [LayerBench, StepBench])
def test_cuda_is_refused_where_there_is_none(kind: type) -> None:
    with pytest.raises(ValueError, match='device: expected a CUDA device for "cuda", found none'):
        kind(device="cuda")


@without_gpu
@pytest.mark.parametrize("words", [["layer", "--device", "cuda"], ["gpu"], ["gpu", "--tune"]])
def test_command_line_refuses_cuda_where_there_is_none(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == 1
    assert "expected a CUDA device" in capsys.readouterr().err


@interpreted
@pytest.mark.parametrize("b_th", [0.2, math.inf])
def test_layer_gate_passes_on_words(b_th: float) -> None:
    case = dataclasses.replace(TINY, b_th=b_th).case()
    assert dataclasses.replace(case, backend="gpu").check(OURS) is None


@interpreted
@pytest.mark.parametrize("pool", [None, "max", "avg"])
def test_gate_of_a_convolution_passes_on_words(pool: Literal["max", "avg"] | None) -> None:
    sizes: dict[str, Any] = {"shape": (2, 4, 4), "channels": 3, "kernel": 3, "padding": 1}
    bench = LayerBench(
        connection="conv2d", pool=pool, steps=20, batch_size=2, rate=0.2, active=0.2, **sizes
    )
    case = dataclasses.replace(bench.case(), backend="gpu")
    assert case.check(OURS) is None
    fired = case.trial(OURS).phases["forward"](None)
    assert isinstance(fired.storage, Words)


@interpreted
def test_gate_of_a_sparse_layer_passes_on_words() -> None:
    case = dataclasses.replace(TINY, connection="sparse", fan_in=5).case()
    assert dataclasses.replace(case, backend="gpu").check(OURS) is None


@interpreted
def test_layer_gate_compares_gradients_in_one_order() -> None:
    case = dataclasses.replace(TINY.case(), backend="gpu")
    spikes, words = case.spikes, case.spikes.to_words()
    row_in_words = words.storage.active_entry(words.shape)
    assert not torch.equal(spikes.storage.active_entry(spikes.shape), row_in_words)
    lists = dataclasses.replace(case, backend="cpu")
    found = case._outcome(case.trial(OURS), 0)
    expected = lists._outcome(lists.trial(OURS), 0)
    assert expected[1].count_nonzero()
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-6)


@interpreted
def test_trial_on_words_is_timed_and_weighed() -> None:
    trial = dataclasses.replace(TINY.case(), backend="gpu").trial(OURS)
    assert set(measure.turn(trial.phases)) == {"forward", "backward"}
    assert measure.saved_bytes(lambda: trial.phases["forward"](None), trial.given) > 0


@interpreted
def test_step_gate_passes_on_words(tmp_path: Path) -> None:
    file = tmp_path / "sample.toml"
    file.write_text('dataset = "fashion-mnist-sample"\nhidden = [20, 20]\nsteps = 40\n')
    case = StepBench(recipe=str(file), batch_size=2).case()
    assert dataclasses.replace(case, backend="gpu").check(OURS) is None


# ---- the whole set -----------------------------------------------------------------------------


def test_the_set_has_every_size_of_the_paper_and_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cases = list(GpuBench().cases())
    every = [case for case in cases if isinstance(case, LayerBench)]
    layers = [case for case in every if case.connection is None]
    assert {(case.steps, case.neurons, case.b_th) for case in layers} == set(
        itertools.product((100, 300, 500), (200, 1000), (0.2, 0.05))
    )
    assert len(layers) == 12
    others = [case for case in every if case not in layers]
    assert [(case.connection, case.preset, case.pool) for case in others] == [
        ("conv2d", "14x14-k3", None),
        ("conv2d", "14x14-k3", "max"),
        ("conv2d", "14x14-k3", "avg"),
        ("sparse", None, None),
    ]
    assert cases[2:6] == others
    assert len(cases) == 17
    assert len({gpu._name(case) for case in cases}) == 17
    assert {case.device for case in cases} == {"cuda"}


def test_floor_is_traffic_or_products_whichever_is_more() -> None:
    case = {"batch_size": 2, "steps": 50, "n_in": 80, "neurons": 100}
    case |= {"input_rate": 0.0, "input_activity": 0.0, "activity": 0.0}
    words = 100 * (2 * 80 + 2 * 100) / 8
    floor = gpu.floor_ms(case, CARD)
    assert floor["forward"] == pytest.approx((words + 4 * 8000) / 1e6, rel=1e-2)
    floor = gpu.floor_ms({**case, "input_rate": 0.5}, CARD)
    assert floor["forward"] == pytest.approx(100 * 40 * 100 / 1e6)


# ---- tuning ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        ([0.5, 0.5, 0.5], 0.01),
        ([1.2, 1.5, 2.0], 0.0),
        ([0.5, 2.0, 4.0], 0.001 * math.sqrt(2)),
        ([0.5, 0.5, 1.0], 0.01),
        ([0.5, 2.0, 0.5], 0.001 * math.sqrt(2)),  # a single win further on is noise
    ],
)
def test_break_even_is_where_the_sparse_form_stops_winning(
    ratio: list[float], expected: float
) -> None:
    assert tune.crossing([0.001, 0.002, 0.01], ratio) == pytest.approx(expected, rel=1e-2)


def test_break_even_is_found_per_sum_and_size() -> None:
    timings = [
        Timing(200, 0.02, 1.0, 4.0, 0.5),
        Timing(200, 0.005, 1.0, 0.25, 0.5),
        Timing(1000, 0.005, 1.0, 2.0, 2.0),
    ]
    limits = tune.break_even(timings)
    assert limits["gradient"] == {"200": pytest.approx(0.01, rel=1e-2), "1000": 0.0}
    assert limits["input"] == {"200": 0.02, "1000": 0.0}


def test_tuned_table_is_what_the_plan_reads(tuned: Path) -> None:
    shipped = plan.break_even("default")
    first = {"gradient": {"200": 0.02}, "input": {"200": 0.01}}
    second = {"gradient": {"200": 0.5}, "input": {"200": 0.25}}
    assert tune.write({"one GPU": first}) == tuned
    tune.write({"another": second})
    assert plan.break_even("one GPU") == first
    assert plan.break_even("another") == second
    assert plan.break_even("default") == shipped
    tune.write({"one GPU": second})
    assert plan.break_even("one GPU") == second
    assert [path.name for path in tuned.parent.iterdir()] == [tuned.name]


def test_broken_tuned_table_is_named(tuned: Path) -> None:
    tuned.parent.mkdir()
    tuned.write_text("{")
    with pytest.raises(ValueError, match=r"tuned\.json: expected a table"):
        tune.write({"one GPU": {}})


@interpreted
def test_forms_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "TURN_S", 0.0)
    timing = tune.time_forms(units=8, share=0.1, batch_size=2, steps=40, device="cpu")
    assert timing[:2] == (8, 0.1)
    assert all(ms > 0 for ms in timing[2:])


# ---- what fits ---------------------------------------------------------------------------------


@interpreted
@pytest.mark.parametrize("method", fit.METHODS)
def test_search_for_what_fits_has_something_to_compute(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "SHARE", 0.02)
    monkeypatch.setattr(fit, "BATCH", 2)
    fit.trial(method, steps=40, neurons=8, device="cpu")


@without_gpu
def test_search_that_fails_says_why() -> None:
    line = fit._search("clean-dense", "steps", 60.0)
    assert line["largest"] == 0
    assert "expected a CUDA device" in line["ended_by"]
    json.dumps(line)
