"""Many run files at once: which ones folders and patterns name, and all of them that can be read."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from mpidl.errors import ConfigError, ResultsError
from mpidl.results import checked, glance, reader
from mpidl.results.checked import Group
from mpidl.results.glance import Glance, NoRunFile
from mpidl.results.output import SUFFIXES
from mpidl.results.reader import Run

Kind = TypeVar("Kind", bound=Glance)


class Found(NamedTuple):
    """A file, and whether it was named itself, and not found in a folder or by a pattern."""

    path: Path
    named: bool


class Opened(NamedTuple, Generic[Kind]):
    """The runs of many files, and of each that holds none that can be read, why.

    `unreadable` are damaged, of a newer mpidl, or not there; `missed` are those of them that were named themselves.
    `others` are HDF5 files of another kind, such as analyses, which lie among run files.
    """

    runs: list[Kind]
    unreadable: list[ResultsError]
    missed: list[ResultsError]
    others: list[ResultsError]


def find(words: Iterable[str | Path]) -> list[Found]:
    """The files that paths, folders and patterns (`runs/*lr=0.1*`) name, each once.

    Of a folder these are all below it whose names end as those of run files, but for checkpoints and what `mpidl
    analyze` writes. A path that is not there is among them. ConfigError about a folder or pattern that names nothing.
    """
    found: dict[Path, Found] = {}
    for word in words:
        for file in _named_by(str(word)):
            place = file.path.absolute()
            if file.named or place not in found:
                found[place] = file
    return list(found.values())


def open_all(words: Iterable[str | Path]) -> Opened[Run]:
    """Opens the runs that paths, folders and patterns name (see `find`), in this order.

    Each file is read within limits of its own, and one that cannot be read takes nothing from the others. ResultsError
    where none can.
    """
    return _opened(find(words), reader.take)


def glance_all(words: Iterable[str | Path], metrics: Iterable[str]) -> Opened[Glance]:
    """The same at a glance, which takes a part of the time: with these metrics, and others when they are asked for.

    `test_accuracy` and `test_loss` stand for those of each model that can stand for a run.
    """
    return _opened(find(words), partial(glance.take, metrics=tuple(metrics)))


def _opened(files: list[Found], take: Callable[[Path], Callable[[Group], Kind]]) -> Opened[Kind]:
    opened: Opened[Kind] = Opened([], [], [], [])
    for file, answer in zip(files, checked.read_each([file.path for file in files], take), strict=True):
        if isinstance(answer, Glance):
            opened.runs.append(answer)
        elif isinstance(answer, NoRunFile):
            opened.others.append(answer)
        else:
            opened.unreadable.append(answer)
            opened.missed.extend([answer] if file.named else [])
    if not opened.runs:
        raise [*opened.unreadable, *opened.others, ResultsError("no run file is named")][0]
    return opened


def _named_by(word: str) -> Iterator[Found]:
    # Unlike those of Path, these questions are answered about names of any length, and of what was typed.
    if os.path.isdir(word):  # noqa: PTH112
        inside = _below(Path(word))
        if not inside:
            raise ConfigError(f"there is no run file (*.h5) in the folder {word!r}")
        yield from (Found(file, False) for file in inside)
    elif os.path.exists(word) or not glob.has_magic(word):  # noqa: PTH110
        yield Found(Path(word), True)
    else:
        matching = sorted(glob.glob(word, recursive=True), key=_naturally)  # noqa: PTH207
        if not matching:
            raise ConfigError(f"no file is called as the pattern {word!r} says")
        for name in matching:
            yield from (Found(file, False) for file in (_below(Path(name)) if Path(name).is_dir() else [Path(name)]))


def _below(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    kept = (path for path in files if not path.stem.endswith(".analysis") and not _in_checkpoint(path))
    return sorted(kept, key=lambda path: _naturally(str(path)))


def _in_checkpoint(path: Path) -> bool:
    return any(parent.suffix == ".ckpt" for parent in path.parents)


def _naturally(text: str) -> list[tuple[float, str]]:
    """So that seed=2 comes before seed=10, and lr=0.05 before lr=0.1."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(float(part), "") if place % 2 else (-1.0, part) for place, part in enumerate(parts)]
