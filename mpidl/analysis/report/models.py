"""What `mpidl analyze` has found out about the runs of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mpidl.analysis import gathered
from mpidl.analysis.figures import flatness, panels
from mpidl.analysis.gathered import Gathered
from mpidl.analysis.groups import RunGroup
from mpidl.analysis.report.images import picture
from mpidl.analysis.report.markup import Markup, element, table
from mpidl.errors import MpidlError, ResultsError
from mpidl.results import Run
from mpidl.spoken import with_deviation

# Of a kind.
_MOST_PICTURES = 6


def findings(groups: Sequence[RunGroup[Run]]) -> list[Markup]:
    """By kind, a table and the pictures of one run of each group; nothing where nothing was analysed."""
    known = gathered.beside(groups)
    parts = [element("p", str(error), class_="warning") for error in known.unreadable]
    if known.kinds and len(groups) > 1:
        parts += _beside(groups)
    for kind in known.kinds:
        parts += [element("h3", kind.capitalize()), *_kind(groups, known, kind)]
    return parts


def _beside(groups: Sequence[RunGroup[Run]]) -> Iterator[Markup]:
    try:
        figure = flatness.draw([run for group in groups for run in group.runs], groups=groups, title="")
    except ResultsError:
        # Nothing of it was measured, as the tables below tell.
        return
    yield element("div", picture(figure, "Accuracy beside flatness."), class_="pictures")


def _kind(groups: Sequence[RunGroup[Run]], known: Gathered, kind: str) -> Iterator[Markup]:
    numbers = gathered.numbers(known.of_kind(kind))
    if numbers:
        header = ["", "what it is", *(group.label for group in groups)]
        rows = [
            [
                each.name.replace("_", " "),
                each.description,
                *(with_deviation(cell.mean, cell.deviation, each.name, each.units) for cell in each.groups),
            ]
            for each in numbers
        ]
        yield table(header, rows, numbers=range(2, len(header)))
    firsts = [
        (group, next((analysis for analysis in analyses if kind in analysis.kinds), None))
        for group, analyses in zip(groups, known.groups, strict=True)
    ]
    drawn: list[Markup] = []
    for group, analysis in firsts:
        if analysis is None or len(drawn) == _MOST_PICTURES:
            continue
        try:
            figure = panels.draw([analysis], [kind])
        except MpidlError as error:
            yield element("p", str(error), class_="quiet")
        else:
            of = f" ({analysis.run}, one of {len(group.runs)})" if len(group.runs) > 1 else ""
            drawn.append(picture(figure, f"{kind.capitalize()}: {group.label}{of}."))
    yield element("div", *drawn, class_="pictures")
