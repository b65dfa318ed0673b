"""Copies of a run's records in what people watch elsewhere: TensorBoard's event files, Weights & Biases.

The run file stays the record of a run. A mirror is on rank 0 alone, its package is imported where it is asked for, and
one that fails is given up with a warning. What is written is what the run file has: nothing is told that it lacks.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from mpidl.errors import ConfigError, choices_sentence, quoted
from mpidl.results.layout import as_text

_EVENTS = "events.out.tfevents.*"
# For a server that does not answer: all ranks wait for rank 0.
_SECONDS = 30


@dataclass(frozen=True)
class Mirrored:
    """A run as a mirror knows it: its file, its keys, a text that is its own, and the round it goes on from, if so."""

    run_file: Path
    keys: Mapping[str, Any]
    identity: str
    after: int | None = None


class Mirror(ABC):
    """Where records are copied to."""

    package: str
    """What it needs, which is an extra of this package too."""

    @abstractmethod
    def __init__(self, run: Mirrored) -> None:
        """Begins, or goes on."""

    @abstractmethod
    def write(self, numbers: Mapping[str, float], round: int) -> None:
        """A record, by name."""

    @abstractmethod
    def flush(self) -> None:
        """Records so far are to be seen."""

    @abstractmethod
    def close(self, status: str) -> None:
        """At the end of the run, which may have failed."""


class TensorBoard(Mirror):
    """Event files in a folder beside the run file, as `runs/first.tb`; of a round done again the later one counts."""

    package = "tensorboard"

    def __init__(self, run: Mirrored) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run.run_file.with_name(f"{run.run_file.stem}.tb")
        if run.after is None:
            # Of a run that is replaced.
            for old in folder.glob(_EVENTS):
                old.unlink()
        self._writer = SummaryWriter(str(folder), purge_step=None if run.after is None else run.after + 1)
        if run.after is None:
            self._writer.add_text("configuration", f"```yaml\n{as_text(run.keys)}```")

    def write(self, numbers: Mapping[str, float], round: int) -> None:
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, round)

    def flush(self) -> None:
        self._writer.flush()

    def close(self, status: str) -> None:
        self._writer.close()


class WeightsAndBiases(Mirror):
    """A run of the project in WANDB_PROJECT, or `mpidl`; with WANDB_MODE=offline in a folder beside the run file.

    Steps can only grow there, and rounds that are done again would be lost: rounds are a metric, and the axis of all.
    """

    package = "wandb"

    def __init__(self, run: Mirrored) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "mpidl"),
            name=run.run_file.stem,
            id=hashlib.sha256(run.identity.encode()).hexdigest()[:16],
            resume="allow",
            dir=str(run.run_file.parent),
            config=dict(run.keys),
            # What ranks print is the launcher's to show.
            settings=wandb.Settings(console="off", init_timeout=_SECONDS),
        )
        self._run.define_metric("round")
        self._run.define_metric("*", step_metric="round")

    def write(self, numbers: Mapping[str, float], round: int) -> None:
        self._run.log({**numbers, "round": round})

    def flush(self) -> None:
        """It sends on by itself."""

    def close(self, status: str) -> None:
        self._run.finish(exit_code=0 if status == "finished" else 1)


MIRRORS: Mapping[str, type[Mirror]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def _listed(value: Any) -> Any:
    if isinstance(value, bool | int | float | dict):
        raise ConfigError(f"{quoted(value)} is not allowed: name {' or '.join(MIRRORS)}, or a list of them")
    return (value,) if isinstance(value, str) else value


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in MIRRORS:
            raise ConfigError(choices_sentence(name, MIRRORS))
    return tuple(dict.fromkeys(names))


Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_listed),
    AfterValidator(_known),
]
"""Mirrors as a configuration names them: one, or a list, each once."""


def check(names: Iterable[str]) -> None:
    """Refuses mirrors whose packages are not installed; imports none."""
    for name in names:
        package = MIRRORS[name].package
        if find_spec(package) is None:
            raise ConfigError(
                f"{name!r} needs the package {package}, which is not installed: pip install 'mpidl[{name}]'",
                "train.log",
            )
