"""The `mpidl` command: which commands there are, and what an error looks like.

A command's module is imported when the command is used, so that `mpidl --help` answers at once and starts no MPI.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

from mpidl import __version__
from mpidl.cli.completion import SHELLS
from mpidl.cli.mistakes import COMMANDS_ELSEWHERE, in_our_words
from mpidl.errors import ExitCode, Told, choices_sentence
from mpidl.sentences import describe, printable

# Name: where it is, and what `mpidl --help` says about it.
COMMANDS = {
    "run": ("mpidl.cli.run:run", "Train as a configuration says."),
    "sweep": ("mpidl.cli.sweep:sweep", "Train many times, with other settings each time."),
    "submit": ("mpidl.cli.submit:submit", "Train in a job of Slurm, PBS or LSF, which starts again until it is done."),
    "list": ("mpidl.cli.list:list_parts", "Algorithms, graphs, models, data, splits and schedules that can be named."),
    "info": ("mpidl.cli.info:info", "What one of them is, and its settings."),
    "show": ("mpidl.cli.show:show", "What is in a run file."),
    "evaluate": ("mpidl.cli.evaluate:evaluate", "Measure a model that a run has kept."),
    "analyze": ("mpidl.cli.analyze:analyze", "What the models that a run has kept tell: sharpness, landscape, …"),
    "checkpoint": ("mpidl.cli.checkpoint:checkpoint", "Take out, describe and verify the models that a run has kept."),
    "compare": ("mpidl.cli.compare:compare", "Runs side by side in a table, grouped over seeds."),
    "export": ("mpidl.cli.export:export", "The records of runs as a table for other programs, in CSV or JSON."),
    "plot": ("mpidl.cli.plot:plot", "Pictures of runs: curves with bands of seeds, spread of agents, timing, …"),
    "report": ("mpidl.cli.report:report", "One page about runs: tables, pictures, configurations."),
    "graph": ("mpidl.cli.graph:graph", "A graph's neighbours, weights and spectrum."),
    "partition": ("mpidl.cli.partition:partition", "How a split divides the data: classes × agents."),
    "bench": ("mpidl.cli.bench:bench", "Where the time of a round goes on this machine."),
    "env": ("mpidl.cli.env:env", "A report on this machine and installation, to paste into a bug report."),
    "selftest": ("mpidl.cli.selftest:selftest", "Whether mpidl works on this machine, area by area."),
    "schema": ("mpidl.cli.schema:schema", "The JSON schema of a configuration, for an editor."),
}

_DEBUG = "--debug"
_COMPLETE = "_MPIDL_COMPLETE"


class Commands(click.Group):
    """A group that knows its commands' names and helps, and imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            if ctx.resilient_parsing:
                # A shell that completes a line has nobody to tell.
                return None
            meant = f"; that is `{COMMANDS_ELSEWHERE[name]}`" if name in COMMANDS_ELSEWHERE else ""
            raise click.UsageError(f"command {choices_sentence(name, COMMANDS)}{meant}")
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        for each in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
            if not any(_DEBUG in option.opts for option in each.params):
                each.params.append(
                    click.Option([_DEBUG], is_flag=True, expose_value=False, help="Show the traceback of an error.")
                )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=SHELLS)
@click.version_option(__version__, "-V", "--version", prog_name="mpidl", message="%(prog)s %(version)s")
def commands() -> None:
    """Decentralized and federated training over MPI."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code; every error ends here, in one line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug, output = _DEBUG in words, sys.stdout
    try:
        code = commands.main(words, prog_name="mpidl", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.ClickException as error:
        return _answer(printable(in_our_words(error)), ExitCode.USAGE)
    except click.Abort as error:
        # What click makes of an interrupt.
        return _answer(*describe(error.__cause__ or KeyboardInterrupt()))
    except Told as error:
        return int(error.code or ExitCode.DONE)
    except BaseException as error:
        if isinstance(error, SystemExit) and _COMPLETE in os.environ:
            # Click exits when it has told the shell how a word may go on.
            return int(error.code or ExitCode.DONE)
        # Rich exits where it meets the broken pipe; click later, once it has put something else in the output's place.
        broken = isinstance(error.__context__, BrokenPipeError) or sys.stdout is not output
        if broken and isinstance(error, SystemExit):
            # The reader, such as `head`, has what it wanted; the interpreter must not try to flush the rest at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.DONE
        sentence, exit_code = describe(error)
        if debug:
            traceback.print_exc()
        elif exit_code == ExitCode.INTERNAL:
            sentence += "; run again with --debug for the traceback"
        return _answer(sentence, exit_code)
    return code if isinstance(code, int) else ExitCode.DONE


def _answer(sentence: str, code: int) -> int:
    # The terminal may be closed by now: then there is nobody to tell.
    with suppress(OSError):
        click.echo(f"mpidl: {sentence}", err=True)
    return code
