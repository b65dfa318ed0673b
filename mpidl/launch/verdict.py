"""How a launch ended, from all that is known of it: the one line that a person is told, and the exit code."""

from __future__ import annotations

import platform
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpidl.comm.start.presence import Presence
from mpidl.errors import ExitCode
from mpidl.spoken import counted

INTERRUPTING = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.ENDED,
    signal.SIGHUP: ExitCode.ENDED,
    signal.SIGQUIT: ExitCode.ENDED,
}
_INTERRUPTED = set(INTERRUPTING.values())
_SIGNALS = {int(number) for number in signal.Signals}

# How launchers tell of the first rank that died: Open MPI by signal, by code, by MPI_Abort, in silence; Hydra by
# signal, by code, by MPI_Abort; Slurm. The first that is found counts.
_DEATHS = (
    r"process rank (?P<rank>\d+) with PID \d+ on node (?P<host>\S+) exited on\s+signal (?P<signal>\d+)",
    r"Process name: \[\S+?,(?P<rank>\d+)\]\s+Exit code:\s+(?P<code>\d+)",
    r"MPI_ABORT was invoked on rank .*?Proc: \[.*,(?P<rank>\d+)\]\s+Errorcode: (?P<code>-?\d+)",
    r"process rank (?P<rank>\d+) with PID \d+ on node (?P<host>\S+) exiting\s+improperly",
    r"PID (?P<process>\d+) RUNNING AT (?P<host>\S+).*?EXIT STRING: [^\n]*\(signal (?P<signal>\d+)\)",
    r"PID (?P<process>\d+) RUNNING AT (?P<host>\S+)\s+=\s+EXIT CODE: (?P<code>\d+)",
    r"Abort\((?P<code>-?\d+)\) on node (?P<rank>\d+)",
    r"srun: error: (?P<host>\S+): task (?P<rank>\d+): (?:Exited with exit code (?P<code>\d+)|(?P<word>\w+))",
)
# How they tell that they have lost their daemon on another host: Open MPI as it starts, and later; Hydra.
_LOSSES = (
    r"daemon failed to report back.*?Remote host:\s+(?P<host>\S+)",
    r"lost communication with a remote daemon.*?Remote daemon:[^\n]* on node (?P<host>\S+)",
    r"\[mpiexec@\S+\] control_cb .*?assert \(!closed\) failed(?P<host>)",
)
_WORDS = {"Killed": signal.SIGKILL, "Segmentation": signal.SIGSEGV, "Aborted": signal.SIGABRT, "Bus": signal.SIGBUS}
_WITHOUT_A_WORD = "without a word (os._exit, MPI_Abort, or a library that ends the process)"


@dataclass(frozen=True)
class Death:
    """How a rank died; None is what its launcher does not tell."""

    rank: int | None
    host: str | None
    signal: int | None
    code: int | None

    @classmethod
    def told(cls, post_mortem: str, ranks: Sequence[Presence]) -> Death | None:
        """What a launcher says of the first rank that died, if it says so."""
        for pattern in _DEATHS:
            match = re.search(pattern, post_mortem, re.DOTALL)
            if match is None:
                continue
            words = match.groupdict()
            number = words.get("signal") or _WORDS.get(words.get("word") or "")
            rank = words.get("rank")
            if rank is None:
                process = int(words["process"])
                # Hosts may have processes of the same number.
                those = [each for each in ranks if each.process == process]
                those = [each for each in those if each.host == words.get("host")] or those
                rank = those[0].rank if len(those) == 1 else None
            code = words.get("code")
            return cls(
                None if rank is None else int(rank),
                words.get("host"),
                None if number is None else int(number),
                None if code is None else int(code),
            )
        return None


def lost_host(post_mortem: str, ranks: Sequence[Presence]) -> str | None:
    """The host that a launcher says it has lost, if it says so; empty where it is not known which."""
    for pattern in _LOSSES:
        match = re.search(pattern, post_mortem, re.DOTALL)
        if match is not None:
            others = {rank.host for rank in ranks} - {platform.node()}
            return match["host"] or (others.pop() if len(others) == 1 else "")
    return None


@dataclass(frozen=True)
class Ending:
    """What is known when the launcher of the ranks has ended.

    `status` is the launcher's, as subprocess has it, `forced` whether it had to be ended from here; `gone` is a rank
    that has died before it could be outlived; `received` are the signals that `mpidl run` got; `failure` is what a
    failing rank has left, `spoke` whether one has said it itself; `present` are the ranks that have left word; `lost`
    is what `lost_host` says. `starved`: whether the system has ended a process in the meantime, since memory ran out.
    `silent`: whether a launcher that tells of every failure has told of none.
    """

    launcher: str
    ranks: int
    status: int
    forced: bool = False
    gone: Presence | None = None
    received: Sequence[int] = ()
    failure: tuple[str, int] | None = None
    spoke: bool = False
    death: Death | None = None
    present: Sequence[Presence] = ()
    lost: str | None = None
    starved: bool | None = None
    silent: bool = False

    def verdict(self) -> tuple[str, int]:
        """The last line, empty where nothing is to be said, and the exit code."""
        interrupted = self._interrupted()
        if self.lost is not None and not self.received and self._is_of_a_loss(self.failure):
            return f"mpidl: {self._how_a_host_went(self.lost)}", ExitCode.COMMUNICATION
        if self.failure is not None and self.failure[1] not in _INTERRUPTED:
            return self.failure
        known = len(self.present) == self.ranks or self.status == 0
        if known and all(rank.done or rank.lost for rank in self.present):
            if self.status == 0:
                return "", ExitCode.DONE
            return f"mpidl: all ranks have done their work, though {self._how_the_launcher_ended()}", ExitCode.DONE
        if self.received and interrupted is not None:
            return "mpidl: interrupted", interrupted
        if self.forced and self.gone is not None:
            return (
                f"mpidl: rank {self.gone.rank} on {self.gone.host} died before training began",
                ExitCode.COMMUNICATION,
            )
        if self.death is not None and (self.death.signal not in INTERRUPTING and self.death.code not in _INTERRUPTED):
            if self.spoke and self.death.signal is None:
                return "", self.death.code or ExitCode.INTERNAL
            return f"mpidl: {self._how_a_rank_ended(self.death)}", ExitCode.COMMUNICATION
        if self.status < 0 and -self.status not in INTERRUPTING and not self.forced:
            # Its ranks are told to end by its death, and say so.
            return f"mpidl: {self._how_the_launcher_ended()}", ExitCode.COMMUNICATION
        if interrupted is not None:
            return "mpidl: interrupted", interrupted
        if self.spoke:
            return "", abs(self.status) or ExitCode.INTERNAL
        if not self.present:
            return f"mpidl: {self._how_the_launcher_ended()}", ExitCode.COMMUNICATION
        return f"mpidl: {self._how_a_rank_ended(self._suspect())}", ExitCode.COMMUNICATION

    @property
    def says_it_all(self) -> bool:
        """Whether the verdict says what the launcher's own words about a death say."""
        return any(each is not None for each in (self.failure, self.death, self.lost)) or bool(self.received)

    def _interrupted(self) -> ExitCode | None:
        """The code of an interruption, where somebody has asked for one."""
        for number in self.received:
            if number in INTERRUPTING:
                return INTERRUPTING[signal.Signals(number)]
        codes = [self.failure and self.failure[1], self.death and self.death.code, self.status]
        numbers = [self.death and self.death.signal, -self.status]
        interruptions = [code for code in ExitCode if code in _INTERRUPTED and code in codes]
        interruptions += [INTERRUPTING[signal.Signals(number)] for number in numbers if number in INTERRUPTING]
        if not interruptions and self.silent and self.status == 1:
            # As mpirun of Open MPI ends when it is told to, be it before its ranks can say so.
            return ExitCode.ENDED
        return interruptions[0] if interruptions else None

    def _is_of_a_loss(self, failure: tuple[str, int] | None) -> bool:
        """Whether what a rank has left may be since others are gone."""
        return failure is None or failure[1] in {*_INTERRUPTED, ExitCode.COMMUNICATION}

    def _how_a_host_went(self, host: str) -> str:
        where = f"host {host}" if host else "a host"
        # It may go by another name than the one that it was named by.
        there = [rank for rank in self.present if rank.host == host] or [
            rank for rank in self.present if rank.host != platform.node()
        ]
        if there:
            return f"{where} is gone, and with it {len(there)} of {counted(self.ranks, 'rank')}"
        return (
            f"{self.launcher} has lost {where} before ranks began there: its daemon has ended, or does not reach this "
            "host, to which all ports must be open"
        )

    def _suspect(self) -> Death:
        """The death that nobody tells of: of the only rank that did not finish, or of one that is not known."""
        left = [rank for rank in self.present if not (rank.done or rank.lost)]
        alone = left[0] if len(left) == 1 else None
        by_signal = self.status - 128 if self.status - 128 in _SIGNALS else None
        code = None if by_signal else self.status
        return Death(alone.rank if alone else None, alone.host if alone else None, by_signal, code)

    def _how_a_rank_ended(self, death: Death) -> str:
        if death.rank is None:
            who = "a rank" + (f" on {death.host}" if death.host else "")
        else:
            hosts = (rank.host for rank in self.present if rank.rank == death.rank)
            who = f"rank {death.rank} on {next(hosts, death.host or platform.node())}"
        if death.signal is not None:
            return f"{who} was ended by {self._by(death.signal)}"
        code = f"with exit code {death.code} and " if death.code else ""
        return f"{who} ended before its work was done, {code}{_WITHOUT_A_WORD}"

    def _how_the_launcher_ended(self) -> str:
        if self.status < 0:
            return f"{self.launcher} was ended by {self._by(-self.status)}"
        return f"{self.launcher} ended with exit code {self.status}; what it says stands above"

    def _by(self, number: int) -> str:
        name = signal.Signals(number).name if number in _SIGNALS else f"signal {number}"
        if number != signal.SIGKILL or self.starved is False:
            return name
        return f"{name}: memory ran out" if self.starved else f"{name}, as the system does when memory runs out"


def killed_for_memory() -> int | None:
    """How many processes this system has ended since it started because memory ran out; None where it does not tell."""
    try:
        lines = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
        return int(lines["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None
