"""`mpidl info NAME`: what a part is, and its settings."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mpidl.cli import completion
from mpidl.cli.list import KINDS, registry_of, sections
from mpidl.cli.tables import console
from mpidl.config import Duration, validate
from mpidl.errors import ConfigError, quoted, suggestion
from mpidl.keys import walk
from mpidl.registry import Part, Registry

_BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
_LENGTHS = {"minItems": "at least {} items", "maxItems": "at most {} items"}
_PAPER_WIDTH = 120
# What a plain function asks for, by which it is told what it makes; any other makes data.
_ASKED = {"example_shape": "model", "outputs": "model", "agents": "graph", "module": "loss"}
# What can be written as a number or in words, by the types of JSON that it may have.
_WORDS = {
    ("integer", "number", "string"): "rounds, 'N epochs' or a fraction",
    ("integer", "string"): "bytes, 'N MB' or 'N GB'",
    ("number", "string"): "seconds, 'N min' or 'N h'",
}
_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true | false", "null": "null"}


@click.command()
@click.argument("name", shell_complete=completion.names)
def info(name: str) -> None:
    """What NAME is (an algorithm, graph, model, …): its whole description and a table of its settings.

    Parts of your own are named as package.module:attribute; a plain function is shown as the model, graph, loss or data
    that it makes by what it asks for.
    """
    without_names = sections()
    registries = {kind: registry_of(kind) for kind in KINDS}
    holders = [registry for registry in registries.values() if name in registry]
    if ":" in name:
        holders = [_kind_of(name, registries.values())]
    if not holders and name not in without_names:
        known = {known for registry in registries.values() for known in registry} | set(without_names)
        raise ConfigError(f"{quoted(name)} is not known{_meant(name, known)}")
    described: list[tuple[str, Any, type[BaseModel]]] = [
        (registry.kind, registry.find(name), registry.settings(name)) for registry in holders
    ]
    if name in without_names:
        described.append(("section", without_names[name], without_names[name]))
    for place, (kind, what, settings) in enumerate(described):
        if place:
            click.echo()
        click.secho(f"{kind} {name}", bold=True)
        click.echo(f"\n{inspect.getdoc(what)}\n")
        for line in _facts(name, what, settings):
            click.echo(line)
        _print_table([("key", "type", "range", "default", "meaning"), *settings_rows(settings)])


def _meant(name: str, known: Iterable[str]) -> str:
    """What to ask instead of what is neither part nor section: the list of a kind, who has a key, or a like name."""
    from mpidl.experiment import Config

    kinds = [kind for kind in KINDS if kind.startswith(name)]
    if len(kinds) == 1 or name in KINDS:
        return f"; `mpidl list {name if name in KINDS else kinds[0]}` names these"
    for path, field in walk(Config, {}):
        section = path.partition(".")[0]
        if name in (path, path.rpartition(".")[2]):
            of = f"`mpidl info {section}`" if section in sections() else f"`mpidl info` of the {section}, by its name,"
            return f"; it is a key, {field.description}: {of} shows it, if that has it" if "." in path else ""
    module, dot, attribute = name.rpartition(".")
    if dot:
        attribute = "attribute" if attribute == "py" else attribute
        return f"; a part of your own is named module:attribute, as in {module}:{attribute}"
    return f"{suggestion(name, known)} (`mpidl list` names all)"


def _facts(name: str, what: Any, settings: Any) -> Iterator[str]:
    """What an algorithm says of its cost with the settings that it has by default, beside its docstring."""
    from mpidl.algorithms.base import Algorithm

    if not (inspect.isclass(what) and issubclass(what, Algorithm)):
        return
    try:
        default = validate(settings, {"name": name})
    except ConfigError as error:
        yield f"what a round costs              by `mpidl run --dry-run` only, since defaults are not enough: {error}\n"
        return
    yield f"gradients per agent and round   {what.gradients(default)}"
    yield f"rows sent per agent and round   {what.messages(default)}\n"


def _kind_of(name: str, registries: Iterable[Registry[Any, Part]]) -> Registry[Any, Part]:
    """The registry for which `module:attribute` is a part; of a plain function what it asks for tells the kind."""
    by_kind = {registry.kind: registry for registry in registries}
    refusals = []
    for registry in by_kind.values():
        try:
            part = registry.find(name)
        except ConfigError as error:
            refusals.append(error)
            continue
        if inspect.isclass(part) and part.__module__ == name.partition(":")[0]:
            return registry
    if len(refusals) == len(by_kind):
        raise refusals[0]
    module, _, attribute = name.partition(":")
    parameters = inspect.signature(getattr(sys.modules[module], attribute)).parameters
    return by_kind[next((kind for asked, kind in _ASKED.items() if asked in parameters), "data")]


def settings_rows(settings: Any) -> Iterator[tuple[str, str, str, str, str]]:
    """Key, type, range, default and meaning of each setting of a part; `name` is not one."""
    schema = settings.model_json_schema()
    definitions = schema.get("$defs", {})
    required = schema.get("required", [])
    fields = {field.alias or key: field for key, field in settings.model_fields.items()}
    for key, described in schema.get("properties", {}).items():
        if key == "name":
            continue
        kind, limits = _type(described, definitions)
        default = "(needed)" if key in required else _default(fields[key])
        yield key, kind, limits, default, fields[key].description or described.get("description", "")


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[str, str]:
    """How a setting's JSON schema reads to a person: its type, and the range of values."""
    if "$ref" in schema:
        return _type(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "const" in schema or "enum" in schema:
        return " | ".join(_plain(value) for value in schema.get("enum", [schema.get("const")])), ""
    if "anyOf" in schema:
        # A part is shown by its name alone, which stands among the options beside the mappings that hold its keys.
        shown = [option for option in schema["anyOf"] if "name" not in option.get("properties", {})] or schema["anyOf"]
        options = [_type(option, definitions) for option in shown]
        kinds, ranges = (dict.fromkeys(filter(None, column)) for column in zip(*options, strict=True))
        return " | ".join(kinds), ", ".join(ranges)
    if "name" in schema.get("properties", {}):
        return _plain(schema["properties"]["name"].get("const", "a part")), ""
    if schema.get("type") == "array":
        kind, limits = _type(schema.get("items", {}), definitions)
        counts = [words.format(schema[bound]) for bound, words in _LENGTHS.items() if bound in schema]
        return f"list of {kind}", ", ".join(filter(None, [limits, *counts]))
    if isinstance(schema.get("type"), list):
        return _WORDS[tuple(schema["type"])], ""
    limits = ", ".join(words.format(_plain(schema[bound])) for bound, words in _BOUNDS.items() if bound in schema)
    return _TYPES.get(schema.get("type", ""), schema.get("type", "any")), limits


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if isinstance(default, Duration):
        return str(default)
    if isinstance(default, BaseModel):
        set_keys = default.model_dump(mode="json", exclude_unset=True)
        return default.name if isinstance(default, Part) and set_keys.keys() <= {"name"} else _plain(set_keys)
    return _plain(default)


def _plain(value: Any) -> str:
    """As it would be written in YAML."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False, default=str)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table

    if not rows[1:]:
        click.echo("It has no settings.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, title in enumerate(rows[0]):
        table.add_column(title, overflow="fold", no_wrap=name == 0)
    for row in rows[1:]:
        table.add_row(*row)
    console(paper=_PAPER_WIDTH).print(table)
