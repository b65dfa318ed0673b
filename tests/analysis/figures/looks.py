"""What can be seen of a picture by a program: texts apart from each other and inside, panels that hold something."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

# Of rounding to pixels, and of the room that a font leaves about its letters.
_TOLERANCE = 1.5
# Words that are their own unit: what is counted.
COUNTED = re.compile(r"^(rounds?|epochs?|agents?.*|ranks?|examples|class|.*\bagent [ij])$")
PLAIN = re.compile(
    r"loss|distance|norm|\blr\b|variance|alignment|weight|learning rate|Hessian|sharpness|eigenvalue|share|direction|"
    r"cosine|confidence|‖"
)
"""What has no unit."""


def check(figure: Figure) -> None:
    """Draws the picture, and asserts what holds of every good one."""
    FigureCanvasAgg(figure)
    figure.canvas.draw()
    texts = [(text.get_text(), text.get_window_extent()) for text in shown_texts(figure)]
    for words, box in texts:
        assert inside(box, figure.bbox), f"{words!r} is clipped: {box} is not in {figure.bbox}"
    for (words, box), (others, other) in combinations(texts, 2):
        assert not overlap(box, other), f"{words!r} lies on {others!r}"
    panels = [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]
    assert figure.axes
    for axes in panels:
        assert has_data(axes), f"a panel {axes.get_ylabel()!r} is empty"
        for axis, label in ((axes.xaxis, axes.get_xlabel()), (axes.yaxis, axes.get_ylabel())):
            ticks = [tick.get_text() for tick in axis.get_ticklabels() if tick.get_visible() and tick.get_text()]
            if any(re.match(r"[-−$\d]", words) for words in ticks):
                assert label, f"an axis {ticks} has no label"
                assert "[" in label or COUNTED.match(label) or PLAIN.search(label), f"{label!r} has no unit"
            assert len(ticks) == len(set(ticks)), f"ticks {ticks} read alike"


def shown_texts(figure: Figure) -> list[Text]:
    """Every text that a reader sees."""
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    hidden = {id(text) for axes in figure.axes for text in hidden_ticks(axes)}
    return [text for text in texts if id(text) not in hidden]


def hidden_ticks(axes: Axes) -> list[Any]:
    """Labels of ticks that lie outside, of axes that are off, and of those that are made, but not drawn."""
    hidden: list[Any] = []
    for axis, interval in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        low, high = sorted(interval)
        room = 1e-9 * (high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not axes.axison or not low - room <= tick.get_loc() <= high + room:
                hidden += [tick.label1, tick.label2]
        if not axes.axison:
            hidden.append(axis.label)
    return hidden


def has_data(axes: Axes) -> bool:
    """Whether anything finite is drawn within a panel's limits."""
    low, high = sorted(axes.get_ylim())
    for line in axes.lines:
        values = np.ma.filled(np.ma.asarray(line.get_ydata(), dtype=float), np.nan)
        if ((values >= low) & (values <= high)).any():
            return True
    return bool(axes.collections or axes.patches or axes.images)


def inside(box: Bbox, canvas: Bbox) -> bool:
    return bool(
        box.x0 >= canvas.x0 - _TOLERANCE
        and box.y0 >= canvas.y0 - _TOLERANCE
        and box.x1 <= canvas.x1 + _TOLERANCE
        and box.y1 <= canvas.y1 + _TOLERANCE
    )


def overlap(one: Bbox, other: Bbox) -> bool:
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    up = min(one.y1, other.y1) - max(one.y0, other.y0)
    return bool(across > _TOLERANCE and up > _TOLERANCE)
