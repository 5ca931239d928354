"""Every block of the pages for people who come from other libraries runs, in turn."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

for peer in ("snntorch", "spikingjelly", "norse", "nir"):
    pytest.importorskip(peer, reason="installed by `make peers`", exc_type=ImportError)

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", ["from-snntorch", "from-spikingjelly", "from-norse", "nir"])
@pytest.mark.timeout(600)  # of kernels that no other test has compiled yet
def test_the_blocks_of_the_page_run_in_turn(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, f"{page}.md", "exec"), names)
    assert ("of the mass is cut" in capsys.readouterr().out) == (page != "nir")
