"""Options that several commands have: said and read alike in all of them, each telling what it means there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mpidl.cli import completion
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from mpidl.launch.hosts import Hosts

Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)


def ranks(meaning: str, **more: Any) -> Callable[[Command], Command]:
    """`-n`, how many ranks."""
    return click.option("-n", "--ranks", type=click.IntRange(min=1), metavar="RANKS", help=meaning, **more)


def hosts() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--hosts` and `--hostfile`, of which one at most is given: the hosts of the ranks, as parameter `hosts`."""
    listed = click.option(
        "--hosts",
        metavar="A:4,B:4",
        help="Hosts on which ranks are started by ssh, and how many ranks each has room for; default: this one.",
    )
    filed = click.option(
        "--hostfile",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The same from a file, with a line for each, such as 'a slots=4'.",
    )

    def taking(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_hosts(*words: Any, hosts: str | None, hostfile: Path | None, **more: Any) -> Any:
            return command(*words, hosts=_hosts(hosts, hostfile), **more)

        return listed(filed(with_hosts))

    return taking


def _hosts(listed: str | None, file: Path | None) -> Hosts | None:
    if listed is None and file is None:
        return None

    from mpidl.launch import hosts, surroundings

    if listed is not None and file is not None:
        raise ConfigError("names hosts, as --hosts does; leave one of them out", "--hostfile")
    found = hosts.parse(listed) if listed is not None else hosts.read(file or Path())
    if surroundings.is_rank():
        raise ConfigError(
            "ranks were started already, where their launcher was told to; leave the option out", found.key
        )
    return found


def settings(name: str, meaning: str, **more: Any) -> Callable[[Command], Command]:
    """`-s`, keys of a configuration; `name` is the parameter that takes them."""
    more = {"metavar": "KEY=VALUE", "shell_complete": completion.settings, **more}
    return click.option("-s", "--set", name, multiple=True, help=meaning, **more)


def metrics(meaning: str) -> Callable[[Command], Command]:
    """`-m`, names of metrics."""
    return click.option("-m", "--metric", "metrics", multiple=True, metavar="NAME", help=meaning)


def grouping(meaning: str) -> Callable[[Command], Command]:
    """`--by` and `--no-group`, of which one at most is given; `meaning` is what is one by default, and without."""
    words = "Group runs by this key, as algorithm or lr; may be repeated."
    by = click.option("--by", multiple=True, metavar="KEY", callback=_not_both, help=words)
    group = click.option("--group/--no-group", default=True, callback=_not_both, help=meaning)
    return lambda command: by(group(command))


def _not_both(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Asked of each of the two as it is read."""
    read = context.params | {parameter.name: value}
    if read.get("by") and not read.get("group", True):
        raise ConfigError("groups runs, which --no-group asks not to do; leave one of them out", "--by")
    return value


def output(metavar: str, meaning: str, **more: Any) -> Callable[[Command], Command]:
    """`-o`, what is written."""
    return click.option("-o", "--output", type=click.Path(path_type=Path), metavar=metavar, help=meaning, **more)


def overwrite(meaning: str = "Replace an existing file.") -> Callable[[Command], Command]:
    """`--overwrite`, for what `-o` names."""
    return click.option("--overwrite", is_flag=True, help=meaning)


def allow_changes(meaning: str) -> Callable[[Command], Command]:
    """`--allow-changes`, keys in which a run that goes on may differ."""
    return click.option("--allow-changes", "allowed", multiple=True, metavar="KEY", help=meaning)


def model() -> Callable[[Command], Command]:
    """`--model`, which of the models that a run has kept of a round."""
    meaning = "consensus, server, or an agent's number; default: what all hold."
    return click.option("--model", metavar="MODEL", help=meaning)


def of_round() -> Callable[[Command], Command]:
    """`--round`, of which models are kept; `round_or_best` reads it."""
    meaning = "A round that models are kept of, or best; default: the last."
    return click.option("--round", "of_round", metavar="ROUND", help=meaning)


def plug_ins(whose: str = "the run file") -> Callable[[Command], Command]:
    """`--plug-ins`, for code that a file names."""
    meaning = f"Let code that {whose} names, and mpidl does not bring, run."
    return click.option("--plug-ins", is_flag=True, help=meaning)


def round_or_best(text: str | None) -> int | str | None:
    """A round as it is written on a command line: a number, or "best"; None for the last."""
    if text == "last":
        return None
    return int(text) if text is not None and text.isascii() and text.isdigit() else text
