"""Findings about a run as people read them in a terminal, and programs in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpidl.spoken import number

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


def plain(findings: Findings) -> dict[str, Any]:
    """Settings, and numbers and lists of them by name; null for what is not a number."""
    return {"settings": dict(findings.settings)} | {name: _values(each) for name, each in findings.found.items()}


def _values(finding: Finding) -> Any:
    import numpy as np

    values = finding.values.astype(object)
    values[~np.isfinite(finding.values)] = None
    return values.tolist()
