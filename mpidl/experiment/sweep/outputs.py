"""How far a run has come, by its file; what is another's is never taken for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mpidl import results
from mpidl.errors import ConfigError
from mpidl.experiment.changes import (
    OTHER_RUN,
    changed_data,
    differences,
    facts_of,
    listed,
    other_rates,
    other_versions,
)
from mpidl.experiment.sweep.member import Member, Standing, VersionChange
from mpidl.results import provenance
from mpidl.results.checkpoints.folder import CheckpointFolder

if TYPE_CHECKING:
    from mpidl.experiment.inputs import Inputs
    from mpidl.results import Run


def seen(member: Member, inputs: Inputs) -> Member:
    """The run as its file tells of it; refuses one that is another run's, by these data and their split, too."""
    if not member.output.exists():
        return member
    run = results.open(member.output)
    standing = _standing(member, inputs, run)
    changed = tuple(_versions_changed(member, run)) if standing.is_over else ()
    return replace(member, standing=standing, changed=changed)


def _standing(member: Member, inputs: Inputs, run: Run) -> Standing:
    """Where the run of this file stands; refuses what is another run."""
    config, output = member.config, member.output
    facts, agents = facts_of(run), config.agents_on(member.ranks)
    last, rounds = facts.round, replace(inputs, config=config).length.rounds
    changed, refused = differences(config, facts, rounds=rounds)
    if agents != run.agents:
        changed, refused = {**changed, "agents": (run.agents, agents)}, ["agents", *refused]
    if refused:
        raise _another(output, "is of another configuration", listed(changed, refused))
    words = changed_data(inputs.known, facts)
    if words:
        raise _another(output, "was begun with other data", words[0])
    if run.status == "running" and not run.abandoned:
        return Standing.RUNNING
    if run.status == "diverged":
        return Standing.DIVERGED
    checkpoints = CheckpointFolder(output).rounds()
    lengths = other_rates(config, changed, max(checkpoints)) if last < rounds and checkpoints else []
    if lengths:
        # Its numbers would be those of neither length.
        name = config.schedule.name
        what = f"has begun with another length, on which its learning rates depend ({name})"
        raise _another(output, what, listed(changed, lengths))
    if run.status != "finished":
        return Standing.HALF
    if last >= rounds:
        return Standing.FINISHED
    if not checkpoints:
        raise ConfigError(
            f"the run in {str(output)!r} has ended after round {last} of now {rounds} and left no checkpoint to go on "
            "from; with checkpoint.every it would have"
        )
    return Standing.HALF


def _versions_changed(member: Member, run: Run) -> Iterator[VersionChange]:
    """What the numbers in the file of a run depend on, and is another now: packages, and files of plug-ins."""
    plug_ins = provenance.plug_ins(member.config.model_dump(mode="json"))
    yield from other_versions(facts_of(run).versions, plug_ins)


def _another(output: Path, what: str, changes: str) -> ConfigError:
    return ConfigError(f"the run in {str(output)!r} {what}: {changes}; {OTHER_RUN}")
