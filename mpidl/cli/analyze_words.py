"""What a command line of `mpidl analyze` says: which runs, which kinds of findings, and how they are to be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpidl.cli import runs as given
from mpidl.errors import ConfigError, choices_sentence

KINDS = {
    "sharpness": "eigenvalues and trace of the Hessian, SAM's sharpness, sharpness in the agents' own directions",
    "landscape": "the loss on a line between models, on a random plane, and on one through three agents",
    "alignment": "cosines of agents' gradients and their variance T, over the rounds that were kept",
    "uncertainty": "the agents as a sample of models: entropy, mutual information, calibration, disagreement",
    "compression": "what packing rows has lost in the recorded rounds, beside what theory allows; needs no model",
}

# Options about one run, or one file.
_OF_ONE = {"output": "-o", "to": "--to", "agents": "--agents"}


@dataclass(frozen=True)
class CommandLine:
    """What a command line says that is for every rank. `runs` are run files; one alone may be a checkpoint."""

    runs: tuple[Path, ...]
    kinds: tuple[str, ...]
    options: dict[str, Any]

    def __post_init__(self) -> None:
        for name, option in _OF_ONE.items():
            if len(self.runs) > 1 and self.options.get(name) is not None:
                raise ConfigError(f"is for one run, and here are {len(self.runs)}; leave it out", option)

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is about a checkpoint, which is a folder."""
        return self.runs[0].is_dir()

    def output(self, run: Path) -> Path:
        """Where the findings about a run go."""
        from mpidl.results.findings import beside

        output: Path | None = self.options["output"]
        return beside(run) if output is None else output

    def three(self) -> tuple[int, int, int] | None:
        """The agents that span a plane, if they were chosen."""
        text = self.options["agents"]
        if text is None:
            return None
        parts = [part.strip() for part in text.split(",")]
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts) or len(set(parts)) < 3:
            raise ConfigError(f"{text!r} is not three different agents, such as 0,3,5", "--agents")
        first, second, third = map(int, parts)
        return first, second, third

    def program(self) -> list[str]:
        """What every rank executes."""
        from mpidl.launch.command import this_mpidl

        words = this_mpidl("analyze", *map(str, self.runs), *self.kinds)
        for name, value in self.options.items():
            name = name.replace("_", "-")
            if value is True:
                words.append(f"--{name}")
            elif value is not None and value is not False:
                for each in value if isinstance(value, tuple) else (value,):
                    words += [f"--{name}", str(each)]
        return words


def read(words: Sequence[str], of_round: str | None) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The runs and the kinds that these words name; a folder or a pattern names all run files in it."""
    kinds = tuple(word for word in words if word in KINDS)
    named = [word for word in words if word not in KINDS]
    for word in named[1:]:
        if not _is_place(word):
            raise ConfigError(choices_sentence(word, KINDS), "KIND")
    if not named:
        raise ConfigError("name a run to be analysed", "RUN.h5")
    checkpoints = [word for word in named if _is_checkpoint(Path(word))]
    if checkpoints and len(named) > 1:
        raise ConfigError(f"{checkpoints[0]!r} is a checkpoint, which is analysed alone", "RUN.h5")
    if checkpoints:
        from mpidl.cli.checkpoint import one_checkpoint

        return (one_checkpoint(Path(named[0]), of_round).path,), kinds
    return tuple(run.path for run in given.all_opened(named)), kinds


def _is_place(word: str) -> bool:
    return "/" in word or "*" in word or Path(word).suffix != "" or Path(word).exists()


def _is_checkpoint(path: Path) -> bool:
    from mpidl.results.checkpoints.index import INDEX

    return path.is_dir() and (path.suffix == ".ckpt" or (path / INDEX).exists())
