"""A page as Chromium lays it out, without a window: what is where, what has loaded, and what went wrong.

Widths are those of a frame: windows of a desktop browser have a least width, that of a phone is below it.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WHY_NOT = "no Chromium that starts on PATH (" + ", ".join(NAMES) + ")"

_BEGINNING = '<meta charset="utf-8">'
# In the page, before it says what is refused from there on: waits until all is there, then tells its frame's owner.
_MEASURE = """<script>
const wrong = [];
addEventListener("error", event => wrong.push(String(event.message || event.target.outerHTML).slice(0, 200)), true);
addEventListener("securitypolicyviolation", event => wrong.push("refused: " + event.blockedURI));
addEventListener("load", () => {
  const inside = (element, what) => element.parentElement && element.parentElement.closest(what) !== null;
  const boxes = [...document.querySelectorAll("main *")].filter(e => e.getClientRects().length);
  const name = e => `${e.tagName.toLowerCase()} ${e.className} ${e.textContent.trim().slice(0, 30)}`;
  const wide = boxes.filter(e => !inside(e, ".scroll, pre") && e.getBoundingClientRect().right > innerWidth + 0.5);
  const overlapping = [];
  for (const parent of [document.querySelector("main"), ...boxes]) {
    const own = [...parent.children].filter(e => e.getClientRects().length && getComputedStyle(e).display !== "inline");
    const placed = own.map(e => [e, e.getBoundingClientRect()]);
    for (const [place, [one, a]] of placed.entries())
      for (const [other, b] of placed.slice(place + 1))
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
            Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
          overlapping.push(`${name(one)} and ${name(other)}`);
  }
  const cut = boxes.filter(e => !e.matches(".scroll, pre") && !inside(e, ".scroll, pre") && e.clientWidth &&
                                e.scrollWidth > e.clientWidth + 1);
  const images = [...document.images];
  parent.postMessage(JSON.stringify({
    width: innerWidth, height: document.documentElement.scrollHeight, across: document.documentElement.scrollWidth,
    overlapping, wide: wide.map(name), cut: cut.map(name), wrong,
    images: images.length, loaded: images.filter(i => i.complete && i.naturalWidth > 0).length,
    scale: Math.min(1, ...images.map(i => i.getBoundingClientRect().width / i.getAttribute("width"))),
    requests: performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:")),
    scripts: document.scripts.length,
  }), "*");
});
</script>"""

_OWNER = """<!doctype html><body style="margin: 0">
<iframe src="{page}" style="border: 0; width: {width}px; height: {height}px"></iframe><pre id="measured"></pre><script>
addEventListener("message", event => document.getElementById("measured").textContent = event.data);
</script>"""


@cache
def find() -> str | None:
    """The browser, if there is one: some systems have a program of that name that tells how to install it."""
    for path in filter(None, map(shutil.which, NAMES)):
        asked = subprocess.run([path, "--version"], capture_output=True, check=False, timeout=60)
        if asked.returncode == 0:
            return path
    return None


@dataclass(frozen=True)
class Layout:
    """What was measured of a page at a width; `said` is what the browser's console has heard."""

    found: dict[str, Any]
    said: list[str]

    def __getattr__(self, name: str) -> Any:
        return self.found[name]


def measure(page: Path, folder: Path, width: int, opened: bool = False) -> Layout:
    """Lays a copy of the page out, all that is folded opened if so wanted; `folder` takes what that needs."""
    text = page.read_text(encoding="utf-8")
    assert text.count(_BEGINNING) == 1
    if opened:
        text = text.replace("<details>", "<details open>")
    copy, owner = folder / "measured.html", folder / "owner.html"
    copy.write_text(text.replace(_BEGINNING, _BEGINNING + _MEASURE), encoding="utf-8")
    owner.write_text(_OWNER.format(page=copy.name, width=width, height=900), encoding="utf-8")
    done = chromium(folder, "--dump-dom", "--virtual-time-budget=10000", owner.as_uri())
    measured = re.search(r'<pre id="measured">(.+?)</pre>', done.stdout, re.DOTALL)
    assert measured is not None, done.stderr
    return Layout(json.loads(html.unescape(measured[1])), re.findall(r"CONSOLE.*", done.stderr))


def chromium(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the browser once; its profile goes into `folder`."""
    browser = find()
    assert browser is not None
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
        *(f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--no-first-run", *words),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
