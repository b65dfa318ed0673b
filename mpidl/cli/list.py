"""`mpidl list`: the names that a configuration can use."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import click

from mpidl.errors import choices_sentence
from mpidl.registry import Part, Registry

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


class _Kind(click.Choice[str]):
    """One of the kinds; a typing error is answered with the nearest."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in KINDS:
            raise click.UsageError(f"kind {choices_sentence(value, KINDS)}")
        return value


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
