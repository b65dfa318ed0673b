"""What has changed since a run began: its configuration, its data, versions; and what of that makes it another run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mpidl import config as reading
from mpidl import notation
from mpidl.errors import ConfigError, ResultsError, nearest, quoted
from mpidl.experiment.schema import LENGTHS, Config
from mpidl.results import provenance
from mpidl.results.checkpoints.index import Facts

if TYPE_CHECKING:
    from mpidl.results import Run

# What changes no number of a run, and may be another each time; agents are counted.
_FREE = (
    *("agents", "checkpoint", "failures", "gossip.transport"),
    *("train.walltime", "train.state_memory", "train.state_folder", "train.log"),
)
_NAMED = 3
# Packages whose versions numbers depend on; so they do on plug-ins.
_NUMERICAL = ("mpidl", "torch", "numpy")
OTHER_RUN = "change it back, choose another folder with -o, or remove the file"
"""What to do where nobody can give leave, as in a sweep."""


def facts_of(run: Run) -> Facts:
    """What the file of a run tells of it, as a checkpoint would."""
    last = int(run.metrics["round"][-1]) if run.records else 0
    return Facts(last, last, 0.0, run.agents, run.config_text, _texts(run, "versions"), _texts(run, "data"))


def _texts(run: Run, name: str) -> dict[str, str]:
    """Of a group of its provenance; nothing where it has none, or a damaged one."""
    group = run.provenance.get(name)
    return {key: str(text) for key, text in group.items()} if isinstance(group, dict) else {}


def compare(
    config: Config, agents: int, facts: Facts, allowed: Sequence[str] | None, rounds: int | None = None
) -> list[str]:
    """What has changed, in words; ConfigError where something has that is not allowed to, or was not meant to.

    `rounds`: how long the run is now, once that is known; it may have become longer. `allowed` is None where nobody can
    give leave.
    """
    if agents != facts.agents:
        cure = f"say -s agents={facts.agents}"
        raise ConfigError(f"there are {agents} here, and were {facts.agents} when the run began; {cure}", "agents")
    changed, refused = differences(config, facts, allowed or (), rounds)
    if refused:
        raise ConfigError(
            f"the run was begun with another configuration: {listed(changed, refused)}; {_cure(allowed, refused)}"
        )
    return [_change(key, *values) for key, values in changed.items()]


def compare_rates(config: Config, facts: Facts, allowed: Sequence[str] | None, rounds: int) -> None:
    """Refuses to go on with rates of another length than those so far, unless that is meant."""
    if rounds <= facts.rounds:
        return
    changed, _ = differences(config, facts)
    lengths = other_rates(config, changed, facts.round)
    if lengths and not any(_within(key, section) for section in allowed or () for key in lengths):
        raise ConfigError(
            f"the run has begun with another length, on which its learning rates depend ({config.schedule.name}): "
            f"{listed(changed, lengths)}; {_cure(allowed, lengths)}"
        )


def other_rates(config: Config, changed: Mapping[str, tuple[Any, Any]], done: int) -> list[str]:
    """Of the keys that have changed those of the length, if the rates of the rounds that are done depend on it."""
    lengths = [key for key in LENGTHS if key in changed]
    return lengths if lengths and config.schedule.follows_length(done) else []


def differences(
    config: Config, facts: Facts, allowed: Sequence[str] = (), rounds: int | None = None
) -> tuple[dict[str, tuple[Any, Any]], list[str]]:
    """All keys that have changed, with what they were and are; and those of them that make it another run."""
    now = dict(reading.leaves("", config.model_dump(mode="json")))
    before = _configuration(facts)
    changed = {key: (before.get(key), now.get(key)) for key in [*now, *before] if before.get(key) != now.get(key)}
    for key in allowed:
        if not any(_within(known, key) for known in [*now, *before]):
            meant = next((known for known in now if known.rpartition(".")[2] == key), None) or nearest(key, now)
            hint = f"; did you mean {meant!r}?" if meant else ""
            told = f"; what has changed: {', '.join(sorted(changed))}" if changed else "; nothing has changed"
            raise ConfigError(f"{quoted(key)} is not known{hint}{told}", "--allow-changes")
    # Whichever of its keys says so, a run may become longer than it was.
    longer = rounds is None or rounds >= facts.rounds
    free = [*_FREE, *allowed, *(LENGTHS if longer else ())]
    return changed, [key for key in changed if not any(_within(key, name) for name in free)]


def listed(changed: Mapping[str, tuple[Any, Any]], refused: Sequence[str]) -> str:
    """The first of these keys, in words."""
    more = f", and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
    return f"{', '.join(_change(key, *changed[key]) for key in refused[:_NAMED])}{more}"


def compare_data(data: Mapping[str, str], facts: Facts, allowed: Sequence[str] | None) -> list[str]:
    """As `compare`, of the data themselves, which may have changed where they lie."""
    words = changed_data(data, facts)
    if words and not any(key == "seed" or _within(key, "data") for key in allowed or ()):
        raise ConfigError(f"the run was begun with other data: {words[0]}; {_cure(allowed, ['data'])}")
    return words


def changed_data(data: Mapping[str, str], facts: Facts) -> list[str]:
    """How these data are known to differ from those that the run began with, in words."""
    changed = [name for name in facts.data if facts.data[name] != data.get(name)]
    return [f"{name} was {facts.data[name]} and is {data.get(name)}" for name in changed]


def other_versions(before: Mapping[str, str], plug_ins: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """What numbers depend on beside configuration and data, where it has changed: its name, what it was and is."""
    now = provenance.versions()
    for name, version in [*((name, now[name]) for name in _NUMERICAL), *plug_ins.items()]:
        if before.get(name, version) != version:
            yield name, before[name], version


def _cure(allowed: Sequence[str] | None, keys: Sequence[str]) -> str:
    """What to do about these keys' having changed."""
    if allowed is None:
        return OTHER_RUN
    return f"change it back, or say {' '.join(f'--allow-changes {key}' for key in keys[:_NAMED])}"


def _configuration(facts: Facts) -> dict[str, Any]:
    """The keys of the run as it was, with what this mpidl has added since by its default."""
    keys = notation.load(facts.config, "its configuration")
    try:
        return dict(reading.leaves("", reading.validate(Config, keys).model_dump(mode="json")))
    except ConfigError as error:
        raise ResultsError(f"the configuration of the run is none of this mpidl: {error}") from error


def _within(key: str, section: str) -> bool:
    return key == section or key.startswith(f"{section}.")


def _change(key: str, before: Any, now: Any) -> str:
    return f"{key} was {json.dumps(before)} and is {json.dumps(now)}"
