"""What a benchmark leaves: rows with everything in them, a table, and an exit code."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from sparsespike.bench import LayerBench, report, runner, worker
from sparsespike.bench.layer import LayerCase
from sparsespike.bench.runner import Row
from sparsespike.bench.trial import Refusal
from sparsespike.cli import main

TINY = LayerBench(neurons=12, steps=30, batch_size=4, rate=0.05, repeats=2)


def words(out: Path, *methods: str) -> list[str]:
    sizes = ["--neurons", "64", "--steps", "60", "--batch-size", "32"]
    return ["bench", "layer", *sizes, "--repeats", "2", "--out", str(out), "--methods", *methods]


def result_lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "bench-layer.jsonl").read_text().splitlines()]


def test_command_line_prints_and_records_complete_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(tmp_path, "sparsespike", "fused-dense"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in printed["rows"]] == ["sparsespike", "fused-dense"]
    for row in printed["rows"]:
        assert row["status"] == "ok"
        assert row["runs"] == 2
        assert set(row["ms"]) == {"forward", "backward", "total"}
        assert all(0 < x["p20"] <= x["median"] <= x["p80"] for x in row["ms"].values())
    ours, dense = printed["rows"]
    layer = 32 * 60 * 64 * 4 / 2**20  # one (B, T, N)
    assert 0 < ours["saved_mib"] < layer / 5
    assert dense["saved_mib"] == pytest.approx(layer, rel=0.1)  # its potentials
    if dense["peak_mib"] is not None:
        assert 3 * layer < dense["peak_mib"] < 20 * layer
    lines = result_lines(tmp_path)
    assert len(lines) == 2
    for key in ("time", "commit", "dirty", "cpu", "cores", "threads", "versions", "seed", "case"):
        assert key in lines[0]
    assert lines[1]["ratio"]["total"] > 0
    assert lines[0]["case"]["activity"] > 0


def test_failing_gate_is_in_the_table_and_in_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LayerCase, "check", lambda self, method: "3 of 4 spikes differ")
    assert main(words(tmp_path, "clean-dense")) == 1
    out, err = capsys.readouterr()
    assert "clean-dense: wrong: 3 of 4 spikes differ" in out
    assert "the gate failed" in err
    assert result_lines(tmp_path)[0]["ms"] == {}


def test_skipped_method_stays_in_the_table_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = worker.Memory(saved=2**20, peak=None, seconds=7.5)
    slow = SimpleNamespace(memory=found, close=lambda: None)
    monkeypatch.setattr(runner, "Worker", lambda bench, method, limit_s: slow)
    bench = dataclasses.replace(TINY, methods=("fused-dense",), limit=7.0)
    _, (row,) = runner.run(bench, Console(stderr=True))
    reason = "one run takes 7.5 s, more than 7 s (--limit)"
    assert (row.status, row.reason, row.saved_mib) == ("skipped", reason, 1.0)
    assert report.remarks([row]) == [f"fused-dense: skipped: {reason}"]


def test_table_shows_time_memory_and_ratios() -> None:
    spread = {"median": 2.0, "p20": 1.0, "p80": 300.0}
    rows = [
        Row(
            "sparsespike",
            ms={"forward": spread, "total": spread},
            saved_mib=0.5,
            peak_mib=1.5,
            ratio={"forward": 1.0, "total": 1.0, "peak": 1.0},
            epoch_s=12.5,
        ),
        Row("paper-loop", status="skipped", reason="too long"),
    ]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(report.table("title", "caption", rows))
    text = capture.get()
    for part in ("forward", "peak", "epoch", "1-300", "0.5", "1.5", "12.5", "paper-loop"):
        assert part in text


def test_a_program_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    bench = LayerBench(trained=tmp_path)
    with pytest.raises(Refusal, match=r"failed in its process: .*run\.json"):
        worker.Worker(bench, "clean-dense", 60.0)
