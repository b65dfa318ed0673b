"""What a shell offers when a word is begun: names of parts, and keys of a configuration with their values.

Click's own mechanism asks these, in a process of its own for each press of the key: nothing here imports torch, and
what cannot be read is not completed.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from mpidl.errors import MpidlError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

SHELLS = """Completion of commands, names and -s keys: bash and zsh have
eval "$(_MPIDL_COMPLETE=bash_source mpidl)" (or zsh_source) in their start-up file, fish
_MPIDL_COMPLETE=fish_source mpidl | source."""


def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """All that can be named, for `mpidl info`."""
    from mpidl.cli.list import KINDS, registry_of, sections

    kinds = {name: registry_of(kind).kind for kind in KINDS for name in registry_of(kind)}
    return _beginning(incomplete, dict.fromkeys(sections(), "section") | kinds)


def graphs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Graphs, or the last one of several: `ring,tor`."""
    from mpidl.graphs import GRAPHS

    before, comma, _ = incomplete.rpartition(",")
    return _beginning(incomplete, {f"{before}{comma}{name}": "" for name in GRAPHS})


def settings(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Keys of the configuration that the line names, `key=`, and after it the values that there are."""
    from mpidl import config as reading
    from mpidl import keys
    from mpidl.experiment import Config

    # Click leaves the argument over where an option before it still lacks its value.
    configuration = ctx.params.get("config") or next(iter(ctx.args), None)
    given: dict[str, Any] = {}
    if configuration is not None:
        # One that cannot be read has the keys of every one.
        with suppress(MpidlError):
            given = reading.override(reading.read(Path(configuration)), ctx.params.get(param.name or "") or ())
    known = dict(keys.walk(Config, given))
    key, equals, _ = incomplete.partition("=")
    if not equals:
        return _beginning(incomplete, {f"{path}=": field.description or "" for path, field in known.items()})
    above = known.get(key.rpartition(".")[0])
    field = above if key.endswith(".name") and above is not None else known.get(key)
    return [] if field is None else _beginning(incomplete, {f"{key}={value}": "" for value in _values(field)})


def _values(field: FieldInfo) -> Iterator[str]:
    """What may be written after a key, where that is one of a few words."""
    from mpidl.keys import registry_of

    yield from registry_of(field) or ()
    for option in _options(field.annotation):
        if option is bool:
            yield from ("true", "false")
        elif option is type(None):
            yield "null"
        elif typing.get_origin(option) is typing.Literal:
            yield from map(str, typing.get_args(option))


def _options(annotation: Any) -> Iterable[Any]:
    """The types that a key may have."""
    several = not inspect.isclass(annotation) and typing.get_origin(annotation) is not typing.Literal
    return typing.get_args(annotation) if several else (annotation,)


def _beginning(incomplete: str, offered: dict[str, str]) -> list[CompletionItem]:
    return [CompletionItem(word, help=text) for word, text in offered.items() if word.startswith(incomplete)]
