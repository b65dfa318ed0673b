"""In which settings runs differ, and in which they do not: columns of tables, and labels of lines.

Every setting in which runs differ is told. Where they differ in a part (an algorithm, a graph, a compressor), its own
settings are told with it, as one text: `dsgd lr 0.05 momentum 0.9` beside `csgd lr 0.4`. There, what is as it is by
default for this part goes without saying, unless runs with the same part differ in it. A graph and gossip are compared
among the runs that have a graph, and so they are told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mpidl.analysis.settings import Setting, changes_numbers, settings
from mpidl.results import Glance
from mpidl.spoken import ABSENT

Settings = Mapping[str, Setting]

# Told above a table also where they are as by default.
_WELCOME = ("algorithm.lr", "data.batch")
# Only some runs have them, by what their algorithm is.
_DECENTRALIZED = ("graph", "gossip")
# Sections whose keys go without their name, which everybody knows where they stand.
_SHORT = ("algorithm", "data", "graph", "gossip", "model", "schedule")


@dataclass(frozen=True)
class Column:
    """A setting in which runs differ, or a part with what is its own: what each run has; `–` where it has none.

    `key` is its dotted path, `keys` are all that it tells of.
    """

    key: str
    title: str
    cells: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def is_part(self) -> bool:
        """Whether each cell names a part, with its own settings."""
        return f"{self.key}.name" in self.keys

    @property
    def matters(self) -> bool:
        """Whether it can change numbers."""
        return any(map(changes_numbers, self.keys))


@dataclass(frozen=True)
class Differences:
    """What sets runs apart, and, by section, what is the same in all and not as it is by default."""

    columns: tuple[Column, ...]
    constant: Mapping[str, str]

    def label(self, run: int) -> str:
        """What can change numbers and is this run's own, in words; empty where that is nothing."""
        return ", ".join(
            column.cells[run] if column.is_part else f"{column.title} {column.cells[run]}"
            for column in self.columns
            if column.matters and column.cells[run] != ABSENT
        )


def differences(runs: Sequence[Glance], without: Iterable[str] = ()) -> Differences:
    """In which settings these runs differ, and in which they do not; `without` are keys to leave out, such as `seed`.

    The names of runs are left out, too.
    """
    left_out = {"name", *without}
    known = _without_null_parts(
        [{key: each for key, each in settings(run).items() if key not in left_out} for run in runs]
    )
    keys = list(dict.fromkeys(key for run in known for key in run))
    differing = [key for key in keys if _differs(key, _those_with(key, known))]
    parts = _outermost(key.removesuffix(".name") for key in differing if key.endswith(".name"))
    # What is told together, by the key of the column.
    columns: dict[str, list[str]] = {}
    constant = []
    for key in keys:
        part = next((part for part in parts if key.startswith(f"{part}.")), None)
        if key in differing or (part is not None and not all(key in run for run in _those_with(key, known))):
            columns.setdefault(part or key, []).append(key)
        else:
            constant.append(key)
    titles = _titles(columns, parts)
    told = [Column(key, titles[key], _cells(key, columns[key], known), tuple(columns[key])) for key in columns]
    # The seed is the least of them.
    return Differences(tuple(sorted(told, key=lambda column: column.key == "seed")), _constant(constant, known))


def labels(runs: Sequence[Glance]) -> list[str]:
    """For each run what sets it apart from the others, such as `ring` or `lr 0.1`; its name where nothing does.

    Those of runs that differ in nothing have their names added, so that no two labels are the same.
    """
    return told_apart(differences(runs), names(runs))


def told_apart(apart: Differences, called: Sequence[str]) -> list[str]:
    """The labels of runs, or of groups, that are called so."""
    texts = [apart.label(run) for run in range(len(called))]
    counts = Counter(texts)
    return [
        f"{text} ({name})" if text and counts[text] > 1 else text or name
        for text, name in zip(texts, called, strict=True)
    ]


def names(runs: Sequence[Glance]) -> list[str]:
    """What to call each run: its name; where names repeat, that of its file, with as much of its path as it takes."""
    called = [run.name or run.path.stem for run in runs]
    counts = Counter(called)
    again = [place for place, name in enumerate(called) if counts[name] > 1]
    ways: list[Callable[[Glance], str]] = [
        lambda run: run.path.stem,
        lambda run: f"{run.path.parent.name}/{run.path.stem}",
        lambda run: str(run.path),
    ]
    for way in ways:
        # All of them alike, so that it is seen what they have in common.
        for place in again:
            called[place] = way(runs[place])
        if len(set(called)) == len(called):
            break
    return called


def _without_null_parts(runs: Sequence[Settings]) -> list[Settings]:
    """A section that is null in some runs and not in others is absent from the former."""
    sections = {key.rpartition(".")[0] for run in runs for key in run}
    return [{key: each for key, each in run.items() if key not in sections} for run in runs]


def _those_with(key: str, runs: Sequence[Settings]) -> Sequence[Settings]:
    """The runs that could have a setting."""
    if key.partition(".")[0] not in _DECENTRALIZED:
        return runs
    return [run for run in runs if "graph.name" in run]


def _differs(key: str, runs: Sequence[Settings]) -> bool:
    return len({run[key].text if key in run else None for run in runs}) > 1


def _outermost(keys: Iterable[str]) -> list[str]:
    """Those of these sections that lie in none of the others."""
    found: list[str] = []
    for key in sorted(keys, key=len):
        if not any(key.startswith(f"{outer}.") for outer in found):
            found.append(key)
    return found


def _cells(key: str, keys: Sequence[str], runs: Sequence[Settings]) -> tuple[str, ...]:
    """What each run has of a setting, or of a part and what is its own."""
    name = f"{key}.name"
    if name not in keys:
        return tuple(run[key].text if key in run else ABSENT for run in runs)
    # The learning rate first, for which one looks first.
    ordered = [name, *sorted((each for each in keys if each != name), key=lambda each: each not in _WELCOME)]
    alike: dict[str, list[Settings]] = {}
    for run in runs:
        if name in run:
            alike.setdefault(run[name].text, []).append(run)
    of_one = {
        text: {each for each in keys if _differs(each, [run for run in having if each in run])}
        for text, having in alike.items()
    }
    return tuple(
        " ".join(
            _words(each, key, run)
            for each in ordered
            if each in run and (each in (name, *_WELCOME) or not run[each].usual or each in of_one[run[name].text])
        )
        if name in run
        else ABSENT
        for run in runs
    )


def _words(key: str, section: str, run: Settings) -> str:
    """`lr 0.1` of `algorithm.lr`; `server adam` of `algorithm.server.name`; a part itself by its name alone."""
    name = key.removeprefix(section).removeprefix(".")
    name = "" if name == "name" else name.removesuffix(".name")
    return f"{name} {run[key].text}".strip()


def _titles(keys: Iterable[str], parts: Sequence[str]) -> dict[str, str]:
    """The last word of a part, a setting without the section where it is known to stand; in full if two are alike."""
    keys = list(keys)
    short = {
        key: key.rpartition(".")[2] if key in parts else key.partition(".")[2] if _is_known(key) else key
        for key in keys
    }
    counts = Counter(short.values())
    return {key: short[key] if counts[short[key]] == 1 else key for key in keys}


def _is_known(key: str) -> bool:
    section, _, rest = key.partition(".")
    return section in _SHORT and bool(rest)


def _constant(keys: Iterable[str], runs: Sequence[Settings]) -> dict[str, str]:
    """By section, those of these settings that are not as they are by default."""
    told: dict[str, list[str]] = {}
    for key in keys:
        section = key.partition(".")[0]
        run = next(run for run in runs if key in run)
        if not run[key].usual or key in _WELCOME:
            told.setdefault(section, []).append(_words(key, section, run))
    some = {section for section in _DECENTRALIZED if not all("graph.name" in run for run in runs)}
    return {
        section: ", ".join(words) + (" (of runs that have a graph)" if section in some else "")
        for section, words in told.items()
    }
