"""How far a run has come, by its file; what is another's is never taken for it."""

from __future__ import annotations

from mpidl import results
from mpidl.errors import ConfigError
from mpidl.experiment.resume import differences, facts_of, listed
from mpidl.experiment.schema import LENGTHS
from mpidl.experiment.sweep.member import Member, Standing
from mpidl.results.checkpoints.folder import CheckpointFolder


def standing(member: Member, rounds: int) -> Standing:
    """Where a run of so many rounds stands; refuses a file that is another run's, or that is written now."""
    config, output = member.config, member.output
    if not output.exists():
        return Standing.WAITING
    run = results.open(output)
    if run.status == "running" and not run.abandoned:
        raise ConfigError(f"{str(output)!r} is being written by another process; wait for it, or choose another -o")
    facts, agents = facts_of(run), config.agents_on(member.ranks)
    last = facts.round
    changed, refused = differences(config, facts, rounds=rounds)
    if agents != run.agents:
        changed, refused = {**changed, "agents": (run.agents, agents)}, ["agents", *refused]
    if refused:
        raise ConfigError(
            f"the run in {str(output)!r} is of another configuration: {listed(changed, refused)}; change it back, "
            "choose another folder with -o, or remove the file"
        )
    if run.status == "diverged":
        return Standing.DIVERGED
    checkpoints = CheckpointFolder(output).rounds()
    lengths = [key for key in LENGTHS if key in changed]
    if lengths and last < rounds and checkpoints and config.schedule.follows_length(max(checkpoints)):
        # Its numbers would be those of neither length.
        raise ConfigError(
            f"the run in {str(output)!r} has begun with another length, on which its learning rates depend "
            f"({config.schedule.name}): {listed(changed, lengths)}; change it back, choose another folder with -o, "
            "or remove the file"
        )
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
