"""Figures as part of a page: drawn into it, so that it needs no other file."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING

from mpidl.analysis.report.markup import Markup, element

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of a figure as lines; one of more is drawn as dots, whose number no data can raise.
_MOST_BYTES = 400_000
_DOTS_PER_INCH = 160
# Inches from which a figure is not to be shrunk to a phone, and from which it has a row of its own.
_BROAD, _ROW = 6.2, 10.0
# Of a style sheet's pixels.
_PIXELS_PER_INCH = 96


def picture(figure: Figure, caption: str) -> Markup:
    """The figure with what it shows beneath it. A broad one scrolls within its own box on a phone."""
    inches = figure.get_size_inches()
    width, height = (str(round(_PIXELS_PER_INCH * side)) for side in inches)
    image = element("img", src=_data(figure), alt=caption, width=width, height=height)
    kinds = [name for name, least in (("broad", _BROAD), ("row", _ROW)) if inches[0] >= least]
    return element(
        "figure", element("div", image, class_="scroll"), element("figcaption", caption), class_=" ".join(kinds)
    )


def _data(figure: Figure) -> str:
    """The figure in the address of an image; the same for the same figure."""
    import matplotlib

    kind, drawn = "svg+xml", BytesIO()
    # Names inside an SVG are random otherwise.
    with matplotlib.rc_context({"svg.hashsalt": "mpidl"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    if drawn.tell() > _MOST_BYTES:
        kind, drawn = "png", BytesIO()
        figure.savefig(drawn, format="png", dpi=_DOTS_PER_INCH)
    return f"data:image/{kind};base64,{base64.b64encode(drawn.getvalue()).decode()}"
