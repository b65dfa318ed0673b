"""`mpidl list`: the names that a configuration can use."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

import click

from mpidl.errors import choices_sentence
from mpidl.registry import Part, Registry

if TYPE_CHECKING:
    from pydantic import BaseModel

# What a user calls a kind: where its registry is.
KINDS = {
    "algorithms": "mpidl.algorithms:ALGORITHMS",
    "directions": "mpidl.algorithms.directions:DIRECTIONS",
    "servers": "mpidl.algorithms.federated.servers:SERVERS",
    "graphs": "mpidl.graphs:GRAPHS",
    "schemes": "mpidl.comm.gossip.schemes:SCHEMES",
    "compressors": "mpidl.compressors:COMPRESSORS",
    "models": "mpidl.models:MODELS",
    "losses": "mpidl.models:LOSSES",
    "data": "mpidl.data:DATA",
    "splits": "mpidl.data.splits:SPLITS",
    "schedules": "mpidl.training:SCHEDULES",
}


def registry_of(kind: str) -> Registry[Any, Part]:
    """The registry of `algorithms`, `graphs` and so on."""
    module, _, attribute = KINDS[kind].partition(":")
    registry: Registry[Any, Part] = getattr(importlib.import_module(module), attribute)
    return registry


def sections() -> dict[str, type[BaseModel]]:
    """The sections of a configuration that name no part, such as `train`."""
    from mpidl.experiment import Config
    from mpidl.keys import section_of

    found = {key: section_of(field.annotation) for key, field in Config.model_fields.items()}
    return {key: section for key, section in found.items() if section is not None and not issubclass(section, Part)}


class _Kind(click.Choice[str]):
    """One of the kinds, or the beginning of one: `graph`. A typing error is answered with the nearest."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        meant = [kind for kind in KINDS if kind == value] or [
            kind for kind in KINDS if value and kind.startswith(value)
        ]
        if len(meant) != 1:
            part = any(value in registry_of(kind) for kind in KINDS)
            hint = f"; `mpidl info {value}` describes that part" if part else ""
            raise click.UsageError(f"kind {choices_sentence(value, KINDS)}{hint}")
        return meant[0]


@click.command("list")
@click.argument("kind", required=False, type=_Kind(list(KINDS)), metavar="[KIND]")
def list_parts(kind: str | None) -> None:
    """The parts that a configuration can name, each in a line; KIND limits them to one kind.

    Wherever a name may stand, `package.module:attribute` of your own may stand too.
    """
    for shown in [kind] if kind else KINDS:
        registry = registry_of(shown)
        if kind is None:
            click.secho(f"{shown}:", bold=True)
        width = max(map(len, registry), default=0)
        for name in registry:
            first_line = (inspect.getdoc(registry.find(name)) or "").partition("\n")[0]
            click.echo(f"{'' if kind else '  '}{name:<{width}}  {first_line}")
