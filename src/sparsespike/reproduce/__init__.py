"""Every table and figure of the paper, by one command each: `sparsespike reproduce`.

cell.py, records.py, runner.py   one measurement, what was found, and what runs those that are missing
scope.py                         which data, how many seeds
trained.py, timed.py, gradients.py, operations.py, synops.py       what is measured
table1.py, table2.py, fig3.py, fig4.py, fig5.py, deep.py, conv.py       the paper's
break_even.py, horizon.py, align.py      beyond it
claim.py                         what the paper says beside what was found
times.py, lines.py               times with their spread, and panels of lines by method

Everything is drawn from `results/reproduction.jsonl`, which is appended to and never rewritten.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from sparsespike.data.whole import write
from sparsespike.pages.figure import COLOURS, Drawing, save
from sparsespike.pages.page import Section, Table, html, markdown
from sparsespike.reproduce import (
    align,
    break_even,
    claim,
    conv,
    deep,
    fig3,
    fig4,
    fig5,
    horizon,
    runner,
    table1,
    table2,
)
from sparsespike.reproduce.cell import Place
from sparsespike.reproduce.claim import Experiment
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Scope, scope

_ALL: tuple[Any, ...] = (
    table1, table2, fig3, fig4, fig5, deep, conv, break_even, horizon, align,
)  # fmt: skip
EXPERIMENTS: dict[str, Experiment] = {each.NAME: each for each in _ALL}


def reproduce(
    names: Sequence[str], place: Place, quick: bool, console: Console, jobs: int
) -> dict[str, str]:
    """Measures what is missing of these experiments, and writes the page of all that was measured so far.

    Args:
        names: of `EXPERIMENTS`, or "all".
        place: where to work.
        quick: less of everything, for a quarter of an hour on two cores.
        console: takes progress.
        jobs: trainings at once, >= 1.

    Returns:
        By cell, why it gave no result.

    Raises:
        ValueError: if a name is unknown.
        OSError: if a file cannot be written.
    """
    wanted = list(EXPERIMENTS) if "all" in names else list(dict.fromkeys(names))
    for name in wanted:
        if name not in EXPERIMENTS:
            raise ValueError(
                f"experiment: expected {', '.join(EXPERIMENTS)} or all, found {name!r}"
            )
    covered = scope(quick, place.data)
    records = Records(place.records, place.device)
    if records.damaged:
        console.print(f"{records.path}: {records.damaged} damaged lines are left out", markup=False)
    missing = {"F-MNIST", "N-MNIST", "SHD"} - {each.paper for each in covered.materials}
    if missing:
        console.print(f"not at hand, left out: {', '.join(sorted(missing))}", markup=False)
    cells = [cell for name in wanted for cell in EXPERIMENTS[name].cells(covered)]
    failed = runner.run(cells, records, place, console, jobs)
    write_pages(place, covered, records, failed)
    return failed


def write_pages(place: Place, covered: Scope, records: Records, failed: dict[str, str]) -> None:
    """Writes figures, the HTML page (`Place.page`) and the Markdown page beside it from what is recorded.

    Raises:
        OSError: if a file cannot be written.
    """
    figures = place.page.with_suffix("")
    sections = [_claims(covered, records)]
    for each in EXPERIMENTS.values():
        section = each.section(covered, records)
        command = f"`{_command(each.NAME, covered, records)}`"
        sections.append(Section(section.title, [*section.parts, command]))
    sections.append(_how(covered, records, failed))
    for section in sections:
        for part in section.parts:
            if isinstance(part, Drawing):
                if covered.quick:
                    part.figure.text(
                        0.005, 0.01, "quick", weight="bold", color=COLOURS["vermilion"]
                    )
                save(part, figures)
    title = "The paper, reproduced" + ("" if place.device == "cpu" else " on a GPU")
    title += " (quick)" if covered.quick else ""
    lead = (
        "Every table and figure of Perez-Nieves and Goodman, Sparse Spiking Gradient Descent "
        "(NeurIPS 2021), measured again by sparsespike, and some that the paper does not have."
    )
    if covered.quick:
        lead += (
            " **This is the quick reproduction**: few epochs, seeds and points, to see that "
            "everything runs. Its numbers are no results."
        )
    figures.mkdir(parents=True, exist_ok=True)
    write(place.page, html(title, lead, sections).encode())
    text = markdown(title, lead, sections, figures.name)
    write(place.page.with_suffix(".md"), text.encode())


def _command(name: str, covered: Scope, records: Records) -> str:
    device = "" if records.device == "cpu" else f" --device {records.device}"
    return f"sparsespike reproduce {name}" + device + (" --quick" if covered.quick else "")


def _claims(covered: Scope, records: Records) -> Section:
    claims, commands = [], []
    for each in EXPERIMENTS.values():
        made = each.claims(covered, records)
        if covered.quick:
            made = [dataclasses.replace(one, verdict="not comparable") for one in made]
        claims += made
        commands += [_command(each.NAME, covered, records)] * len(made)
    parts: list[str | Table | Drawing] = (
        [claim.table(claims, commands)] if claims else ["Nothing is measured yet."]
    )
    return Section("Claims", parts)


def _how(covered: Scope, records: Records, failed: dict[str, str]) -> Section:
    """Where and when it was measured, and what was not."""
    found = [
        record
        for each in EXPERIMENTS.values()
        for cell in each.cells(covered)
        if (record := records.record(cell)) is not None
    ]
    wanted = {cell for each in EXPERIMENTS.values() for cell in each.cells(covered)}
    known = [cell for cell in wanted if records.find(cell) is not None]
    facts = [f"{len(known)} of {len(wanted)} cells are measured."]
    if found:
        commits = sorted({str(record["commit"])[:7] for record in found})
        machines = sorted({_machine(record) for record in found})
        times = sorted(record["time"] for record in found)
        hours = sum(record["seconds"] for record in found) / 3600
        versions = sorted({f"torch {record['versions']['torch']}" for record in found})
        facts.append(
            f"Commits {', '.join(commits)}; {'; '.join(machines)}; {', '.join(versions)}; measured "
            f"from {times[0]} to {times[-1]}, {hours:.1f} hours of {records.processor}."
        )
    stand_ins = [each.title for each in covered.materials if each.stands_in]
    if stand_ins:
        facts.append(
            f"Not at hand, so that another takes its place: {', '.join(stand_ins)}. What is found "
            "on it is no test of the paper's number, and is marked so."
        )
    if failed:
        facts += [f"Failed: {name}: {why}" for name, why in failed.items()]
    return Section("How this was measured", facts)


def _machine(record: dict[str, Any]) -> str:
    gpu = f", {record['gpu']}" if "gpu" in record else ""
    return f"{record['cpu']}, {record['cores']} cores{gpu}"
