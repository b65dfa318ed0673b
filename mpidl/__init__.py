"""mpidl: decentralized and federated training with MPI."""

from __future__ import annotations

import typing as _typing

if _typing.TYPE_CHECKING:
    from pathlib import Path

__version__ = "0.1.0"


def train(
    config: _typing.Any,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    quiet: bool = False,
) -> _typing.Any:
    """Trains as a configuration says, in this process, and returns the results, as `mpidl.results.open` does.

    `config` is a mapping, as in YAML, or the path of a file. The run file is `output`, by default
    runs/<name>-s<seed>.h5; one that exists is refused, unless `overwrite` replaces it or `resume` goes on with it.
    `quiet` leaves out what is told of a run while it goes on. MPI need not be started by hand: alone, this process runs
    all agents; where a launcher has started several, each calls this and runs its own.
    """
    # Everything that a run needs takes seconds to import, and starts MPI.
    import importlib

    return importlib.import_module("mpidl.experiment.notebook").train(
        config, output, overwrite=overwrite, resume=resume, quiet=quiet
    )
