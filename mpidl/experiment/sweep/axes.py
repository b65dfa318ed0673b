"""What `-s` says in a sweep: which keys take which values, and how a run is called after those that are its own.

Values stand between commas: `algorithm.lr=0.01,0.1`. Each is YAML, so that a list or what is in quotes is one value;
`1:5` stands for 1, 2, 3, 4, 5, and what is only like that is refused.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mpidl import notation
from mpidl.errors import ConfigError, quoted

MOST_MEMBERS = 10_000
"""Each is checked before any is run, and has a file of its own."""

_RANGE = re.compile(r"\s*(-?\d{1,18}):(-?\d{1,18})\s*")
_LIKE_A_RANGE = re.compile(r"[\s\d.+-]*(:[\s\d.+-]*)+")
_PLAIN = re.compile(r"[a-z0-9+.-]+")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9+.-]+")
# Of a value, and of a file without its ending: systems allow 255 bytes, and other files are called after it.
_LONGEST_VALUE, _LONGEST_NAME = 40, 180


@dataclass(frozen=True)
class Axis:
    """A key and its values, as they are written; one value is no more than an override."""

    key: str
    values: Sequence[str]

    @property
    def is_swept(self) -> bool:
        return len(self.values) > 1


def read(assignments: Iterable[str]) -> list[Axis]:
    """The keys in their order, once it is seen that each is given once, and that there are not too many runs."""
    axes: list[Axis] = []
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"-s wants key=value, or key=value,value,…, not {quoted(assignment)}")
        if any(axis.key == key for axis in axes):
            raise ConfigError(f"is given twice; write all its values after one -s, as in {key}=1,2,3", key)
        axes.append(Axis(key, _values(key, text)))
    if count(axes) > MOST_MEMBERS:
        raise ConfigError(f"{described(axes)} are {count(axes):,} runs, and a sweep has at most {MOST_MEMBERS:,}", "-s")
    for axis in axes:
        _refuse_repeated(axis)
    return axes


def count(axes: Sequence[Axis]) -> int:
    """How many runs there are."""
    return math.prod(len(axis.values) for axis in axes)


def described(axes: Sequence[Axis]) -> str:
    """`3 values of algorithm.lr × 5 of seed`; empty where nothing is swept."""
    swept = [axis for axis in axes if axis.is_swept]
    return " × ".join(
        f"{len(axis.values):,} {'of' if number else 'values of'} {axis.key}" for number, axis in enumerate(swept)
    )


def combinations(axes: Sequence[Axis]) -> Iterator[dict[str, str]]:
    """For each run, the text of every key; the last key changes fastest."""
    keys = [axis.key for axis in axes]
    for values in itertools.product(*(axis.values for axis in axes)):
        yield dict(zip(keys, values, strict=True))


def _values(key: str, text: str) -> Sequence[str]:
    pieces = _pieces(text)
    if len(pieces) > 1 and not all(piece.strip() for piece in pieces):
        raise ConfigError(f"a value is missing beside a comma in {quoted(text)}", key)
    values: list[str] = []
    for piece in pieces:
        match = _RANGE.fullmatch(piece)
        if match is None:
            if _LIKE_A_RANGE.fullmatch(piece):
                raise ConfigError(f"{quoted(piece)} is no range; say first:last, whole numbers, as in 1:5", key)
            values.append(piece)
            continue
        first, last = int(match[1]), int(match[2])
        if last < first:
            raise ConfigError(f"{piece.strip()} is empty; say {last}:{first}, both included", key)
        if last - first >= MOST_MEMBERS:
            many = last - first + 1
            raise ConfigError(f"{piece.strip()} is {many:,} values, and a sweep has at most {MOST_MEMBERS:,} runs", key)
        values += map(str, range(first, last + 1))
    return values


def _pieces(text: str) -> list[str]:
    """The parts between commas that are in no quotes and no brackets; the whole where one of these has no end."""
    pieces, begin, depth, quote, before = [], 0, 0, "", ","
    for place, character in enumerate(text):
        if quote:
            # A quote within is written twice, which closes and opens; in double quotes it may stand behind a backslash.
            if character == quote and not (quote == '"' and _is_escaped(text, place)):
                quote = ""
        elif character in "'\"" and before in ",[{:'\"":
            # Elsewhere it is an apostrophe.
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and not depth:
            pieces.append(text[begin:place])
            begin = place + 1
        before = before if character.isspace() else character
    return [text] if quote or depth else [*pieces, text[begin:]]


def _is_escaped(text: str, place: int) -> bool:
    before = text[:place]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _refuse_repeated(axis: Axis) -> None:
    if not axis.is_swept:
        return
    seen: set[str] = set()
    for value in axis.values:
        known = _written(_loaded(axis.key, value))
        if known in seen:
            raise ConfigError(f"{value.strip()} is given twice; each value is one run", axis.key)
        seen.add(known)


def _loaded(key: str, value: str) -> Any:
    return notation.load(value, f"-s {quoted(f'{key}={value}')}")


def _written(value: Any) -> str:
    # A date is plain YAML, too.
    return json.dumps(value, sort_keys=True, default=str)


def names(axes: Sequence[Axis]) -> list[str]:
    """What each run is called after: `lr=0.1_seed=3`, the same whichever other values a key has; safe in any system.

    Empty where nothing is swept.
    """
    swept = [axis for axis in axes if axis.is_swept]
    short = _short([axis.key for axis in swept])
    words = [[f"{short[axis.key]}={_word(_loaded(axis.key, value))}" for value in axis.values] for axis in swept]
    # In the order of `combinations`: there, a key that is not swept has one value.
    whole = map("_".join, itertools.product(*words))
    return [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}-{_digest(name)}" for name in whole]


def _short(keys: Sequence[str]) -> dict[str, str]:
    """For each key as much of its end as tells it from the others."""
    short = {}
    for key in keys:
        words = key.split(".")
        ends = [".".join(words[begin:]) for begin in reversed(range(len(words)))]
        alone = next((end for end in ends if not any(other != key and _ends(other, end) for other in keys)), key)
        short[key] = _NOT_PLAIN.sub("-", alone.replace("_", "-")) if not re.fullmatch(r"[\w.-]+", alone) else alone
    return short


def _ends(key: str, end: str) -> bool:
    return key == end or key.endswith(f".{end}")


def _word(value: Any) -> str:
    """The value in a file's name; what is not told whole is told by a digest, so that no two values have one word."""
    text = value if isinstance(value, str) else _written(value)
    plain = _PLAIN.fullmatch(text) is not None and len(text) <= _LONGEST_VALUE
    if plain and isinstance(value, str):
        # `"1"` in quotes is no number, and has another word; so has what differs in capitals alone.
        plain = _needs_no_quotes(text)
    if plain:
        return text
    return f"{_NOT_PLAIN.sub('-', text)[:_LONGEST_VALUE].strip('-')}-{_digest(_written(value))}"


def _needs_no_quotes(text: str) -> bool:
    try:
        return bool(_loaded("", text) == text)
    except ConfigError:
        # A number beyond 64 bits, but for its quotes.
        return False


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
