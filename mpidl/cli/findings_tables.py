"""Findings about a run as people read them in a terminal, and programs in JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidl.spoken import counted, number, with_deviation

if TYPE_CHECKING:
    from rich.table import Table

    from mpidl.analysis.comparison import TableColumn
    from mpidl.results.findings import Finding, Findings


_FEW = 8
_DRAWN = "no single numbers; mpidl plot draws what was found"


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
    if not rows.rows:
        rows.add_row(_DRAWN)
    return rows


def of_several(found: Mapping[Path, Sequence[Findings]]) -> Iterator[tuple[str, list[TableColumn]]]:
    """Of each kind, under a title, what is one number: mean and deviation over runs that differ in their seed alone.

    Without columns, the title says that nothing is.
    """
    from mpidl import results
    from mpidl.analysis.comparison import TableColumn
    from mpidl.analysis.gathered import numbers
    from mpidl.analysis.groups import grouped

    groups = grouped([results.open(path) for path in found])
    for kind in dict.fromkeys(each.kind for findings in found.values() for each in findings):
        members = [[each for run in group.runs for each in found[run.path] if each.kind == kind] for group in groups]
        columns = [TableColumn("", tuple(group.label for group in groups), 0, is_text=True)]
        for quantity in numbers(members):
            name, units = quantity.name, quantity.units
            cells = tuple(with_deviation(each.mean, each.deviation, name, units) for each in quantity.groups)
            # Those that are told first matter most.
            columns.append(TableColumn(name.replace("_", " "), cells, -len(columns)))
        title = f"{kind} of {counted(sum(map(len, members)), 'run')}"
        if len(columns) > 1:
            yield f"{title}; mean ± deviation over those of one setting", columns
        else:
            yield f"{title}: {_DRAWN}", []


def plain(findings: Findings) -> dict[str, Any]:
    """Settings, and numbers and lists of them by name; null for what is not a number."""
    return {"settings": dict(findings.settings)} | {name: _values(each) for name, each in findings.found.items()}


def _values(finding: Finding) -> Any:
    import numpy as np

    values = finding.values.astype(object)
    values[~np.isfinite(finding.values)] = None
    return values.tolist()
