"""What is said of a command line that click refuses, with what it lacks of a cure."""

from __future__ import annotations

import click

from mpidl.errors import nearest

# What other programs call a command, and how it is said here.
COMMANDS_ELSEWHERE = {
    "help": "mpidl --help, or mpidl COMMAND --help",
    "version": "mpidl --version",
    "resume": "mpidl run CONFIG --resume",
    "train": "mpidl run CONFIG",
    "eval": "mpidl evaluate RUN.h5",
    "watch": "mpidl show RUN.h5 --watch",
    "status": "mpidl show RUN.h5",
    "grid": "mpidl sweep CONFIG -s KEY=VALUE,VALUE",
    "doctor": "mpidl selftest",
}

# By command, what other programs call an option; without a command, in all that have what it is here.
_OPTIONS_ELSEWHERE = {
    ("sweep", "resume", "continue", "overwrite"): "a sweep that is said again does what is missing; remove a "
    "run's file to have it trained anew",
    ("sweep", "j", "jobs", "parallel", "workers"): "say --at-once, and how many runs",
    ("show", "f", "follow"): "say --watch",
    ("run", "continue", "restart"): "say --resume",
    ("", "np", "nproc", "procs", "nprocs", "num-ranks"): "say -n, and how many ranks",
}
# A configuration in which keys are looked for that most have.
_USUAL = {"algorithm": {"name": "dsgd"}, "data": {"name": "digits"}, "model": {"name": "mlp"}}


def in_our_words(error: click.ClickException) -> str:
    """Click's sentence, with the cure."""
    words = error.format_message().replace("is not a valid integer range.", "is not a whole number")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return words
    if isinstance(error, click.NoSuchOption):
        hint = _of_option(context, error.option_name.lstrip("-"))
        return f"No such option '{error.option_name}'; {hint}" if hint else words
    if words.startswith("Invalid value for '-n'") and "'p'" in words:
        return f"{words}; MPI's -np is -n here"
    usage = f"{context.command_path} takes {' '.join(context.command.collect_usage_pieces(context))}"
    if isinstance(error, click.MissingParameter):
        return f"{words.rstrip('.')}: {usage}"
    if not words.startswith("Got unexpected extra argument"):
        return words
    first = words.partition("(")[2].rstrip(")").split(" ")[0]
    hint = f"write -s {first}" if "=" in first else f"{context.command_path} --help shows what it takes"
    return f"{words}: {usage}; {hint}"


def _of_option(context: click.Context, name: str) -> str | None:
    """What to say instead of an option that there is not."""
    options = {option for parameter in context.command.params for option in parameter.opts}
    for (command, *names), hint in _OPTIONS_ELSEWHERE.items():
        if name in names and (command == context.info_name or not command and "-n" in options):
            return hint
    if "-s" not in options:
        return None
    from mpidl.experiment.schema import Config
    from mpidl.keys import elsewhere, walk

    word = name.replace("-", "_")
    path = word if word in dict(walk(Config, _USUAL)) else elsewhere(word, (), Config, _USUAL)
    if path is None:
        return None
    own = {option.lstrip("-") for option in options} - {path}
    meant = nearest(name, [*own, path])
    return f"did you mean --{meant}?" if meant in own else f"settings are said by -s, as in -s {path}=…"
