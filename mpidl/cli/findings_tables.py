"""Findings about a run as people read them in a terminal, and programs in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpidl.cli.numbers import number

if TYPE_CHECKING:
    from rich.table import Table

    from mpidl.results.findings import Finding, Findings


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
    for finding in findings.found.values():
        if finding.values.ndim == 0 and not finding.name.endswith("_error_of"):
            error = findings.found.get(f"{finding.name}_error")
            of = "" if error is None else f" ± {number(float(error.values))}"
            rows.add_row(finding.name.replace("_", " "), number(float(finding.values)) + of, finding.description)
        elif finding.values.ndim == 1 and len(finding.values) <= 8:
            rows.add_row(
                finding.name.replace("_", " "), ", ".join(map(number, finding.values.tolist())), finding.description
            )
    return rows


def plain(findings: Findings) -> dict[str, Any]:
    """Settings, and numbers and lists of them by name; null for what is not a number."""
    return {"settings": dict(findings.settings)} | {name: _values(each) for name, each in findings.found.items()}


def _values(finding: Finding) -> Any:
    import numpy as np

    values = finding.values.astype(object)
    values[~np.isfinite(finding.values)] = None
    return values.tolist()
