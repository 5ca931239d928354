"""Every kernel compiles for GPUs that are not here, with no register spilled and tensor cores where meant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "compile_ahead.py"
KERNELS = {
    "accumulate_dense",
    "accumulate_sparse",
    "accumulate_synapses",
    "add_up",
    "count",
    "count_back",
    "currents",
    "fire",
    "gather_dense",
    "gather_sparse",
    "gather_synapses",
    "integrate",
    "integrate_back",
    "list_active",
    "list_entries",
    "list_peaks",
    "move",
    "move_back",
    "pick",
    "place_words",
    "pool_words",
    "scale_by_slope",
    "send_back",
    "split_weight",
    "synapse_currents",
    "trace",
    "unpack",
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100", "gfx942"])
def test_every_kernel_compiles_without_spills(target):
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, TOOL, "--target", target, "--json"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = {row["kernel"]: row for row in json.loads(done.stdout)["rows"]}
    assert set(rows) == KERNELS
    for name, row in rows.items():
        assert row["spills"] == 0, row
        assert (row["tensor"] > 0) == (name in ("currents", "accumulate_dense", "gather_dense")), (
            row
        )
