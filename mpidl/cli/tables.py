"""Where tables are printed for people, and JSON for programs."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, Literal

from mpidl.sentences import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from mpidl.analysis.comparison import TableColumn

# Wide enough that a table which goes to a file or a pipe is not folded.
_FILE_WIDTH = 200
_LONGEST_WORD = 30
# Where a line may end: not between a word and the number after it.
_SPACES = re.compile(r" (?![-+.\d\[%])|(?<=,) ")


def console(paper: int = _FILE_WIDTH) -> Console:
    """Where tables are printed: as wide as the terminal, or as `paper` where there is none.

    Ranks write into a pipe, or what looks like a terminal to them, and are told how wide the user's is, if any is.
    """
    from rich.console import Console
    from rich.text import Text

    class Printable(Console):
        """Shows texts of a file as they are, but for what would act on the terminal."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str("\n".join(map(printable, text.split("\n"))), **options)

    # No markup: a list in a configuration, `[consensus, local]`, is not a style.
    terminal = Printable(highlight=False, markup=False, emoji=False, force_terminal=_told_of_terminal())
    if not terminal.is_terminal:
        terminal.width = paper
    elif "MPIDL_LAUNCHED" in os.environ:
        terminal.width = int(os.environ["MPIDL_OUTPUT"])
    return terminal


def _told_of_terminal() -> bool | None:
    """Whether a rank that mpidl has started writes to a terminal; of other processes None, which see it themselves."""
    return "MPIDL_OUTPUT" in os.environ if "MPIDL_LAUNCHED" in os.environ else None


def print_fitting(columns: Sequence[TableColumn], more: str) -> None:
    """Prints a table in which no word is broken, all of it where there is no window.

    In a window that is too narrow, columns go that tell least, and a line says which, and `more`: how to see them.
    """
    columns = [column._replace(cells=tuple(map(printable, column.cells))) for column in columns]
    out = console(paper=max(_FILE_WIDTH, _total(map(_widest, columns))))
    shown = _those_that_fit(columns, out.width)
    out.print(_laid_out(shown, _widths(shown, out.width)))
    left_out = [column.title for column in columns if column not in shown]
    if left_out:
        out.print(f"left out for want of room: {', '.join(left_out)}; {more}")


def facts(values: Mapping[str, str]) -> Table:
    """What is so, in two columns."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in values.items():
        table.add_row(name, value)
    return table


def _those_that_fit(columns: Sequence[TableColumn], width: int) -> list[TableColumn]:
    """Columns in their order, without as many of the least weight, the last of them first, as it takes.

    Where those left do not tell all rows apart, the first that can stays, at the cost of others.
    """
    shown = _without_least(columns, width, ())
    named = next((column for column in columns if column.distinctive and column not in shown), None)
    if named is None or _rows(shown) == _rows(columns):
        return shown
    kept = _without_least(columns, width, (named,))
    return kept if _rows(kept) > _rows(shown) else shown


def _without_least(columns: Sequence[TableColumn], width: int, needed: Sequence[TableColumn]) -> list[TableColumn]:
    shown = list(columns)
    while len(shown) > 1 and _total(map(_narrowest, shown)) > width:
        free = [column for column in shown if column not in needed]
        least = min(column.weight for column in free)
        shown.remove([column for column in free if column.weight == least][-1])
    return shown


def _rows(columns: Sequence[TableColumn]) -> int:
    """How many rows these columns tell apart."""
    return len(set(zip(*(column.cells for column in columns if column.distinctive), strict=True)))


def _widths(columns: Sequence[TableColumn], width: int) -> list[int]:
    """Of each column: as wide as it needs to be, the widest narrowed down to their words, where it takes that."""
    widths, least = [_widest(column) for column in columns], [_narrowest(column) for column in columns]
    while _total(widths) > width:
        spare = [have - need for have, need in zip(widths, least, strict=True)]
        if not any(spare):
            break
        place = max((place for place, each in enumerate(spare) if each), key=lambda place: widths[place])
        widths[place] -= 1
    return widths


def _laid_out(columns: Sequence[TableColumn], widths: Sequence[int]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        justify: Literal["left", "right"] = "left" if column.is_text else "right"
        table.add_column(_folded(_SPACES.split(column.title), width), justify=justify, width=width, no_wrap=True)
    cells = (
        [_folded(_words(column, cell), width) for cell in column.cells]
        for column, width in zip(columns, widths, strict=True)
    )
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    return table


def _words(column: TableColumn, cell: str) -> list[str]:
    """What stays on one line each: a number does, and a word with the number after it, as in `lr 0.1`."""
    return _SPACES.split(cell) if column.is_text else [cell]


def _folded(words: Iterable[str], width: int) -> str:
    """The words on as few lines of this width as they take."""
    from rich.cells import cell_len

    lines: list[str] = []
    for word in (_shortened(word, width) for word in words):
        if lines and cell_len(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def _shortened(word: str, width: int) -> str:
    """The word, without its middle where it is longer than any place for it."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(word) <= width:
        return word
    end = word[len(word) - (width - 1) // 2 :] if width > 2 else ""
    return f"{set_cell_size(word, width - 1 - len(end)).rstrip()}…{end}"


def _widest(column: TableColumn) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, (column.title, *column.cells)))


def _narrowest(column: TableColumn) -> int:
    """As wide as the longest word of a text, but for those that are longer than any need be; numbers stay on a line."""
    from rich.cells import cell_len

    longest = max((cell_len(word) for cell in column.cells for word in _words(column, cell)), default=0)
    if column.is_text:
        longest = min(longest, _LONGEST_WORD)
    return max([longest, *map(cell_len, _SPACES.split(column.title))])


def _total(widths: Iterable[int]) -> int:
    """How wide a table is whose columns have these widths."""
    widths = list(widths)
    return sum(widths) + 3 * len(widths) - 1


def json_line(value: object) -> str:
    """The value as JSON on one line, whatever its texts hold."""
    # What cannot be encoded is escaped as JSON escapes it.
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()
