"""What was found out about several runs, side by side: each number as mean and deviation over the runs of a group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mpidl.analysis.groups import RunGroup
from mpidl.analysis.readings import Spread, spread
from mpidl.errors import ResultsError
from mpidl.results import Run, findings
from mpidl.results.findings import Analysis, Findings


class Number(NamedTuple):
    """A finding that is one number, with what it was in each group; NaN where none of a group has it."""

    name: str
    description: str
    units: str
    groups: tuple[Spread, ...]


class Gathered(NamedTuple):
    """The analyses beside the runs of groups, of each group those that there are; and why others are not read."""

    groups: tuple[tuple[Analysis, ...], ...]
    unreadable: tuple[ResultsError, ...]

    @property
    def kinds(self) -> list[str]:
        """All kinds of findings that any has."""
        return list(dict.fromkeys(kind for group in self.groups for analysis in group for kind in analysis.kinds))

    def of_kind(self, kind: str) -> list[list[Findings]]:
        """By group."""
        return [[analysis.kinds[kind] for analysis in group if kind in analysis.kinds] for group in self.groups]


def beside(groups: Iterable[RunGroup[Run]]) -> Gathered:
    """Opens what `mpidl analyze` has written beside these runs."""
    found, unreadable = [], []
    for group in groups:
        opened: list[Analysis] = []
        for run in group.runs:
            try:
                opened.extend(_of(run))
            except ResultsError as error:
                unreadable.append(error)
        found.append(tuple(opened))
    return Gathered(tuple(found), tuple(unreadable))


def numbers(groups: Sequence[Sequence[Findings]]) -> list[Number]:
    """What is one number among the findings of a kind, group by group; standard errors stand apart from it.

    What was found of each round is one number where each run keeps models of one round.
    """
    every = [findings for group in groups for findings in group]
    several = {name for findings in every for name, finding in findings.found.items() if finding.values.size != 1}
    known = {
        name: finding
        for findings in every
        for name, finding in findings.found.items()
        if name not in several and not (name.endswith("_error") and name.removesuffix("_error") in findings)
    }
    return [
        Number(name, finding.description, finding.units, tuple(spread(_values(group, name)) for group in groups))
        for name, finding in known.items()
    ]


def _values(group: Iterable[Findings], name: str) -> list[float]:
    return [findings.number(name) for findings in group if name in findings]


def _of(run: Run) -> Iterator[Analysis]:
    path = findings.beside(run.path)
    if not findings.is_findings(path):
        return
    analysis = findings.open(path)
    if analysis.run_created != run.created:
        raise ResultsError(f"{str(path)!r} is about another run than the {run.path.name} beside it")
    yield analysis
