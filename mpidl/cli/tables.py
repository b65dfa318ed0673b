"""Where tables are printed for people, and JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mpidl.sentences import printable

if TYPE_CHECKING:
    from rich.console import Console

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


def json_line(value: object) -> str:
    """The value as JSON on one line, whatever its texts hold."""
    # What cannot be encoded is escaped as JSON escapes it.
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()
