"""The runs of a sweep, each checked before any is started: its configuration, its file, its data and its network."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidl.errors import ConfigError, MpidlError
from mpidl.experiment.schema import Config, check, keys_of, output_path, resolved
from mpidl.experiment.sweep.axes import Axis, combinations, names
from mpidl.experiment.sweep.data import LastDataset
from mpidl.experiment.sweep.member import Member, Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpidl.experiment.inputs import Inputs

# Of one launch; what it is handed lies in one variable of the environment.
_MOST_OF_A_LAUNCH = 500


def members(config: Path, axes: Sequence[Axis], folder: Path | None, ranks: Callable[[Config], int]) -> list[Member]:
    """All runs in the order of their combinations, their configurations seen to be right; see `checked`."""
    swept = {axis.key for axis in axes if axis.is_swept}
    found: list[Member] = []
    labels: dict[str, str] = {}
    keys = keys_of(config)
    for name, values in zip(names(axes), combinations(axes), strict=True):
        label = ", ".join(f"{key}={value.strip()}" for key, value in values.items() if key in swept)
        try:
            own = resolved(keys, [f"{key}={value}" for key, value in values.items()])
        except ConfigError as error:
            raise _blamed(error, label) from error
        place = folder or Path("runs") / own.name
        output = place / f"{name}.h5" if name else place / output_path(own).name
        found.append(Member(len(found), label or output.stem, own, output, ranks(own)))
        same = labels.setdefault(own.model_dump_json(), label)
        if same != label:
            raise ConfigError(f"{same} and {label} are one configuration; leave one of them out", "-s")
    return found


def checked(sweep: Sequence[Member], inputs: bool = True, running: bool = False) -> list[Member]:
    """The runs with how far they have come, once it is seen that each can be run, and would be lost by none.

    A run that another process writes now is refused, unless it may be `running`.

    Without `inputs`, devices, data and networks are left to the ranks, which check them before the first run
    (`check_inputs`): they need all anyway, and here that would take a second. Of a run that has a file its length must
    be known.
    """
    taken = Counter(str(member.output).casefold() for member in sweep)
    for member in sweep:
        try:
            if taken[str(member.output).casefold()] > 1:
                raise ConfigError(f"another run of this sweep has the file {str(member.output)!r}")
            check(member.config, member.ranks, member.output, resume=True)
            if inputs:
                # It takes torch, which whatever the inputs are takes, too.
                from mpidl.comm.start import device

                device.require(member.config.train.device)
        except MpidlError as error:
            raise _blamed(error, member.label) from error
    found = {member.number: member for member in sweep}
    for member, its_inputs in check_inputs([each for each in sweep if inputs or each.output.exists()], LastDataset()):
        from mpidl.experiment.sweep.outputs import seen

        try:
            known = found[member.number] = seen(member, its_inputs)
            if known.standing is Standing.RUNNING and not running:
                raise ConfigError(
                    f"{str(member.output)!r} is being written by another process; wait for it, or choose another -o"
                )
        except MpidlError as error:
            raise _blamed(error, member.label) from error
    return list(found.values())


def check_inputs(sweep: Iterable[Member], data: LastDataset) -> Iterator[tuple[Member, Inputs]]:
    """The same runs with what they start from, data and networks being there, and fitting.

    Runs whose data, split and network are alike get the same inputs, with the configuration of the first of them.
    """
    alike: dict[str, list[Member]] = {}
    for member in sweep:
        alike.setdefault(_inputs_key(member), []).append(member)
    for group in alike.values():
        from mpidl.experiment.inputs import Inputs
        from mpidl.experiment.rehearsal import prepare

        inputs: Inputs | None = None
        for member in group:
            try:
                if inputs is None:
                    inputs = Inputs.of(member.config, member.ranks, data.of(member.config.data))
                    prepare(inputs)
            except MpidlError as error:
                raise _blamed(error, member.label) from error
            yield member, inputs


def _inputs_key(member: Member) -> str:
    """What data, their split and the network depend on; who shares it is checked once."""
    config = member.config
    parts = [config.data.model_dump(mode="json"), config.model.model_dump(mode="json")]
    numbers = [config.train.precision, config.train.loss_scale, config.checkpoint.best]
    return json.dumps([parts, numbers, config.seed, config.agents_on(member.ranks)])


def _blamed(error: MpidlError, label: str) -> MpidlError:
    """The same error, with the settings of the run that it is of."""
    if not label:
        return error
    where = f" (with {label})"
    if isinstance(error, ConfigError):
        return ConfigError(error.message + where, error.key)
    return type(error)(f"{error}{where}")


def series(sweep: Sequence[Member]) -> Iterator[list[Member]]:
    """The runs that are not over, by those that can have their ranks one after another, in their order.

    What a process can only do once, at its start, must be the same; a network that is compiled has ranks of its own,
    since the compiler remembers what it has compiled, and after some such networks compiles no more.
    """
    alike: dict[Any, list[Member]] = {}
    for member in sweep:
        if member.standing.is_over:
            continue
        train, signal = member.config.train, member.config.checkpoint.signal
        alone = member.number if train.compile else None
        same = (member.ranks, train.device, train.threads, train.deterministic, signal, alone)
        alike.setdefault(same, []).append(member)
    for group in alike.values():
        for begin in range(0, len(group), _MOST_OF_A_LAUNCH):
            yield group[begin : begin + _MOST_OF_A_LAUNCH]
