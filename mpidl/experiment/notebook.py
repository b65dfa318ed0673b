"""A run from within a program, such as a notebook: configured, trained and read without a command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpidl import results
from mpidl.comm.agreement import agree
from mpidl.comm.start import startup, stopping
from mpidl.experiment.compose import compose
from mpidl.experiment.rank import Beginning, carry_out
from mpidl.experiment.schema import Config, check, load, output_path, resolved
from mpidl.results import Run
from mpidl.training.loop import Hook
from mpidl.training.progress import make_progress


def train(
    config: Config | Mapping[str, Any] | str | Path,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    quiet: bool = False,
) -> Run:
    """See `mpidl.train`."""
    if isinstance(config, (str, Path)):
        loaded = load(config)
    elif isinstance(config, Mapping):
        loaded = resolved(config)
    else:
        loaded = config
    path = output_path(loaded, output)
    # What an earlier run of this process was asked is no wish about this one.
    stopping.forget()
    comm = startup.start(loaded.train.device, loaded.train.threads)
    beginning = Beginning(overwrite, resume)
    beginning.agree(comm)
    check(loaded, comm.size, path, overwrite, resume)
    run = compose(loaded, comm, path.parent)
    agree(comm, {"the run file": str(path)}, "give all ranks the same output")
    if quiet:
        carry_out(run, path, beginning, lambda sentence: None, lambda longest: Hook())
    else:
        carry_out(run, path, beginning, lambda sentence: print(sentence, file=sys.stderr), make_progress)
    return results.open(path)
