"""`mpidl schema`: every key of a configuration, for editors and other programs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mpidl.cli import options
from mpidl.errors import ConfigError


@click.command()
@options.output("OUT.json", "Write it there; default: standard output.")
def schema(output: Path | None) -> None:
    """The JSON schema of a configuration, assembled from all registered parts.

    An editor with a YAML language server completes and checks keys with it: write it to a file with -o, and put
    `# yaml-language-server: $schema=FILE` on the first line of a configuration.
    """
    # What is named by mistake may be a configuration.
    if output is not None and output.suffix != ".json":
        raise ConfigError(f"a schema is JSON: {str(output)!r} should end in .json", "-o")

    from mpidl.experiment import Config

    text = json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False)
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{str(output)!r} cannot be written: {error.strerror}", "-o") from error
    click.echo(str(output))
