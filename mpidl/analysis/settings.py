"""The settings of runs, each under its dotted key, comparable whatever wrote them down and when.

What a file leaves unsaid, since it is of an older mpidl, has its default. Nothing that a file names is imported but
what mpidl brings: of a part of somebody's own the settings are those that the file has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from mpidl.experiment import Config
from mpidl.keys import registry_of, section_of
from mpidl.results import Glance
from mpidl.spoken import ABSENT

_MISSING = object()

COUNT_NOTHING = (
    *("name", "checkpoint", "failures", "gossip.transport", "data.root", "data.place"),
    *("train.walltime", "train.state_memory", "train.state_folder", "train.log"),
)
"""Keys, and sections, that change no number of a run."""


class Setting(NamedTuple):
    """A value as a configuration has it, and whether it is what a configuration without it would mean."""

    value: Any
    usual: bool

    @property
    def text(self) -> str:
        """As a configuration has it; numbers that are equal read alike."""
        return in_words(self.value)


def in_words(value: Any) -> str:
    """A value as it stands in a configuration: `0.1`, `null`, `[64, 64]`; 1.0 is 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_words, value))}]"
    return json.dumps(value, default=str)


def settings(run: Glance) -> dict[str, Setting]:
    """All settings of a run. Those of a section that it does not have are absent.

    A decentralized run without `gossip` has that of exact mixing, and `agents` are those that there were.
    """
    given = {**run.sections(), "agents": run.agents}
    if given.get("graph") is not None and given.get("gossip") is None:
        given["gossip"] = {}
    return dict(_walk(Config, given, {}, ""))


def changes_numbers(key: str) -> bool:
    """Whether a setting can change what a run computes or measures, and is more than housekeeping."""
    return not any(key == known or key.startswith(f"{known}.") for known in COUNT_NOTHING)


def _walk(
    section: type[BaseModel] | None, given: Mapping[str, Any], usual: Mapping[str, Any], above: str
) -> Iterator[tuple[str, Setting]]:
    """The settings of a section. `usual` are values that it has unless others are given, before its own defaults."""
    known = _fields(section) if section is not None else {}
    for key in dict.fromkeys([*known, *given]):
        field = known.get(key, _UNKNOWN)
        default = usual.get(key, field.default)
        value = given.get(key, default)
        if value is _MISSING:
            continue
        below = field.section(value)
        if isinstance(value, str) and below is not None:
            value = {"name": value}
        if isinstance(default, str) and below is not None:
            default = {"name": default}
        if isinstance(value, Mapping) and (value or below is not None):
            same = isinstance(default, Mapping) and default.get("name") == value.get("name")
            # Another part has defaults of its own.
            yield from _walk(below, value, default if same else {}, f"{above}{key}.")
        else:
            yield f"{above}{key}", Setting(value, value == default)


def part_name(section: Any) -> str:
    """`ring` of `ring` and of `{name: ring, …}`; a dash where there is no part."""
    if isinstance(section, Mapping):
        section = section.get("name")
    return str(section) if section is not None else ABSENT


class _Field(NamedTuple):
    """A key of a section: its default as a configuration has it, the parts that it may name, and what it holds."""

    default: Any
    registry: Any
    holds: type[BaseModel] | None

    def section(self, value: Any) -> type[BaseModel] | None:
        """What the key holds: the part that its value names, or a section; None where that is not known here."""
        if self.registry is not None:
            name = value.get("name") if isinstance(value, Mapping) else value
            # Any other name is that of code.
            return self.registry.settings(name) if isinstance(name, str) and name in self.registry else None
        return self.holds if isinstance(value, Mapping) else None


_UNKNOWN = _Field(_MISSING, None, None)


@lru_cache(maxsize=1000)
def _fields(section: type[BaseModel]) -> dict[str, _Field]:
    """The keys of a section."""
    found = {}
    for name, field in section.model_fields.items():
        needed = field.is_required()
        default = _MISSING if needed else to_jsonable_python(field.get_default(call_default_factory=True))
        holds = section_of(field.annotation)
        # A duration is a section that is written in a word.
        holds = holds if holds is not None and "extra" in holds.model_config else None
        found[field.alias or name] = _Field(default, registry_of(field), holds)
    return found
