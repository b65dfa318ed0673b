"""Findings about a run as people read them in a terminal, and programs in JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidl.spoken import counted, number, with_deviation

if TYPE_CHECKING:
    from rich.table import Table

    from mpidl.results.findings import Finding, Findings


_FEW = 8


def table(findings: Findings) -> Table:
    """What of a kind is one number, or few."""
    from rich import box
    from rich.table import Table

    settings = findings.settings
    model = f" of {settings['model']}" if settings["model"] else ""
    title = f"{findings.kind}{model} after round {settings['round']}"
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    rows.add_column("")
    rows.add_column("value", justify="right")
    rows.add_column("", style="dim")
    for name, finding in findings.found.items():
        # A standard error stands beside what it is of.
        if name.endswith("_error") and name.removesuffix("_error") in findings:
            continue
        text = ", ".join(map(number, finding.values.ravel().tolist()))
        if f"{name}_error" in findings:
            text += f" ± {number(findings.number(f'{name}_error'))}"
        if finding.values.ndim == 0 or (finding.values.ndim == 1 and len(finding.values) <= _FEW):
            rows.add_row(name.replace("_", " "), text, finding.description)
    return rows


def of_several(found: Mapping[Path, Sequence[Findings]]) -> Iterator[Table]:
    """Of each kind, what is one number: mean and deviation over the runs that differ in nothing but their seed."""
    from rich import box
    from rich.table import Table

    from mpidl import results
    from mpidl.analysis.gathered import numbers
    from mpidl.analysis.groups import grouped

    groups = grouped([results.open(path) for path in found])
    for kind in dict.fromkeys(each.kind for findings in found.values() for each in findings):
        members = [[each for run in group.runs for each in found[run.path] if each.kind == kind] for group in groups]
        known = numbers(members)
        title = f"{kind} of {counted(sum(map(len, members)), 'run')}; mean ± deviation over those of one setting"
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
        header = ["", *(group.label for group in groups)]
        cells = [
            [
                each.name.replace("_", " "),
                *(with_deviation(cell.mean, cell.deviation, each.name, each.units) for cell in each.groups),
            ]
            for each in known
        ]
        # Whichever are fewer stand beside each other.
        turned = list(zip(header, *cells, strict=True)) if len(groups) > len(known) else [header, *cells]
        for place, words in enumerate(turned[0]):
            table.add_column(words, justify="right" if place else "left")
        for row in turned[1:]:
            table.add_row(*row)
        yield table


def plain(findings: Findings) -> dict[str, Any]:
    """Settings, and numbers and lists of them by name; null for what is not a number."""
    return {"settings": dict(findings.settings)} | {name: _values(each) for name, each in findings.found.items()}


def _values(finding: Finding) -> Any:
    import numpy as np

    values = finding.values.astype(object)
    values[~np.isfinite(finding.values)] = None
    return values.tolist()
