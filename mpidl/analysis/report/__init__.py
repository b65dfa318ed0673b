"""Runs as one page: `page(runs)` is HTML that needs nothing else, whatever texts are in their files.

`sections` are its parts, `runs` tell of each run by itself; `markup`, `style` and `images` are what a page is made of.
Templates are functions: what is no markup of their own is escaped, so that none can forget it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mpidl import __version__
from mpidl.analysis.groups import grouped
from mpidl.analysis.report import models, pictures, sections
from mpidl.analysis.report.markup import Markup, document, element, joined
from mpidl.analysis.report.style import STYLE
from mpidl.results import Run
from mpidl.results.provenance import utc_now

MOST_RUNS = 300
"""Of more, nobody reads a page."""


def page(runs: Sequence[Run], title: str | None = None, warnings: Iterable[str] = ()) -> str:
    """The page about these runs; `warnings` are said on top of it."""
    groups = grouped(runs)
    parts = {
        "Results": sections.results(groups),
        "Pictures": pictures.of_runs(runs),
        "What the models tell": models.findings(groups),
        "Runs": list(sections.each_run(groups)),
    }
    title = title or sections.title(runs)
    contents = [element("a", name, href=f"#{_anchor(name)}") for name, part in parts.items() if part]
    return document(
        title,
        STYLE,
        element("header", element("h1", title), sections.abstract(runs, groups)),
        *(element("p", warning, class_="warning") for warning in warnings),
        element("nav", *contents),
        *(_section(name, part) for name, part in parts.items() if part),
        element("footer", element("p", f"Written by mpidl {__version__} at {utc_now()}.", class_="quiet")),
    )


def _section(name: str, part: Iterable[Markup]) -> Markup:
    return element("section", element("h2", name), joined(part), id=_anchor(name))


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")
