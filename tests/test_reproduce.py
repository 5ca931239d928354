"""Reproductions: cells run once, are found again, and count what they say."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn import functional

import sparsespike as ss
from sparsespike.backends import device_for
from sparsespike.bench import LayerBench, inputs
from sparsespike.cli import main
from sparsespike.cli.reproduce import NAMES
from sparsespike.pages.page import Section
from sparsespike.reproduce import EXPERIMENTS, reproduce, runner, write_pages
from sparsespike.reproduce.break_even import ConvLayer
from sparsespike.reproduce.cell import Cell, Place, key
from sparsespike.reproduce.claim import spread
from sparsespike.reproduce.gradients import Alignment, GradientMaps
from sparsespike.reproduce.operations import counted
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import scope
from sparsespike.reproduce.synops import SynapticOperations
from sparsespike.reproduce.table1 import exponent
from sparsespike.reproduce.timed import EVERY, SyntheticLayer, TrainedLayer, TrainedStep
from sparsespike.reproduce.times import ratio_of
from sparsespike.reproduce.trained import Training
from sparsespike.training.evaluate import load_run

SMALL = Training("fashion-mnist", "fashion-mnist-sample", 0, 1, hidden=(20, 15), b_th=0.3)


@dataclass(frozen=True)
class Noted(Cell):
    """A cell that leaves a line in a file each time that it runs."""

    number: int
    first: tuple[int, ...] = ()
    fails: bool = False
    dies: bool = False

    @property
    def name(self) -> str:
        return f"note {self.number}"

    @property
    def needs(self) -> tuple[Noted, ...]:
        return tuple(Noted(number) for number in self.first)

    @property
    def seconds(self) -> float:
        return 1.0

    def compute(self, place: Place) -> dict[str, int]:
        with (place.out / "notes").open("a") as file:
            file.write(f"{self.number}\n")
        if self.fails:
            raise ValueError("no result")
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"square": self.number**2, "threads": torch.get_num_threads()}


def run(cells: list[Noted], out: Path) -> tuple[Records, dict[str, str], list[int]]:
    """Runs cells; records, failures, and the numbers in the order in which they ran."""
    place = Place(out)
    records = Records(place.records)
    console = Console(file=io.StringIO())
    failed = runner.run(cells, records, place, console, jobs=1)
    notes = out / "notes"
    return (
        records,
        failed,
        [int(line) for line in notes.read_text().split()] if notes.exists() else [],
    )


def test_cells_run_once_after_what_they_need_and_one_that_fails_stops_no_other(tmp_path):
    cells = [Noted(2, fails=True), Noted(3, first=(1,))]
    records, failed, ran = run(cells, tmp_path)
    assert ran == [2, 1, 3]
    assert failed == {"note 2": "ValueError: no result"}
    assert records.find(Noted(3, first=(1,))) == {"square": 9, "threads": 1}
    lines = [json.loads(line) for line in records.path.read_text().splitlines()]
    assert [line["cell"]["number"] for line in lines] == [1, 3]
    assert {"commit", "cpu", "cores", "versions", "time"} <= lines[0].keys()
    # Cut short, as by a kill in the middle of a line: told, and only that cell runs again.
    records.path.write_bytes(records.path.read_bytes()[:-20])
    assert (Records(records.path).damaged, len(Records(records.path))) == (1, 1)
    _, failed, ran = run([Noted(1), Noted(5, dies=True), Noted(3, first=(1,))], tmp_path)
    assert ran == [2, 1, 3, 5, 3]
    assert list(failed) == ["note 5"]  # killed, as for its memory
    assert Records(records.path).find(Noted(3, first=(1,))) == {"square": 9, "threads": 1}


def test_a_cell_is_looked_up_by_what_decides_its_result_and_by_nothing_else():
    cell = Training("shd", "shd", 0, 3, float("inf"), (7, 8), epoch_s=1.0)
    assert key(cell)["b_th"] == "inf"
    assert key(cell)["hidden"] == [7, 8]
    assert key(cell) == key(Training("shd", "shd", 0, 3, float("inf"), (7, 8), epoch_s=2.0))
    assert key(cell) != key(Training("shd", "shd", 1, 3, float("inf"), (7, 8)))
    nested = key(Alignment(cell, 64, "ATan(2)", (0.1, float("inf"))))
    assert nested["training"] == {k: v for k, v in key(cell).items() if k != "kind"}
    assert nested["b_th"] == [0.1, "inf"]
    json.dumps(nested, allow_nan=False)


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "full"])
def test_every_experiment_names_each_of_its_cells_differently(quick):
    covered = scope(quick, None)
    cells = {cell for each in EXPERIMENTS.values() for cell in each.cells(covered)}
    assert len(cells) > 20
    keys = {json.dumps(key(cell), sort_keys=True) for cell in cells}
    assert len({cell.name for cell in cells}) == len(keys) == len(cells)
    assert all(cell.seconds > 0 for cell in cells)


def test_the_command_line_knows_every_experiment():
    assert list(NAMES) == list(EXPERIMENTS)
    with pytest.raises(ValueError, match=r"experiment: expected table1, .* found 'fig9'"):
        reproduce(["fig9"], Place(Path("nowhere")), True, Console(file=io.StringIO()), 1)


def test_the_command_refuses_what_it_does_not_know_and_leaves_nothing(capsys, tmp_path):
    out = str(tmp_path / "out")
    assert main(["reproduce", "fig6", "--out", out]) == 1
    assert "error: experiment: expected table1, table2, " in capsys.readouterr().err
    assert main(["reproduce", "fig5", "--jobs", "0", "--out", out]) == 2
    assert "--jobs: expected an integer >= 1, found 0" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(["reproduce", "fig4", "--device", "cuda", "--out", out]) == 2
        said = capsys.readouterr().err
        assert (
            said == 'sparsespike: error: --device: expected a CUDA device for "cuda", found none\n'
        )
    assert not (tmp_path / "out").exists()


def test_without_results_the_page_says_so(tmp_path):
    place = Place(tmp_path)
    write_pages(place, scope(True, None), Records(place.records), {"a cell": "broke"})
    text = (tmp_path / "docs" / "reproduction.md").read_text()
    assert text.count("Not measured yet.") == len(EXPERIMENTS)
    assert "0 of " in text
    assert "Failed: a cell: broke" in text
    assert "This is the quick reproduction" in text


def test_the_page_in_the_docs_is_drawn_from_the_results_in_the_repository(tmp_path):
    root = Path(__file__).parent.parent
    results = root / "results" / "reproduction.jsonl"
    if not results.exists():
        pytest.skip("no results are recorded here")
    covered = scope(False, None)
    sections = [each.section(covered, Records(results)) for each in EXPERIMENTS.values()]
    assert all(isinstance(section, Section) for section in sections)
    assert any(len(section.parts) > 1 for section in sections)


def test_an_exponent_is_the_slope_of_a_power_law_with_its_error():
    x = np.array([1.0, 2, 4, 8, 16])
    exact = exponent(list(x), list(3 * x**1.5))
    assert exact.value == pytest.approx(1.5)
    assert exact.error == pytest.approx(0, abs=1e-12)
    # As scipy.stats.linregress gives it for these points.
    rough = exponent(list(x), [1.0, 2.2, 3.6, 8.4, 15.0])
    assert rough.value == pytest.approx(0.9747, abs=1e-3)
    assert 0.01 < rough.error < 0.1
    assert str(exponent([1.0, 2.0], [1.0, 2.0])) == "1.00"


def test_terms_counted_are_those_of_the_dense_sums_times_the_active_share():
    bench = LayerBench(
        neurons=60,
        batch_size=6,
        steps=40,
        rate=0.05,
        active=0.05,
        activity=0.04,
        methods=("sparsespike",),
    )
    case = bench.case()
    found, fired = counted(case), case.fired()
    n_active, below = fired.n_active, case.spikes
    assert n_active > 0
    assert found["dense"] == 6 * 40 * 60 * 60
    assert found["weight"] == n_active * 60 == pytest.approx(6 * 40 * 60 * 60 * fired.activity())
    assert found["input"] == below.n_active * 60
    assert found["taken_weight"] in (found["weight"], below.n_spikes * 60)
    assert found["taken_input"] in (found["weight"], found["input"])
    assert str(found["form"]).startswith("∇W")


def test_the_spread_of_seeds_is_the_standard_error():
    found = spread([0.8, 0.82, 0.84])
    assert found is not None
    assert found.mean == pytest.approx(0.82)
    assert found.error == pytest.approx(0.02 / 3**0.5)
    assert found.percent() == "82.0 ± 1.2 % (3 seeds)"
    assert spread([0.5]).percent() == "50.0 % (1 seed)"  # pyright: ignore[reportOptionalMemberAccess]
    assert spread([]) is None


def test_on_a_gpu_every_cell_asks_for_it_and_has_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    place = Place(tmp_path, device="cuda")

    class Asked(Exception):
        pass

    def train(recipe, folder, root, resume, progress):
        assert recipe.backend == "gpu"
        assert device_for(recipe.backend) == torch.device("cuda", 0)
        assert folder.parent == tmp_path / "runs" / "cuda"
        raise Asked

    monkeypatch.setattr("sparsespike.reproduce.trained.train", train)
    with pytest.raises(Asked):
        SMALL.compute(place)
    benches = []

    def measured(bench):
        benches.append(bench)
        return {}

    monkeypatch.setattr("sparsespike.reproduce.timed.measured", measured)
    monkeypatch.setattr("sparsespike.reproduce.break_even.measured", measured)
    monkeypatch.setattr(Training, "compute", lambda self, place: {})
    SyntheticLayer(30, 4, 20, 0.05, EVERY, 1).compute(place)
    ConvLayer(0.01, EVERY, 1).compute(place)
    TrainedLayer(SMALL, 4, 0.0, EVERY, 1).compute(place)
    TrainedStep(SMALL, 4, EVERY, 1).compute(place)
    assert [bench.device for bench in benches] == ["cuda"] * 4
    assert all(bench.methods == EVERY for bench in benches)
    case = benches[0].case()
    assert (case.device, case.backend) == ("cuda", "gpu")
    # No device but the case's own: what is left behind on the CPU would meet what is not.
    for method in ("paper-loop", "clean-dense"):
        trial = dataclasses.replace(case, device="meta").trial(method)
        fired = trial.phases["forward"](None)
        there = [*trial.given, fired, *trial.phases["backward"](fired)]
        assert {tensor.device.type for tensor in there} == {"meta"}


def test_the_page_of_a_gpu_leaves_that_of_the_cpu_alone_and_names_the_gpu(tmp_path):
    covered = scope(True, None)
    cell = EXPERIMENTS["fig4"].cells(covered)[0]
    row = {"reason": "", "peak_mib": 2.0, "memory_saved_percent": 0.0}
    ms = {
        phase: {"median": 2.0, "p20": 1.0, "p80": 4.0} for phase in ("forward", "backward", "total")
    }
    slow = {phase: {name: 10 * of for name, of in taken.items()} for phase, taken in ms.items()}
    found = {
        "case": {"steps": 100, "neurons": 200, "batch_size": 64},
        "rows": [
            {**row, "method": "sparsespike", "ms": ms},
            {**row, "method": "paper-loop", "ms": {}, "reason": "out of memory"},
            {**row, "method": "clean-dense", "ms": slow, "memory_saved_percent": 96.0},
        ],
    }
    assert ratio_of(found, "clean-dense", "backward") == (10.0, 10 / 4, 40.0)
    assert math.isnan(ratio_of(found, "paper-loop", "backward").value)
    about = {
        "device": "cuda",
        "gpu": "NVIDIA H200",
        "cpu": "a CPU",
        "cores": 16,
        "commit": "f" * 40,
    }
    about |= {"time": "2026-01-01", "seconds": 3600.0, "versions": {"torch": "2.13"}}
    place = Place(tmp_path, device="cuda")
    place.records.parent.mkdir()
    place.records.write_text(json.dumps({**about, "cell": key(cell), "found": found}) + "\n")
    write_pages(place, covered, Records(place.records, "cuda"), {})
    docs = tmp_path / "docs"
    assert {path.name for path in docs.iterdir()} == {
        "reproduction-cuda", "reproduction-cuda.html", "reproduction-cuda.md",
    }  # fmt: skip
    text = (docs / "reproduction-cuda.md").read_text()
    assert "float32, NVIDIA H200" in text
    assert "reproduction-cuda/fig4a.svg" in text
    assert ">quick</text>" in (docs / "reproduction-cuda.html").read_text()
    assert "sparsespike reproduce fig4 --device cuda --quick" in text
    assert "out of memory" in text
    assert "a CPU, 16 cores, NVIDIA H200" in text
    assert len(Records(place.records, "cpu")) == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Place:
    place = Place(tmp_path_factory.mktemp("reproduction"))
    found = SMALL.compute(place)
    assert len(found["epochs"]) == 1
    assert found["result"]["test"]["n_samples"] == 1000
    json.dumps(found, allow_nan=False)
    assert SMALL.compute(place) == found  # finished: read, not trained again
    return place


def oracle(place: Place, b_th: float, n: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Gradients of the weights and of the first layer's spikes, by autograd over dense tensors."""
    net, recipe, _ = load_run(SMALL.folder(place))
    dataset = inputs.load_or_sample(recipe, None)
    spikes, label = inputs.batch(dataset, recipe, n, recipe.seed)
    with torch.no_grad():
        when = net(spikes).argmax(
            1, keepdim=True
        )  # of two maxima over time float32 may pick the other
    net = net.double()
    for layer in list(net)[:-1]:
        layer.neuron = ss.LIF(10e-3, 1e-3, b_th=b_th, surrogate=ss.FastSigmoid(100))
    with ss.use_backend("dense"):
        potential, hidden = net(spikes.to(torch.float64), return_spikes=True)
        first = hidden[0].value
        loss = functional.cross_entropy(potential.gather(1, when)[:, 0], label)
        *weights, spike = torch.autograd.grad(loss, [*net.parameters(), first])
    shape = hidden[0].shape
    dense = torch.zeros(shape[0] * shape[1] * shape[2], dtype=torch.float64)
    dense[hidden[0].storage.active_entry(shape)] = spike
    return weights, dense.view(shape)


def test_gradient_maps_are_those_of_dense_autograd(trained):
    cell = GradientMaps(SMALL, 32, inputs=784, units=20, steps=100)
    found = cell.compute(trained)
    json.dumps(found, allow_nan=False)
    cosine = []
    for name, b_th in (("cut", 0.3), ("uncut", float("inf"))):
        weights, spike = oracle(trained, b_th, 32)
        cosine.append(weights[0].flatten())
        for part, expected in (("weight", weights[0].t()), ("spike", spike[0])):
            kept = found[name][part]
            values = torch.tensor(kept["values"], dtype=torch.float64) * kept["scale"]
            assert expected.abs().max() > 0
            # In whole numbers of a thousandth of the largest, and float32 beside the oracle's float64.
            assert (values - expected).abs().max() < 2 * kept["scale"]
            assert (values[expected == 0] == 0).all()
            # In float32 what cancels to a millionth of the largest may vanish.
            assert (values[expected.abs() > 1e-4 * expected.abs().max()] != 0).all()
    expected = functional.cosine_similarity(cosine[0], cosine[1], dim=0)
    assert found["cosine"] == pytest.approx(float(expected), abs=1e-4)
    assert 0.9 < found["cut"]["spike_zeros"] < 1


def test_the_cut_gradient_turns_into_the_uncut_one_as_the_band_widens(trained):
    cell = Alignment(SMALL, 32, "FastSigmoid(100)", (0.05, 0.3, 100.0))
    points = cell.compute(trained)["points"]
    narrow, _, wide = (point["cosine"] for point in points)
    assert wide == pytest.approx([1.0] * 3, abs=1e-5)
    assert narrow[0] < 0.9999
    assert narrow[2] == pytest.approx(1.0, abs=1e-6)  # the readout sees the same spikes
    assert points[0]["activity"][0] < points[1]["activity"][0] < points[2]["activity"][0]
    weights = [oracle(trained, b_th, 32)[0] for b_th in (0.05, float("inf"))]
    expected = [
        functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)
        for a, b in zip(*weights, strict=True)
    ]
    assert narrow == pytest.approx([float(value) for value in expected], abs=1e-4)


def test_synaptic_operations_are_spikes_times_the_weights_that_they_meet(trained):
    found = SynapticOperations(SMALL, 16).compute(trained)
    net, recipe, _ = load_run(SMALL.folder(trained))
    spikes, _ = inputs.batch(ss.data.load("fashion-mnist-sample"), recipe, 16, recipe.seed)
    with torch.no_grad():
        _, hidden = net(spikes, return_spikes=True)
    n_spikes = [each.n_spikes for each in (spikes, *hidden)]
    assert all(n_spikes)
    assert found["effective"] * 16 == sum(
        n * out for n, out in zip(n_spikes, (20, 15, 10), strict=True)
    )
    assert found["dense"] == recipe.steps * (784 * 20 + 20 * 15 + 15 * 10)
