"""`mpidl schema`: every key of a configuration, for editors and other programs."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """The JSON schema of a configuration, assembled from all registered parts.

    An editor with a YAML language server completes and checks keys with it: write it to a file, and put
    `# yaml-language-server: $schema=FILE` on the first line of a configuration.
    """
    from mpidl.experiment import Config

    click.echo(json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False))
