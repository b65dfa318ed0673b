"""Runs that belong together: those that differ in nothing but the seed, or that have some settings in common."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mpidl.analysis.differences import differences, names, told_apart
from mpidl.analysis.settings import Setting, changes_numbers, settings
from mpidl.errors import ConfigError, choices_sentence
from mpidl.keys import nearest_key
from mpidl.results import Glance
from mpidl.spoken import ABSENT

Kind = TypeVar("Kind", bound=Glance)


@dataclass(frozen=True)
class RunGroup(Generic[Kind]):
    """Runs that belong together, what to call them, and what sets them apart from other groups."""

    runs: tuple[Kind, ...]
    name: str
    label: str


def grouped(runs: Sequence[Kind], by: Sequence[str] | None = None) -> list[RunGroup[Kind]]:
    """These runs in groups, in the order of their first members.

    By default a group is of runs that differ in nothing but the seed and housekeeping, such as how often there is a
    checkpoint. A seed counts once in it: another run of the same seed begins another group, so that no deviation is
    made smaller by a run that was done twice. With `by`, a group is of all runs that have the same values of these
    keys, as in `algorithm` (which one), `algorithm.lr` or `lr`.
    """
    if by is None:
        return _over_seeds(runs)
    known = [settings(run) for run in runs]
    varied = [key for column in differences(runs).columns for key in column.keys]
    keys = list(dict.fromkeys(_found(key, known, varied) for key in by))
    members: dict[tuple[str, ...], list[Kind]] = {}
    for run, each in zip(runs, known, strict=True):
        members.setdefault(tuple(each[key].text if key in each else ABSENT for key in keys), []).append(run)
    labels = _of_values(keys, list(members))
    return [
        RunGroup(tuple(group), name, label or name)
        for group, name, label in zip(members.values(), _names(list(members.values())), labels, strict=True)
    ]


def alone(runs: Sequence[Kind]) -> list[RunGroup[Kind]]:
    """Each run as a group of its own."""
    called = names(runs)
    labels = told_apart(differences(runs), called)
    return [RunGroup((run,), name, label) for run, name, label in zip(runs, called, labels, strict=True)]


def _over_seeds(runs: Sequence[Kind]) -> list[RunGroup[Kind]]:
    members: dict[tuple[object, ...], list[Kind]] = {}
    times: dict[tuple[object, ...], int] = {}
    for run in runs:
        known = settings(run)
        same = tuple((key, each.text) for key, each in known.items() if key != "seed" and changes_numbers(key))
        seeded = (same, known["seed"].text if "seed" in known else ABSENT)
        times[seeded] = times.get(seeded, 0) + 1
        members.setdefault((same, times[seeded]), []).append(run)
    groups, called = list(members.values()), _names(list(members.values()))
    apart = differences([group[0] for group in groups], without=["seed"] if len(groups) < len(runs) else [])
    return [
        RunGroup(tuple(group), name, label)
        for group, name, label in zip(groups, called, told_apart(apart, called), strict=True)
    ]


def _found(key: str, runs: Sequence[dict[str, Setting]], varied: Sequence[str]) -> str:
    """The setting that is meant by a key, which may be its last word, or that of a part: then it is the part's name.

    `varied` are those to name where none is meant.
    """
    keys = dict.fromkeys(key for run in runs for key in run)
    for known in (f"{key}.name", key):
        if known in keys:
            return known
    ending = [known for known in keys if known.endswith((f".{key}", f".{key}.name"))]
    # The one that nests least: lr is the algorithm's before it is a server's.
    if ending:
        return min(ending, key=lambda known: known.removesuffix(".name").count("."))
    meant = nearest_key(key, keys) or nearest_key(key, {known.rpartition(".")[2]: None for known in keys})
    shown = dict.fromkeys(known.removesuffix(".name") for known in varied)
    raise ConfigError(choices_sentence(key, shown, meant), "--by")


def _of_values(keys: Sequence[str], groups: Sequence[Sequence[str]]) -> list[str]:
    """What to call groups that have these values of these keys: no two alike, where any value is told."""
    paths = [key.removesuffix(".name") for key in keys]
    last = [path.rpartition(".")[2] for path in paths]
    # In full where the last word is that of another key, too; of a part its name says which it is.
    words = [path if last.count(word) > 1 else word for path, word in zip(paths, last, strict=True)]
    short = [
        ", ".join(
            text if key.endswith(".name") and word in last else f"{word} {text}"
            for key, word, text in zip(keys, words, texts, strict=True)
            if text != ABSENT
        )
        for texts in groups
    ]
    if len(set(short)) == len(short):
        return short
    return [", ".join(f"{word} {text}" for word, text in zip(words, texts, strict=True)) for texts in groups]


def _names(groups: Sequence[Sequence[Glance]]) -> list[str]:
    """The name that all of a group have; else what the names have in common, with * for what they have not."""
    called = iter(names([run for group in groups for run in group]))
    members = [[next(called) for _ in group] for group in groups]
    shared = [_pattern([run.name or run.path.stem for run in group]) for group in groups]
    return [
        name if name and shared.count(name) == 1 else _pattern(texts)
        for name, texts in zip(shared, members, strict=True)
    ]


def _pattern(texts: Sequence[str]) -> str:
    """`lr=0.1_seed=*` of `lr=0.1_seed=1` and `lr=0.1_seed=2`."""
    if len(set(texts)) == 1:
        return texts[0]
    before = os.path.commonprefix(texts)
    after = os.path.commonprefix([text[len(before) :][::-1] for text in texts])[::-1]
    return f"{before}*{after}"
