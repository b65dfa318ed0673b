"""Lines and bars are told apart without colour; texts of any length are folded into what room there is."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib", reason="the plot extra is not installed")

from matplotlib.lines import Line2D

from mpidl.pictures import style
from tests.analysis.figures import looks


def lightness(colour: str) -> float:
    """L* of CIE 1976, from 0 to 100, of a colour as #rrggbb."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (((part + 0.055) / 1.055) ** 2.4 if part > 0.04 else part / 12.92 for part in parts)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.009 else 903.3 * luminance


def test_neighbours_differ_in_lightness() -> None:
    known = [lightness(colour) for colour in style.COLOURS]
    assert all(abs(one - other) > 11 for one, other in zip(known, [*known[1:], known[0]], strict=True))


def test_bars_differ_in_hatch() -> None:
    assert len({style.bar_style(index)["hatch"] for index in range(9)}) == 9


@pytest.mark.parametrize(
    ("length", "count", "width"), [(1, 1, 4.0), (30, 5, 4.0), (30, 60, 12.0), (400, 5, 4.0), (400, 60, 12.0)]
)
def test_a_frame_has_room_for_its_texts(length: int, count: int, width: float) -> None:
    word = "".join("Wi$l_"[place % 5] for place in range(length))
    legend = {f"{index} {word}": Line2D([], []) for index in range(count)}
    figure, body = style.framed(width, 2.0, word, legend, [f"{word} {word}"] * 2)
    axes = body.subplots()
    axes.plot([0, 1], [0, 1])
    style.dress(axes, "rounds", "test loss")
    looks.check(figure)
    below = figure.subfigs[-1].texts[0].get_text()
    assert below.startswith("The legend names 40 of 60 lines.") == (count == 60)
    assert axes.get_window_extent().height > 0.5 * 2.0 * figure.dpi


def test_legends_keep_what_tells_long_labels_apart() -> None:
    alike = "momentum 0.9 " * 25
    figure, _ = style.framed(4, 2, legend={f"{alike}lr {lr}": style.line_entry(0) for lr in (0.1, 0.2)})
    shown = [text.get_text() for part in figure.subfigs for each in part.legends for text in each.get_texts()]
    assert len(set(shown)) == 2 and all(label.count("\n") < 12 for label in shown), shown
    figure, _ = style.framed(4, 2, legend={f"{lr} {alike}": style.line_entry(0) for lr in (0.1, 0.2)})
    shown = [text.get_text() for part in figure.subfigs for each in part.legends for text in each.get_texts()]
    assert [label.count("\n") for label in shown] == [2, 2] and shown[0].endswith("…"), shown
