"""What the benchmarks tell beside time: blocks that events reach, and from which share on dense wins."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import sparsespike as ss
from sparsespike.bench import LayerBench, curve, report
from sparsespike.bench.blocks import reached
from sparsespike.bench.runner import Row
from sparsespike.cli import main
from sparsespike.descriptions import Conv, Linear

CONVS = {
    "same": Conv((3, 6, 5), 64, (3, 3), padding=((1, 1), (1, 1))),
    "strided": Conv((4, 7, 6), 96, (3, 3), (2, 1), ((1, 1), (0, 0)), (1, 2)),
    "grouped": Conv((4, 5, 5), 96, (2, 2), groups=2),
    "part of a block": Conv((2, 5, 5), 20, (2, 2)),
}
TINY = LayerBench(connection="conv2d", shape=(2, 6, 6), channels=5, steps=30, active=0.05)


@pytest.mark.parametrize("conv", CONVS.values(), ids=CONVS)
def test_blocks_are_counted_by_the_taps_that_reach_the_output(conv: Conv) -> None:
    draw = torch.Generator().manual_seed(1)
    fired, active = torch.rand(2, 2, 20, *conv.in_shape, generator=draw) < 0.3
    spikes = ss.Spikes.from_dense(fired.float(), active=active)
    ones = torch.eye(conv.n_in)[None]
    synapses = conv.current(ones, (torch.ones(conv.weight_shape),)).sum(2)[0]
    per_group = conv.n_channel // conv.groups
    per_unit = synapses / per_group * -(-per_group // 16)
    by_spikes = int(per_unit[spikes.unit.long()].sum())
    by_active = int(per_unit[spikes.active_unit.long()].sum())
    assert by_spikes > 0
    assert reached(spikes, conv) == {"forward": by_spikes, "backward": by_spikes + by_active}


def test_blocks_of_a_linear_are_rows_of_its_weights() -> None:
    spikes = ss.Spikes.from_dense(torch.ones(1, 2, 3))
    assert reached(spikes, Linear(3, 33)) == {"forward": 6 * 3, "backward": 6 * 3}


def test_time_per_block_is_told() -> None:
    ms = {name: {"median": 2.0, "p20": 2.0, "p80": 2.0} for name in ("forward", "backward")}
    case = {"blocks": {"forward": 1_000_000, "backward": 4_000_000}}
    torch.set_num_threads(1)
    (line,) = report.per_block(case, [Row("sparsespike", ms=ms)])
    assert "forward 2 ns a block (1,000,000), backward 0.5 ns a block (4,000,000)" in line
    assert report.per_block({}, [Row("sparsespike", ms=ms)]) == []


# ---- the curve -------------------------------------------------------------------------------------


def made_up(share: float, ours: float) -> curve.Point:
    """A point at which ours takes so many milliseconds, and the dense methods ten and two."""
    rows = [
        Row(name, ms={phase: {"median": ms, "p20": ms, "p80": ms} for phase in curve.PHASES})
        for name, ms in (("sparsespike", ours), ("clean-dense", 10.0), ("fused-dense", 2.0))
    ]
    return curve.Point(share, {"activity": share}, rows)


def test_break_even_is_interpolated_and_told() -> None:
    points = [made_up(0.001, 0.5), made_up(0.01, 8.0)]
    found = curve.break_even(points)
    assert found["clean-dense"]["total"] == 0.01
    assert found["fused-dense"]["forward"] == pytest.approx(0.001 * 10**0.5, rel=0.01)
    assert curve.told(points)[0].startswith("clean-dense: sparsespike is faster below 1% or more")
    assert "0.32% forward" in curve.told(points)[1]


def test_a_curve_needs_something_to_compare() -> None:
    with pytest.raises(ValueError, match="methods: expected sparsespike, and"):
        curve.benches(dataclasses.replace(TINY, methods=("sparsespike", "snntorch")))
    kept = curve.benches(dataclasses.replace(TINY, active=0.0))
    assert [one.active for _, one in kept] == [0.0] * 6
    assert [one.rate for _, one in kept] == list(curve.SHARES)
    assert {one.methods for _, one in kept} == {("sparsespike", "clean-dense", "fused-dense")}


def test_command_line_records_a_curve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "SHARES", (0.02, 0.1))
    sizes = ["--shape", "2", "8", "8", "--channels", "16", "--steps", "30", "--batch-size", "2"]
    words = ["bench", "layer", "--connection", "conv2d", "--curve", *sizes, "--repeats", "1"]
    assert main([*words, "--methods", "sparsespike", "fused-dense", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "fused-dense: sparsespike is faster below" in out
    lines = [json.loads(line) for line in (tmp_path / "bench-layer.jsonl").read_text().splitlines()]
    assert [line["method"] for line in lines] == ["sparsespike", "fused-dense"] * 2
    assert lines[2]["case"]["b_th"] > 0.2
    assert all(line["status"] == "ok" for line in lines)
    assert lines[1]["memory_saved_percent"] is None or lines[1]["peak_mib"] > 0
