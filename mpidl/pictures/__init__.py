"""Pictures: the formats there are, what drawing needs, and the file in the end; `style` and `scales` are how all look.

A picture is a figure of matplotlib's that belongs to no window and no global state: a notebook shows it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mpidl.errors import ConfigError
from mpidl.sentences import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")
LONGEST = 200
"""Letters of a text that comes from elsewhere."""
_DOTS_PER_INCH = 150


def check(path: Path, option: str, formats: Sequence[str] = FORMATS) -> None:
    """Refuses a picture, or what has pictures in it, that could not be drawn; `option` is the one that named it."""
    if path.suffix.lower() not in formats:
        raise ConfigError(f"{str(path)!r} must end in one of {', '.join(formats)}", option)
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError("drawing needs matplotlib; install it with: pip install 'mpidl[plot]'", option) from error


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def words(text: str, longest: int = LONGEST) -> str:
    """A text from elsewhere as a picture can show it: of sane length, and no formula."""
    return plain(printable(text, longest))


def plain(text: str) -> str:
    """A printable text as matplotlib shows it letter by letter."""
    # Between two $ is a formula, and what begins with _ is left out of a legend.
    return (f" {text}" if text.startswith("_") else text).replace("$", r"\$")


def save(figure: Figure, path: Path, option: str) -> None:
    """Writes the picture, in the format that the path's suffix names."""
    from matplotlib import rc_context

    try:
        # Journals refuse PDF files with matplotlib's own fonts of type 3.
        with rc_context({"pdf.fonttype": 42}):
            figure.savefig(path, dpi=_DOTS_PER_INCH)
    except OSError as error:
        raise ConfigError(f"the picture {str(path)!r} cannot be written: {error.strerror or error}", option) from error
