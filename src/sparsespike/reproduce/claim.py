"""Claims of the paper beside what was found here."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from sparsespike.pages.page import Section, Table
from sparsespike.reproduce.cell import Cell
from sparsespike.reproduce.records import Records
from sparsespike.reproduce.scope import Scope

Verdict = Literal["reproduced", "not reproduced", "partly", "not comparable"]


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        says: what the paper says.
        where: in the paper.
        paper: its number.
        ours: what was found, with its spread.
        verdict: whether they agree.
        why: what a reader must know to judge it.
    """

    says: str
    where: str
    paper: str
    ours: str
    verdict: Verdict
    why: str = ""


class Experiment(Protocol):
    """One table or figure: a module of this package.

    Attributes:
        NAME: on the command line.
        TITLE: of its section.
    """

    NAME: str
    TITLE: str

    def cells(self, scope: Scope) -> Sequence[Cell]:
        """What has to be measured."""
        ...

    def section(self, scope: Scope, records: Records) -> Section:
        """What to show of it; of what was not measured nothing is shown, and that is said."""
        ...

    def claims(self, scope: Scope, records: Records) -> list[Claim]:
        """The paper's claims that it tests, of those that were measured."""
        ...


class Spread(NamedTuple):
    """Numbers of several seeds."""

    mean: float
    error: float  # standard error of the mean; 0 for one seed
    n: int

    def percent(self, digits: int = 1) -> str:
        """Of shares: "82.3 ± 0.1 % (5 seeds)"."""
        seeds = "1 seed" if self.n == 1 else f"{self.n} seeds"
        spread = f" ± {self.error:.{digits}%}"[:-1] if self.n > 1 else ""
        return f"{self.mean:.{digits}%}"[:-1] + spread + f" % ({seeds})"


def spread(numbers: Sequence[float]) -> Spread | None:
    """Mean and standard error; None of no numbers."""
    if not numbers:
        return None
    n = len(numbers)
    error = statistics.stdev(numbers) / n**0.5 if n > 1 else 0.0
    return Spread(statistics.fmean(numbers), error, n)


def table(claims: Sequence[Claim], commands: Sequence[str]) -> Table:
    """All claims, a row each, with the command that measures it."""
    rows = [
        [
            claim.says,
            claim.where,
            claim.paper,
            claim.ours,
            f"**{claim.verdict}**" + (f": {claim.why}" if claim.why else ""),
            f"`{command}`",
        ]
        for claim, command in zip(claims, commands, strict=True)
    ]
    return Table(("claim", "in the paper", "paper", "here", "verdict", "command"), rows)
