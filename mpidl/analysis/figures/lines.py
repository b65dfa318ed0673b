"""Which runs are one line of a picture, what it is called, and what the picture says of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpidl.analysis.differences import differences
from mpidl.analysis.groups import RunGroup, grouped
from mpidl.analysis.settings import part_name
from mpidl.pictures.style import line_entry, line_style
from mpidl.results import Run
from mpidl.spoken import ABSENT, counted

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

_MARKERS = 8


@dataclass(frozen=True)
class Line:
    """Runs that are drawn as one, with what they differ from other lines in."""

    index: int
    runs: tuple[Run, ...]
    label: str

    @property
    def style(self) -> dict[str, Any]:
        """How it is drawn: unlike other lines in more than colour."""
        return line_style(self.index)

    def marked(self, points: int, lines: int) -> tuple[int, int]:
        """Matplotlib's `markevery`: about eight, staggered so that lines which coincide do not hide each other's."""
        every = max(1, points // _MARKERS)
        return self.index * every // lines, every


@dataclass(frozen=True)
class Frame:
    """What a picture says of all its runs: what they are, in a few words, and what is the same in all, in full."""

    title: str
    notes: tuple[str, ...]


def lines_of(
    runs: Sequence[Run], groups: Sequence[RunGroup[Run]] | None = None, title: str | None = None
) -> tuple[list[Line], Frame]:
    """A line for each of these groups, by default of runs that differ in nothing but their seed; and their frame.

    An empty `title` is that of a picture in a text, which has said what is the same in all runs.
    """
    lines = [
        Line(index, group.runs, group.label) for index, group in enumerate(grouped(runs) if groups is None else groups)
    ]
    if title == "":
        return lines, Frame("", ())
    constant = "; ".join(f"{section} {words}" for section, words in differences(runs).constant.items())
    return lines, Frame(title or title_of(runs), (f"In all runs: {constant}.",) if constant else ())


def title_of(runs: Sequence[Run]) -> str:
    """`digits, mlp, 8 agents, ring`: what is the same wherever there is any."""
    configs = [run.sections() for run in runs]
    parts: list[str] = []
    for section in ("data", "model", "algorithm", "graph"):
        names = {part_name(config.get(section)) for config in configs}
        parts += names if len(names) == 1 and ABSENT not in names else []
    agents = {run.agents for run in runs}
    return ", ".join([*parts, *(counted(number, "agent") for number in agents if len(agents) == 1)])


def sizes(groups: Iterable[Line | RunGroup[Run]]) -> str:
    """`3`, or `3 to 5`: of how many runs those are that are of several; empty where none is."""
    counts = sorted({len(group.runs) for group in groups} - {1})
    return " to ".join(dict.fromkeys(map(str, counts[:1] + counts[-1:])))


def legend(lines: Sequence[Line], drawn: Sequence[bool]) -> tuple[dict[str, Line2D], list[str]]:
    """What stands for each line that is drawn, and a note about those that are not."""
    absent = [line.label for line, shown in zip(lines, drawn, strict=True) if not shown]
    entries = {line.label: line_entry(line.index) for line, shown in zip(lines, drawn, strict=True) if shown}
    return entries, [f"Not here, for want of such values: {'; '.join(absent)}."] if absent else []
