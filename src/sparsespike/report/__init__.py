"""Reports of one's own runs: `write`.

One HTML file that stands by itself; `one.py` is the report of a run, `several.py` compares runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparsespike.data.whole import write as write_whole


def write(folders: Sequence[Path], out: Path | None = None, root: Path | None = None) -> Path:
    """Writes the report of one run, or a comparison of several.

    Args:
        folders: of the runs, one or more.
        out: the file; None for DIR/report.html of one, comparison.html in the working directory of several.
        root: folder of the datasets; None for the default of `sparsespike.data.load`.

    Returns:
        The file written, whole or not at all.

    Raises:
        ValueError: if there is no run, or one is damaged or named twice.
        ModuleNotFoundError: without Matplotlib.
        OSError: if the dataset cannot be had, or the file not written.
    """
    if not folders:
        raise ValueError("folders: expected one run or more, found none")
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"out: expected a name that ends in .html, found {str(out)!r}")
    check()
    from sparsespike.report import one, several

    if len(folders) == 1:
        text, out = one.page(folders[0], root), out or folders[0] / "report.html"
    else:
        text, out = several.page(folders), out or Path("comparison.html")
    write_whole(out, text.encode())
    return out


def check() -> None:
    """Raises a ModuleNotFoundError, which says what to install, where no report can be written."""
    from sparsespike.pages.figure import style

    with style():
        pass
