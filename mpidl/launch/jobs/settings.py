"""What a job asks its scheduler for, and the profiles of sites that hold a cluster's defaults.

Profiles stand in `~/.config/mpidl/sites.yaml` (or below XDG_CONFIG_HOME), each under the name of its cluster:

    hopper:
      scheduler: slurm
      partition: gpu
      gpus_per_node: 4
      time: 12 h
      modules: [python/3.12, openmpi/5]
      prologue: [source ~/venvs/mpidl/bin/activate]
      directives: [--qos=normal]
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, WithJsonSchema, field_validator

from mpidl import config as reading
from mpidl.errors import ConfigError, choices_sentence, quoted

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_LONGEST = 10**8


def clock(value: Any) -> int:
    """Seconds of `02:00:00`, `1-12:00:00`, `90 min` or `12 h`; ValueError for all else.

    No bare number: it would be minutes to one scheduler and seconds to another; and no `10:00`, which is ten minutes or
    ten hours. But YAML reads 12:00:00 as a whole number, of seconds.
    """
    cure = "write 02:00:00 (hours, minutes, seconds), 1-12:00:00 (a day more), '90 min' or '12 h'"
    if isinstance(value, int) and not isinstance(value, bool) and 3600 <= value <= _LONGEST:
        return value
    text = str(value).strip()
    if parts := re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,4}):([0-5]\d):([0-5]\d)", text):
        days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
        length = ((24 * days + hours) * 60 + minutes) * 60 + seconds
    elif parts := re.fullmatch(r"(\d{1,8}(?:\.\d{1,3})?)\s*(s|min|h|d)", text):
        length = round(float(parts[1]) * _UNITS[parts[2]])
    else:
        raise ValueError(f"{quoted(value)} is no time; {cure}")
    if not 0 < length <= _LONGEST:
        raise ValueError(f"{quoted(value)} is no time to run in; {cure}")
    return length


Clock = Annotated[
    int,
    BeforeValidator(clock),
    WithJsonSchema({"type": "string", "description": "02:00:00, '90 min' or '12 h'"}),
]


class JobSettings(reading.Strict):
    """What a job asks for; a site's profile holds some of it, and the command line the rest."""

    scheduler: Literal["slurm", "pbs", "lsf"] | None = Field(
        None, description="whose commands to use; null: the one that is found"
    )
    nodes: PositiveInt = Field(1, description="how many machines")
    ranks: PositiveInt | None = Field(None, description="how many ranks in all; null: one per GPU")
    cores_per_rank: PositiveInt | None = Field(None, description="processor cores of a rank; null: train.threads, or 1")
    gpus_per_node: NonNegativeInt = Field(0, description="GPUs of a machine; ranks share them where they are more")
    cores_per_node: PositiveInt | None = Field(
        None, description="how many cores a machine has, so that a job which asks for more is refused; null: not known"
    )
    time: Clock | None = Field(
        None, description="after which the scheduler ends the job; null: the scheduler's default"
    )
    notice: Clock = Field(120, description="how long before that the run is told to stop after a checkpoint")
    account: str | None = Field(None, description="who pays")
    partition: str | None = Field(None, description="Slurm's partition, the queue of the others")
    launcher: str | None = Field(
        None, description="what starts the ranks: srun, or a launcher by its name or path; null: that of the MPI"
    )
    modules: tuple[str, ...] = Field((), description="what `module load` loads before the run, in this order")
    prologue: tuple[str, ...] = Field((), description="lines of the shell before the run, such as source …/activate")
    directives: tuple[str, ...] = Field(
        (), description="more for the scheduler, as in --qos=high, each on a line of its own"
    )

    @field_validator("account", "partition", "launcher", "modules", "prologue", "directives")
    @classmethod
    def _on_one_line(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for text in (value,) if isinstance(value, str) else value or ():
            if "\n" in text or not text.strip():
                raise ValueError(f"{quoted(text)} is not a line")
        return value


def sites_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the profiles stand."""
    above = environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or "~").expanduser() / ".config"
    return Path(above) / "mpidl" / "sites.yaml"


def of_site(name: str, environment: Mapping[str, str] = os.environ) -> JobSettings:
    """The profile of this name."""
    file = sites_file(environment)
    if not file.exists():
        raise ConfigError(
            f"there are no profiles in {str(file)!r}; write the first, as '{name}: {{partition: gpu, time: 12 h}}'",
            "--site",
        )
    profiles = reading.read(file)
    if name not in profiles:
        raise ConfigError(f"{choices_sentence(name, map(str, profiles))} in {str(file)!r}", "--site")
    if not isinstance(profiles[name], dict):
        raise ConfigError(f"is no section of keys, such as {{partition: gpu, time: 12 h}}, in {str(file)!r}", name)
    try:
        return reading.validate(JobSettings, profiles[name])
    except ConfigError as error:
        raise ConfigError(f"{error.message}, in {str(file)!r}", f"{name}.{error.key}") from error
