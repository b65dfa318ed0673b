"""HTML in which no text is taken for markup: whatever was not made here is escaped when it becomes part of a page."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable

from mpidl.sentences import printable

# Of a text that stands on one line.
_LONGEST = 400

_VOID = {"br", "hr", "img", "link", "meta"}


class Markup(str):
    """A part of a page that stands as it is."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str) -> Markup:
    """`<tag key="value">children</tag>`. Children that are no markup are texts.

    Attributes are spelt as Python can: `class_` is `class`, `http_equiv` is `http-equiv`.
    """
    names = (key.rstrip("_").replace("_", "-") for key in attributes)
    written = "".join(f' {name}="{html.escape(value)}"' for name, value in zip(names, attributes.values(), strict=True))
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{joined(children)}</{tag}>")


def joined(children: Iterable[str]) -> Markup:
    """One after another."""
    return Markup("".join(child if isinstance(child, Markup) else text(child) for child in children))


def text(words: str, longest: int = _LONGEST) -> Markup:
    """A text from anywhere, on one line and of sane length."""
    return Markup(html.escape(printable(words, longest)))


def lines(words: str, most: int) -> Markup:
    """A text of many lines as it is indented; of one with more than so many its beginning, and how many follow."""
    found = words.splitlines()
    shown = [f"{' ' * _indent(line)}{printable(line, _LONGEST)}" for line in found[:most]]
    if len(found) > most:
        shown.append(f"… {len(found) - most:,} more lines")
    return Markup(html.escape("\n".join(shown)))


def _indent(line: str) -> int:
    return min(len(line) - len(line.lstrip(" ")), _LONGEST // 10)


def table(header: Iterable[str], rows: Iterable[Iterable[str]], numbers: Collection[int]) -> Markup:
    """A table that scrolls within its own box where it is too wide; columns in these places are numbers."""

    def cells(tag: str, row: Iterable[str]) -> Markup:
        return element(
            "tr",
            *(
                element(tag, cell, class_="number") if place in numbers else element(tag, cell)
                for place, cell in enumerate(row)
            ),
        )

    head, body = cells("th", header), joined(cells("td", row) for row in rows)
    return element("div", element("table", element("thead", head), element("tbody", body)), class_="scroll")


def document(title: str, style: str, *children: str) -> str:
    """A whole page, which may fetch nothing and run nothing, whatever became part of it."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        # Without one, a browser asks the server of the page for it.
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Markup(style)),
    )
    body = element("body", element("main", *children))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def facts(pairs: Iterable[tuple[str, str]]) -> Markup:
    """What things are, each in a line of its own."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs))


def folded(title: str, *children: str) -> Markup:
    """What is shown when its title is clicked."""
    return element("details", element("summary", title), *children)
