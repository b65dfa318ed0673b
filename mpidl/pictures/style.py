"""One look for all pictures: lines and bars that a grey printer and every eye tell apart, and the frame around panels.

Colours are those of Okabe and Ito (2008), which people with any colour vision tell apart, in an order in which
neighbours differ in lightness; dashes, markers and hatches differ as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mpidl.pictures import LONGEST, new_figure, plain
from mpidl.sentences import printable

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

COLOURS = ("#000000", "#cc79a7", "#0072b2", "#e69f00", "#d55e00", "#56b4e9", "#009e73")
GREY = "0.35"
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++", "oo", "||")

TITLE, LEGEND, LABEL, TICK, NOTE = 11.5, 9.5, 9.5, 8.5, 8.0
"""Sizes of text in points, by what it is."""
_LINE = 1.45 / 72
"""Height of a line of text in inches, by its size."""
_MARGIN = 0.12
_HANDLE, _BETWEEN = 0.62, 0.25
"""Inches that a legend's entry takes beside its words, and between two of its columns."""
_ENTRIES = 40
_NOTES = 6


def line_style(index: int) -> dict[str, Any]:
    """Of the line of this number: unlike those of other numbers in more than colour."""
    colour = COLOURS[index % len(COLOURS)]
    return {
        "color": colour,
        "linestyle": _DASHES[index % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markerfacecolor": "white" if index % 2 else colour,
        "markersize": 4.5,
        "linewidth": 1.5,
    }


def line_entry(index: int) -> Line2D:
    """What stands for this line in a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **line_style(index))


def bar_style(index: int) -> dict[str, Any]:
    """Of the part of a bar of this number: unlike its neighbours in lightness and hatch."""
    return {
        "facecolor": (*COLOURS[1:], "0.75", "0.9", "1.0")[index % (len(COLOURS) + 2)],
        "hatch": _HATCHES[index % len(_HATCHES)],
        "edgecolor": "0.15",
        "linewidth": 0.6,
    }


def dress(axes: Axes, across: str, up: str, title: str = "") -> None:
    """What each axis shows, and the lines that help to read it."""
    axes.set_xlabel(across, fontsize=LABEL)
    axes.set_ylabel(up, fontsize=LABEL)
    if title:
        axes.set_title(title, fontsize=LABEL)
    axes.tick_params(labelsize=TICK)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def framed(
    width: float, height: float, title: str = "", legend: Mapping[str, Artist] | None = None, notes: Sequence[str] = ()
) -> tuple[Figure, SubFigure]:
    """A figure with title and legend above and notes below, and its part for panels, of so many inches.

    `legend` has what stands before each label. Texts come from anywhere: they are folded to the width, and cut where
    they are longer than a reader's patience.
    """
    room = width - 2 * _MARGIN
    heading = first_of(folded(title, room, TITLE), 3)
    entries = dict(list((legend or {}).items())[:_ENTRIES])
    if legend and len(legend) > _ENTRIES:
        notes = [f"The legend names {_ENTRIES} of {len(legend)} lines.", *notes]
    labels = _cut([folded(label, room - _HANDLE, LEGEND) for label in entries])
    columns = _columns(labels, room)
    below = first_of([line for note in notes for line in folded(note, room, NOTE, 1000)], _NOTES)
    heights = {
        "head": _height(heading, TITLE) + _legend_height(labels, columns),
        "panels": height,
        "foot": _height(below, NOTE),
    }
    heights = {part: inches for part, inches in heights.items() if inches}
    figure = new_figure(width, sum(heights.values()))
    parts = figure.subfigures(len(heights), 1, height_ratios=list(heights.values()), squeeze=False)[:, 0]
    of = dict(zip(heights, parts, strict=True))
    if heading:
        top = 1 - _MARGIN / 2 / heights["head"]
        of["head"].text(0.5, top, "\n".join(heading), fontsize=TITLE, ha="center", va="top", linespacing=1.25)
    if entries:
        of["head"].legend(
            list(entries.values()),
            labels,
            loc="lower center",
            ncols=columns,
            frameon=False,
            fontsize=LEGEND,
            handlelength=3.2,
            borderpad=0,
            borderaxespad=0.2,
        )
    if below:
        of["foot"].text(
            _MARGIN / width, 0.96, "\n".join(below), fontsize=NOTE, color=GREY, ha="left", va="top", linespacing=1.25
        )
    return figure, of["panels"]


def _cut(labels: Sequence[list[str]]) -> list[str]:
    """Labels of three lines at most, or of more where only these tell them apart."""
    whole = {tuple(label) for label in labels}
    for most in (3, 6, 12):
        cut = ["\n".join(first_of(label, most)) for label in labels]
        if len(set(cut)) == len(whole):
            break
    return cut


def _height(lines: Sequence[str], size: float) -> float:
    """Of lines of text, in inches, with some room."""
    return len(lines) * size * _LINE + _MARGIN if lines else 0.0


def legend_above(axes: Axes, title: str, room: float) -> None:
    """The legend of a panel of so many inches, where it hides nothing: between the panel and its title."""
    _, labels = axes.get_legend_handles_labels()
    columns = _columns(labels, room, NOTE)
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=NOTE,
        handlelength=3.2,
        borderpad=0,
        borderaxespad=0.2,
    )
    axes.set_title(title, fontsize=LABEL, pad=72 * _legend_height(labels, columns, NOTE))


def _columns(labels: Sequence[str], room: float, size: float = LEGEND) -> int:
    """As many columns of a legend as fit beside each other."""
    columns = len(labels)
    widths = [max(text_width(line, size) for line in label.split("\n")) + _HANDLE + _BETWEEN for label in labels]
    # matplotlib fills column by column, the first ones with one entry more.
    while columns > 1 and sum(max(part) for part in _dealt(widths, columns)) > room:
        columns -= 1
    return max(columns, 1)


def _legend_height(labels: Sequence[str], columns: int, size: float = LEGEND) -> float:
    if not labels:
        return 0.0
    of_columns = [sum(label.count("\n") + 1 for label in part) for part in _dealt(labels, columns)]
    return max(of_columns) * size * _LINE * 1.12 + _MARGIN


def _dealt(items: Sequence[Any], columns: int) -> list[Sequence[Any]]:
    each, more = divmod(len(items), columns)
    starts = [column * each + min(column, more) for column in range(columns + 1)]
    return [items[first:after] for first, after in zip(starts, starts[1:], strict=False)]


def folded(text: str, room: float, size: float, longest: int = LONGEST) -> list[str]:
    """A text from elsewhere in lines of at most so many inches, broken between words, or within wider ones."""
    lines: list[str] = []
    for word in printable(text, longest).split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= room:
            lines[-1] += f" {word}"
            continue
        while len(word) > 1 and text_width(word, size) > room:
            # Letters are not equally wide: what fits is looked for from where it would be if they were.
            fits = max(1, int(len(word) * room / text_width(word, size)))
            while fits > 1 and text_width(word[:fits], size) > room:
                fits -= 1
            lines.append(word[:fits])
            word = word[fits:]
        lines.append(word)
    return [plain(line) for line in lines]


def first_of(lines: list[str], most: int) -> list[str]:
    """At most so many of these lines, the last with `…` where there are more."""
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"{lines[most - 1].rpartition(' ')[0]} …"]


@lru_cache(4096)
def text_width(text: str, size: float) -> float:
    """How wide a line of printable text is, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)[0]
    # Letters that are fitted to pixels are a little wider than their outlines.
    return 1.05 * float(width) / 72
