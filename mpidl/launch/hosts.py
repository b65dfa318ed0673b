"""The hosts that ranks are started on where a person names them: `a:4,b:4`, or a file with a line for each.

Launchers reach them by ssh, and say at length and in their own words what goes wrong then. So it is tried first, with
the same ssh: that a host answers without asking for a password, that it has the current folder, and that mpidl starts.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mpidl.errors import CommunicationError, ConfigError, LaunchError, quoted
from mpidl.spoken import counted

_EXAMPLE = "a:4,b:4"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_ENTRY = re.compile(rf"(?P<name>{_NAME})(?::(?P<slots>\d+))?")
_MOST_SLOTS = 2**20
# Where a user says, for each kind of launcher, what is to be taken in place of ssh.
_AGENTS = {"mpich": "HYDRA_LAUNCHER_EXEC", "intel": "I_MPI_HYDRA_BOOTSTRAP_EXEC"}
_AGENT_OF_OPENMPI, _AGENT_OF_OPENMPI_4 = "PRTE_MCA_plm_ssh_agent", "OMPI_MCA_plm_rsh_agent"
_ANSWER_SECONDS, _START_SECONDS = 10, 60
_AT_ONCE = 64
# With which ssh ends when it does not reach a host, and the shell there when it lacks something.
_UNREACHED, _NO_FOLDER, _NO_PYTHON = 255, 81, 82
_CURES = {
    "Could not resolve hostname": "no host of this name is known",
    "Permission denied": "it does not let this user in without a password; give it your key by ssh-copy-id {host}",
    "Host key verification failed": "its key is not known yet; say yes to it once, by ssh {host}",
    "Connection refused": "nothing listens for ssh there; start its sshd",
    "No route to host": "it is off, or its network is",
    "timed out": "it is off, or its network is",
}


@dataclass(frozen=True)
class Hosts:
    """Hosts in the order in which they get ranks, each with how many at most: its slots. `key`: who has named them."""

    slots: tuple[tuple[str, int], ...]
    key: str = "--hosts"

    def __str__(self) -> str:
        return ",".join(f"{name}:{slots}" for name, slots in self.slots)

    @property
    def total(self) -> int:
        """How many ranks they have room for."""
        return sum(slots for _, slots in self.slots)

    def refuse_more(self, ranks: int) -> None:
        """Refuses more ranks than there are slots."""
        if ranks > self.total:
            raise ConfigError(
                f"{counted(ranks, 'rank')} are more than the {counted(self.total, 'slot')} of {self}; say {self.total} "
                f"or fewer, or give the hosts more slots in {self.key}",
                "-n",
            )

    @property
    def away(self) -> list[str]:
        """Those that are not this one."""
        return [name for name, _ in self.slots if not _is_here(name)]


def parse(text: str) -> Hosts:
    """The hosts of `a:4,b:4`; without a number a host has one slot, and who is named twice has the slots of both."""
    return _collected((_entry(word.strip(), "--hosts") for word in text.split(",")), "--hosts")


def read(path: Path) -> Hosts:
    """The hosts of a file: `a slots=4` or `a:4` in a line, as launchers have it; what follows # is a comment."""
    key = "--hostfile"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"{quoted(str(path))} cannot be read ({reason})", key) from error
    said = [(number, line.partition("#")[0].split()) for number, line in enumerate(lines, 1)]
    found = _collected((_line(words, f"{key}: line {number}") for number, words in said if words), key)
    if not found.slots:
        raise ConfigError(f"{quoted(str(path))} names no host; write a line such as 'a slots=4' for each", key)
    return found


def _line(words: list[str], key: str) -> tuple[str, int]:
    name, slots = _entry(words[0], key)
    for word in words[1:]:
        option, _, value = word.partition("=")
        if option == "slots":
            slots = _slots(value, name, key)
        elif option.replace("-", "_") != "max_slots":
            raise ConfigError(f"{quoted(word)} is not known; write a host as 'a slots=4' or 'a:4'", key)
    return name, slots


def _entry(word: str, key: str) -> tuple[str, int]:
    match = _ENTRY.fullmatch(word)
    if match is None:
        what = f"{quoted(word)} is not a host" if word else "a host is missing"
        raise ConfigError(f"{what}; name hosts with their slots, as in {_EXAMPLE}", key)
    return match["name"], 1 if match["slots"] is None else _slots(match["slots"], match["name"], key)


def _slots(text: str, host: str, key: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8 and 1 <= int(text) <= _MOST_SLOTS):
        raise ConfigError(f"{host} cannot have {quoted(text)} slots; give 1 or more, or leave the host out", key)
    return int(text)


def _collected(entries: Iterable[tuple[str, int]], key: str) -> Hosts:
    slots: dict[str, int] = {}
    for name, more in entries:
        slots[name] = slots.get(name, 0) + more
    return Hosts(tuple(slots.items()), key)


def _is_here(name: str) -> bool:
    """Whether this is the host of this name: one of its addresses can be listened at."""
    if name in ("localhost", platform.node(), platform.node().partition(".")[0]):
        return True
    with suppress(OSError):
        for family, kind, protocol, _, address in socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM):
            with suppress(OSError), socket.socket(family, kind, protocol) as tried:
                tried.bind(address)
                return True
    return False


def agent(kind: str, major: int, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The command by which the launcher reaches another host."""
    variable = _AGENTS.get(kind) or (_AGENT_OF_OPENMPI if major >= 5 else _AGENT_OF_OPENMPI_4)
    # For Open MPI, several may stand there.
    words = shlex.split(environment.get(variable, "").partition(" : ")[0]) or ["ssh"]
    if Path(words[0]).name == "ssh":
        words += ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={_ANSWER_SECONDS}"]
    return words


def refuse_unready(hosts: Hosts, by: list[str], path: str | None) -> None:
    """Refuses hosts on which a rank cannot start; `by` reaches them, and `path` is the PYTHONPATH of ranks."""
    away = hosts.away
    with ThreadPoolExecutor(max(1, min(len(away), _AT_ONCE))) as pool:
        answers = list(pool.map(lambda host: _asked(host, by, path), away))
    for host, answer in zip(away, answers, strict=True):
        if answer is not None:
            code, said = answer
            raise _problem(hosts.key, host, by[0], code, said)


def _asked(host: str, by: list[str], path: str | None) -> tuple[int | None, str] | None:
    """Nothing if a rank could start there, else an exit code and what was said last; no code: there was no answer."""
    python = shlex.quote(sys.executable)
    found = f"PYTHONPATH={shlex.quote(path)} " if path else ""
    # A folder of this name would do for an import.
    start = f"{found}exec {python} -P -c 'import mpi4py, mpidl; mpidl.__version__'"
    script = f"cd {shlex.quote(str(Path.cwd()))} || exit {_NO_FOLDER}; test -x {python} || exit {_NO_PYTHON}; {start}"
    try:
        # The user's shell there may be of another kind.
        done = subprocess.run(
            [*by, host, f"sh -c {shlex.quote(script)}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_START_SECONDS,
            check=False,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise LaunchError(
            f"there is no {by[0]}, by which {host} is to be reached; install an ssh client (openssh-client)"
        ) from error
    except subprocess.TimeoutExpired:
        return None, ""
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return (done.returncode, said[-1].strip() if said else "") if done.returncode else None


def _problem(key: str, host: str, by: str, code: int | None, said: str) -> Exception:
    """What a host lacks, and the cure."""
    if code is None:
        return CommunicationError(
            f"{key}: {host} does not start mpidl within {_START_SECONDS} s; see what ssh {host} does"
        )
    if code == _UNREACHED:
        cure = next((words for part, words in _CURES.items() if part in said), f"see what ssh {host} says")
        reason = cure.format(host=host)
        error = CommunicationError if said and "resolve" not in said else ConfigError
        return error(f"{key}: {host} cannot be reached by {Path(by).name}: {reason}" + (f" ({said})" if said else ""))
    if code == _NO_FOLDER:
        return ConfigError(f"{host} has no folder {Path.cwd()}; start where all hosts have the same folder", key)
    if code == _NO_PYTHON:
        return ConfigError(f"{host} has no {sys.executable}; install mpidl there in the same place, or share it", key)
    return ConfigError(f"mpidl does not start on {host}: {said or f'exit code {code}'}", key)
