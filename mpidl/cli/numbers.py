"""Numbers and texts as people read them in a table, and programs in JSON."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from mpidl.sentences import printable

if TYPE_CHECKING:
    from rich.console import Console

ABSENT = "–"

# Wide enough that a table which goes to a file or a pipe is not folded.
_FILE_WIDTH = 200


def console(paper: int = _FILE_WIDTH) -> Console:
    """Where tables are printed: as wide as the terminal, or as `paper` where there is none."""
    from rich.console import Console
    from rich.text import Text

    class Printable(Console):
        """Shows texts of a file as they are, but for what would act on the terminal."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str("\n".join(map(printable, text.split("\n"))), **options)

    # No markup: a list in a configuration, `[consensus, local]`, is not a style.
    terminal = Printable(highlight=False, markup=False, emoji=False)
    if not terminal.is_terminal:
        terminal.width = paper
    return terminal


def number(value: float) -> str:
    """Four significant digits; whole numbers in full; a dash for NaN."""
    if math.isnan(value):
        return ABSENT
    if math.isfinite(value) and value == int(value) and abs(value) < 1e7:
        return f"{int(value):,}"
    return f"{value:.4g}"


def fraction(value: float) -> str:
    """`93.91 %`."""
    return ABSENT if math.isnan(value) else f"{100 * value:.2f} %"


def amount(count: float) -> str:
    """`1.5 GB`, with a thousand bytes to the kB."""
    if math.isnan(count):
        return ABSENT
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            break
        count /= 1000
    return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"


def duration(seconds: float) -> str:
    """`3.21 s`, `4 min 10 s`, `2 h 05 min`."""
    if math.isnan(seconds):
        return ABSENT
    if seconds < 100 or math.isinf(seconds):
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    if minutes < 60 * 10_000:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes / 60:.3g} h"


def measured(value: float, units: str) -> str:
    """A number with its units."""
    if units == "bytes":
        return amount(value)
    if units == "s":
        return duration(value)
    return number(value)


def json_line(value: object) -> str:
    """The value as JSON on one line, whatever its texts hold."""
    # What cannot be encoded is escaped as JSON escapes it.
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()
