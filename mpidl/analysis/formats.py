"""Comparisons as texts for papers, pages and programs: Markdown, LaTeX (booktabs) and CSV.

Markdown and LaTeX have what people read, with all columns; CSV has unrounded numbers. Texts of run files act nowhere:
they are escaped as each format does.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from typing import Any

from mpidl.analysis.comparison import Comparison
from mpidl.sentences import printable

_LATEX = {
    **{character: f"\\{character}" for character in "{}$&#%_"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    # What follows the end of a row would be taken for its option.
    "[": "{[}",
    "*": "{*}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
    "…": r"\dots{}",
    "×": r"$\times$",
    "−": "$-$",
}


def markdown(compared: Comparison) -> str:
    """A list of what is constant, and a table as GitHub and others show it."""
    lines = [f"- {_markdown(section)}: {_markdown(text)}" for section, text in compared.constant.items()]
    titles = [_markdown(column.title) for column in compared.columns]
    rules = ["---" if column.is_text else "---:" for column in compared.columns]
    rows = zip(*(map(_markdown, column.cells) for column in compared.columns), strict=True)
    table = [f"| {' | '.join(cells)} |" for cells in (titles, rules, *rows)]
    notes = [f"\n{_markdown(note)}" for note in compared.notes]
    return "\n".join([*lines, *([""] if lines else []), *table, *notes]) + "\n"


def latex(compared: Comparison) -> str:
    """A tabular with the rules of booktabs; above it, as comments, what is constant."""
    comments = [f"% {section}: {text}" for section, text in compared.constant.items()]
    comments += [f"% {note}" for note in compared.notes]
    titles = [_latex(column.title) for column in compared.columns]
    rows = zip(*(map(_latex, column.cells) for column in compared.columns), strict=True)
    return (
        "\n".join(
            [
                r"% \usepackage{booktabs}",
                *(printable(comment) for comment in comments),
                rf"\begin{{tabular}}{{{''.join('l' if column.is_text else 'r' for column in compared.columns)}}}",
                r"\toprule",
                rf"{' & '.join(titles)} \\",
                r"\midrule",
                *(rf"{' & '.join(cells)} \\" for cells in rows),
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )
        + "\n"
    )


def comma_separated(compared: Comparison) -> str:
    """A row for each run or group: of the settings those that are not the same in all rows."""
    rows = [_flat(record) for record in compared.records]
    settings = {key for record in compared.records for key in record["settings"] if key not in record}
    same = {key for key in settings if len({_plain(row.get(key)) for row in rows}) == 1}
    titles = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in same]
    return csv_line(titles) + "".join(csv_line(row.get(title) for title in titles) for row in rows)


def csv_line(values: Iterable[Any]) -> str:
    """A row of CSV: lists and truths as JSON has them, nothing of None, nothing that would act on a terminal."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(map(_plain, values))
    return line.getvalue()


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """A record in which settings are beside all else."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        for name, each in value.items() if key == "settings" else [(key, value)]:
            # The name of the run stands in the first column.
            if name not in flat:
                flat[name] = each
    return flat


def _plain(value: Any) -> Any:
    """A number, None, or a printable text."""
    if isinstance(value, list | dict | bool):
        value = json.dumps(value, ensure_ascii=False)
    return printable(value) if isinstance(value, str) and not value.isprintable() else value


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*\[\]<>|$&~])", r"\\\1", printable(text))


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in printable(text))
