"""Prints a pytest report (--junitxml) as a table: each check, how often it passed, failed and was skipped, and why.

python tools/gpu_table.py REPORT.xml
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table


def main(path: str) -> None:
    counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    reasons: defaultdict[tuple[str, str], str] = defaultdict(str)
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        words = case.get("name", "").partition("[")[0].removeprefix("test_").replace("_", " ")
        check = (case.get("classname", "").removeprefix("tests.").rpartition(".")[0], words)
        bad = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        outcome = "passed" if bad is None else "skipped" if bad.tag == "skipped" else "failed"
        counts[check][outcome] += 1
        if bad is not None and not reasons[check]:
            lines = (bad.get("message") or bad.text or "").splitlines()
            errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
            reasons[check] = (errors[-1:] or lines[:1] or [""])[0]
    table = Table("part", "check", "passed", "failed", "skipped", "why", box=None, header_style="bold")
    for (part, words), found in sorted(counts.items()):
        numbers = (str(found[outcome] or "") for outcome in ("passed", "failed", "skipped"))
        table.add_row(part, words, *numbers, reasons[part, words], style="red" if found["failed"] else None)
    # A log has no width: the lines stay whole there.
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(table)
    total = sum(counts.values(), Counter())
    console.print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")


if __name__ == "__main__":
    main(sys.argv[1])
