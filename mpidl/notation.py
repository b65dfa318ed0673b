"""YAML as configurations have it, read within limits that no honest one meets.

A few lines of YAML can stand for more than memory holds (aliases of aliases, merges of merges), nest deeper than
any program can follow, or hold a number with more digits than the universe has use for. An alias therefore counts for
all that it stands for, and what is read is a tree of plain values: none refers to itself, no number is beyond 64 bits,
no text has a character that only acts on a terminal or cannot be stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

from mpidl.errors import ConfigError, quoted

LARGEST = 2**20
"""Characters of a text."""

DEEPEST = 32
_MOST_VALUES = 20_000
_LONGEST_NUMBER = 100
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
# Where a section begins, and what makes it depend on others: anchors, aliases, documents, directives.
_BEGINNING = re.compile(r"^(?=[A-Za-z_]\w*:(?:[ \n]|$))", re.MULTILINE)
_RELATION = re.compile(r"[&*]|^(?:---|\.\.\.|%)", re.MULTILINE)
_KNOWN_LENGTH = 2**16
# In base 8, says YAML 1.1, and 1.2 not.
_ZERO_BEFORE = re.compile(r"[-+]?0[0-7_]+")
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-3` is a number (YAML 1.1 wants `1.0e-3`) and a key given twice is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0
        # Of each node that is complete: how many values it stands for, and how deep they nest.
        self._extents: dict[yaml.Node, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> Any:
        before = self._values
        if self.check_event(yaml.AliasEvent):
            known: Any = super().compose_node(parent, index)
            if known not in self._extents:
                raise _refusal("a value refers to itself", known)
            values, height = self._extents[known]
            self._count(values, height, known)
            return known
        self._count(1, 1, self.peek_event())
        self._depth += 1
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        height = 1 + max((self._extents[below][1] for below in _below(node)), default=0)
        self._extents[node] = (self._values - before, height)
        return node

    def _count(self, values: int, height: int, place: Any) -> None:
        self._values += values
        if self._values > _MOST_VALUES:
            raise _refusal(f"holds more than {_MOST_VALUES:,} values", place)
        if self._depth + height > DEEPEST:
            raise _refusal(f"nests deeper than {DEEPEST} levels", place)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and (forbidden := _FORBIDDEN.search(value)):
            raise _refusal(f"the character U+{ord(forbidden[0]):04X} cannot stand here", node)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # A key that `<<: *base` brings may be given again: that is what merging is for.
        keys = [(self.construct_object(key, deep=True), key) for key, _ in node.value if key.tag != _MERGE]
        mapping = super().construct_mapping(node, deep=True)
        lines: dict[Any, int] = {}
        for key, place in keys:
            if key in lines:
                raise _refusal(f"the key {quoted(key)} is given twice, first on line {lines[key]}", place)
            lines[key] = place.start_mark.line + 1
        return mapping

    def construct_number(self, node: yaml.ScalarNode) -> int | float | str:
        """A number of 64 bits; `1:30`, which YAML 1.1 takes for 90, is a text."""
        whole = node.tag.endswith(":int")
        try:
            # A longer one would take for ever.
            if len(node.value) > _LONGEST_NUMBER:
                raise OverflowError
            if ":" in node.value:
                return str(node.value)
            value = self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)
            if whole and not -(2**63) <= value < 2**63:
                raise OverflowError
            if _ZERO_BEFORE.fullmatch(node.value) and value != int(node.value):
                raise _refusal(f"{node.value} is {value} to some, {int(node.value)} to others; leave the 0 out", node)
        except OverflowError as error:
            raise _refusal(f"{node.value[:40]} has more digits than a number here can have", node) from error
        return value

    def construct_other(self, node: yaml.Node) -> None:
        """What no configuration needs: bytes, sets and ordered pairs."""
        self.construct_undefined(node)


def _below(node: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


class _Refusal(yaml.MarkedYAMLError):
    """What is valid YAML, and not to be read."""


def _refusal(problem: str, place: Any) -> _Refusal:
    return _Refusal(problem=problem, problem_mark=place.start_mark)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*([eE][-+]?\d+)?|\.\d[\d_]*([eE][-+]?\d+)?|\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
    list("-+0123456789."),
)
for _kind in ("binary", "omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_other)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)


class _Dumper(yaml.SafeDumper):
    """Writes a text that `_Loader` would take for a number in quotes."""


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def load(text: str, source: str) -> Any:
    """The plain values in a text; `source` is what an error calls it."""
    if len(text) > LARGEST:
        raise ConfigError(f"{source}: is longer than {LARGEST:,} characters")
    try:
        # A subclass of SafeLoader: builds plain numbers, strings, lists and mappings only.
        return yaml.load(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{source}, line {line}: the character U+{error.character:04X} cannot stand here") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        what = "" if isinstance(error, _Refusal) else "not valid YAML: "
        raise ConfigError(f"{source}{where}: {what}{getattr(error, 'problem', None) or error}") from error
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        # What PyYAML's own constructors let through, of a date in a thirteenth month, say.
        raise ConfigError(f"{source}: not valid YAML: {error}") from error


def load_known(text: str) -> dict[str, Any] | None:
    """As `load`, and quickly where many texts have sections in common; None of what is not written as mpidl writes it.

    Values are shared between texts, and not to be changed. A section begins in a line of its own with a plain word;
    since each must be complete by itself, and none refers to another, the whole is what they say one by one.
    """
    before, *sections = _BEGINNING.split(text)
    if before or not sections or len(text) > _KNOWN_LENGTH or _RELATION.search(text):
        return None
    whole: dict[str, Any] = {}
    for section in map(_section, sections):
        if not isinstance(section, dict) or len(section) != 1 or section.keys() & whole.keys():
            return None
        whole |= section
    return whole


@lru_cache(maxsize=4096)
def _section(text: str) -> Any:
    try:
        return load(text, "")
    except ConfigError:
        return None


def dump(values: Mapping[str, Any]) -> str:
    """The text from which `load` gets the same values."""
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
