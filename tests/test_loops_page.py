"""Every block of docs/loops.md runs, one after the other, and learns."""

from __future__ import annotations

import importlib.util
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

import sparsespike as ss

PAGE = Path(__file__).parents[1] / "docs" / "loops.md"


# What Lightning has to say, of PyTorch's trees for instance.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.timeout(600)  # of kernels that no other test has compiled yet
def test_every_block_of_the_page_on_loops_runs(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:  # what torchrun would say of one process
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 7
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    for block in blocks:
        lightning = "import lightning" in block
        if lightning and importlib.util.find_spec("lightning") is None:
            continue
        if lightning:
            for name in told:
                monkeypatch.delenv(name)
        before = [each.detach().clone() for each in names["net"].parameters()] if names else []
        exec(compile(block, "loops.md", "exec"), names)
        if (before and "optimiser.step()" in block and "fully_shard" not in block) or lightning:
            for one, other in zip(names["net"].parameters(), before, strict=True):
                assert not torch.equal(one, other)
        if "AveragedModel" in block:
            average = [each.detach() for each in names["average"].parameters()]
            for one, other in zip(average, names["net"].parameters(), strict=True):
                assert not torch.equal(one, other)
    assert len(names["layers"]) == 4
    assert "layer 1: Linear 784-100, LIF, backward" in capsys.readouterr().out
    assert not torch.distributed.is_initialized()
    assert isinstance(names["net"], ss.Network)
