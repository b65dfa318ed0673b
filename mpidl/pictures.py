"""Pictures: what drawing needs, the formats there are, and the file in the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mpidl.errors import ConfigError
from mpidl.sentences import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")
_LONGEST = 200


def check(path: Path, option: str) -> None:
    """Refuses a picture that could not be drawn; `option` is the one that named it."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{str(path)!r} must end in one of {', '.join(FORMATS)}", option)
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError("drawing needs matplotlib; install it with: pip install 'mpidl[plot]'", option) from error


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def words(text: str) -> str:
    """A text from elsewhere as a picture can show it: of sane length, and no formula."""
    # matplotlib leaves out of a legend what begins with _.
    return printable(f" {text}" if text.startswith("_") else text, _LONGEST).replace("$", r"\$")


def save(figure: Figure, path: Path, option: str) -> None:
    """Writes the picture, in the format that the path's suffix names."""
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ConfigError(f"the picture {str(path)!r} cannot be written: {error.strerror or error}", option) from error
