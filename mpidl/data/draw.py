"""A picture of a division: which agent holds how many examples of which class, and how many in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mpidl.pictures.style import COLOURS, LABEL, TICK, dress, framed
from mpidl.sentences import printable
from mpidl.spoken import counted

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Above this number of agents or classes, discs would only blur: shades say it then.
_MOST_DISCS = 40
# Above this number of classes, they are numbered here and there alone.
_MOST_NAMES = 40
# Points² of the largest disc.
_LARGEST = 170.0
_BLUE = COLOURS[2]


def draw(sizes: np.ndarray, counts: np.ndarray | None, title: str, names: Sequence[str] | None = None) -> Figure:
    """The division `counts` [agents, classes], None where there are no classes, and `sizes` [agents].

    `names` are those of the classes, where they have any.
    """
    agents, classes = len(sizes), 0 if counts is None else counts.shape[1]
    discs = counts is not None and max(agents, classes) <= _MOST_DISCS
    width = float(np.clip(3.4 + 0.28 * agents, 5.5, 16.0))
    high = min(8.0, max(2.0, 0.28 * classes)) if classes else 0.0
    legend = _sizes_of_discs(counts) if discs and counts is not None else {}
    figure, body = framed(width, high + 1.9, title, legend)
    if counts is None:
        below = body.subplots()
    else:
        above, below = body.subplots(2, sharex=True, height_ratios=(high, 1.3))
        _draw_classes(above, counts, discs, names)
    below.bar(np.arange(agents), sizes, color=_BLUE, width=0.8 if agents <= _MOST_DISCS else 1.0)
    dress(below, "agent", "examples")
    below.set_xlim(-0.7, agents - 0.3)
    _whole_numbers(below)
    return figure


def _draw_classes(axes: Axes, counts: np.ndarray, discs: bool, names: Sequence[str] | None) -> None:
    agents, classes = counts.shape
    dress(axes, "", "class")
    if discs:
        where, which = np.nonzero(counts)
        axes.scatter(where, which, s=_area(counts[where, which], counts.max()), color=_BLUE, linewidths=0)
    else:
        shown = np.ma.masked_equal(counts.T, 0)
        # Pixels, also in a file of lines: of many agents there would be as many rectangles.
        image = axes.pcolormesh(
            np.arange(agents + 1) - 0.5, np.arange(classes + 1) - 0.5, shown, cmap="viridis_r", rasterized=True
        )
        bar = axes.figure.colorbar(image, ax=axes)
        bar.set_label("examples", fontsize=LABEL)
        bar.ax.tick_params(labelsize=TICK)
    axes.set_ylim(-0.7, classes - 0.3)
    if names is not None and classes <= _MOST_NAMES:
        axes.set_yticks(range(classes), [printable(name, 24) for name in names])
    elif classes <= 12:
        axes.set_yticks(range(classes))
    else:
        from matplotlib.ticker import MaxNLocator

        axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _area(counts: np.ndarray | float, most: float) -> np.ndarray:
    """Of discs, in proportion to what they stand for."""
    return np.asarray(_LARGEST * counts / most)


def _sizes_of_discs(counts: np.ndarray) -> Mapping[str, Artist]:
    """What a legend shows: a large, a middling and a small disc, of round numbers of examples."""
    from matplotlib.lines import Line2D

    most = int(counts.max())
    numbers = dict.fromkeys(_round(most / part) for part in (1, 4, 16))
    return {
        counted(number, "example"): Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            color=_BLUE,
            markeredgewidth=0,
            markersize=float(_area(number, most)) ** 0.5,
        )
        for number in numbers
    }


def _round(number: float) -> int:
    """The largest 1, 2 or 5 of a power of ten up to this number, at least 1."""
    power = 10 ** int(np.log10(max(number, 1)))
    return int(power * max(digit for digit in (1, 2, 5) if digit * power <= max(number, 1)))


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
