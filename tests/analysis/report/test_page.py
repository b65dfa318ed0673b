"""A page holds what there is to be told of runs, takes no text for markup, loads nothing, and fits any width."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the plot extra is not installed")

from mpidl import results
from mpidl.analysis.report import page
from mpidl.analysis.report.markup import Markup, element, lines, text
from mpidl.results.run_file import RunFile
from tests import browser
from tests.analysis.runs import analysed, run

# What would do something, were it taken for markup: as a child, in an attribute, in a style, in a picture's address.
FORGED = "<script>document.title='forged'</script><img src=x onerror=alert(1)>\"'><!--</title></style>&lt;\u202e"
NAME = "<img src=x onerror=alert(1)>"


@dataclass
class Seen(HTMLParser):
    """All elements of a page, with their attributes, and its texts."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about two settings of three seeds, one run of which has diverged, and texts that were forged."""
    folder = tmp_path_factory.mktemp("page")
    runs = [
        run(folder, f"{graph}-{seed}", seed=seed, graph={"name": graph})
        for graph in ("ring", "chain")
        for seed in (1, 2, 3)
    ]
    for number, each in enumerate(runs[:5]):
        analysed(each, 10.0 + number, FORGED)
    config = {
        "name": FORGED,
        "algorithm": {"name": FORGED, "lr": 0.1},
        "graph": {"name": "x" * 300},
        FORGED: {"a": FORGED},
    }
    file = RunFile.create(folder / "<b>&amp.h5", config, {"argv": [FORGED], "versions": {NAME: FORGED}}, None, 3)
    file.append({"round": 1, "epoch": 1.0, "seconds": 1.0, "bytes": 1.0, "test_accuracy_consensus": 0.25, NAME: 1.0})
    for _ in range(80):
        file.event(FORGED, FORGED * 40)
    file.finish("diverged")
    path = folder / "page.html"
    path.write_text(page([*runs, results.open(file.path)], FORGED, [FORGED]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def seen(written: Path) -> Seen:
    parser = Seen()
    parser.feed(written.read_text(encoding="utf-8"))
    return parser


def test_no_text_of_a_file_becomes_markup(seen: Seen) -> None:
    names = {name for _, attributes in seen.elements for name in attributes}
    assert not {name for name in names if name.startswith("on")} and "style" not in names
    assert {tag for tag, _ in seen.elements} & {"script", "iframe", "object", "embed", "form", "base"} == set()
    assert len([tag for tag, _ in seen.elements if tag in ("style", "title", "main")]) == 3
    # It is there, as a text that a person can read.
    assert sum("<script>document.title='forged'</script>" in words for words in seen.texts) > 5
    assert not any("\u202e" in words for words in seen.texts)


def test_a_page_needs_nothing_but_itself(seen: Seen) -> None:
    for tag, attributes in seen.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            if name in attributes:
                assert (attributes[name] or "").startswith("#" if tag == "a" else "data:"), (tag, attributes)
    policy = next(each["content"] for _, each in seen.elements if each.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    anchors = {each.get("id") for _, each in seen.elements}
    assert {(each["href"] or "")[1:] for tag, each in seen.elements if tag == "a"} <= anchors


def test_what_differs_what_was_reached_and_what_was_found_is_told_over_seeds(seen: Seen) -> None:
    words = " ".join(seen.texts)
    for told in (
        "ring",
        "chain",
        "90.00 %",
        "7 runs of 3 settings, 1 diverged, begun",
        "In all runs",
        "hessian trace",
        "11.0 ± 1.0",
        "13.50 ± 0.71",
    ):
        assert told in words, told
    assert words.count("2 ranks") == 6
    # Every run has its configuration, and pictures say what they show.
    assert sum(tag == "details" for tag, _ in seen.elements) == 8
    pictures = [each for tag, each in seen.elements if tag == "img"]
    assert len(pictures) >= 8 and all(each["alt"] for each in pictures)


def test_its_size_is_bounded_whatever_a_file_holds(tmp_path: Path) -> None:
    file = RunFile.create(
        tmp_path / "large.h5", {"name": "large", "list": list(range(15_000))}, {"argv": ["x" * 10**6]}, None, 200
    )
    random = np.random.default_rng(1)
    for record in range(1000):
        losses = {f"test_loss_{model}": float(random.random()) for model in ("consensus", "server")}
        accuracy = random.random(200)
        file.append(
            {
                "round": record,
                "epoch": float(record),
                "seconds": 1.0 * record,
                "test_accuracy_local": accuracy,
                **losses,
            }
        )
    for number in range(2000):
        file.event("warning", f"{number} " + "x" * 1000)
    file.finish()
    assert len(page([results.open(file.path)])) < 4e6


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overlaps_or_is_wider_than_a_screen(written: Path, tmp_path: Path, width: int) -> None:
    if browser.find() is None:
        pytest.skip(browser.WHY_NOT)
    # The folded parts have the longest texts.
    layout = browser.measure(written, tmp_path, width, opened=True)
    assert (layout.width, layout.across) == (width, width)
    assert (layout.overlapping, layout.wide, layout.cut) == ([], [], [])
    assert (layout.wrong, layout.requests, layout.said) == ([], [], [])
    assert layout.images == layout.loaded >= 8
    # Nothing but the script that measures has run or is there.
    assert layout.scripts == 1
    assert layout.scale > 0.6


def test_a_part_is_escaped_once_and_markup_stands() -> None:
    assert element("td", "a < b", class_='x"y') == '<td class="x&quot;y">a &lt; b</td>'
    assert element("p", element("b", "&"), Markup("<i>")) == "<p><b>&amp;</b><i></p>"
    assert text("a\x00\n\udcff" + "b" * 5000).startswith("a\\x00 \\udcff") and len(text("b" * 5000)) <= 400
    assert lines("a:\n    - <b>\n" * 300, 3) == "a:\n    - &lt;b&gt;\na:\n… 597 more lines"


def test_one_run_alone_and_one_without_records_make_a_page(tmp_path: Path) -> None:
    words = page([run(tmp_path, "empty", records=0)])
    assert "nothing to plot" in re.sub("<[^>]*>", "", words)
    assert "±" not in page([run(tmp_path, "alone", records=3)])
