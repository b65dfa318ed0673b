"""Hosts that a person names are read as launchers read them, tried before ranks start, and refused in a sentence."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from mpidl.errors import CommunicationError, ConfigError, LaunchError
from mpidl.launch import hosts
from mpidl.launch.hosts import Hosts
from mpidl.launch.launcher import find
from tests.launch.test_command import command


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("a:4,b:4", (("a", 4), ("b", 4))),
        ("node-1.cluster, 10.0.0.2:3", (("node-1.cluster", 1), ("10.0.0.2", 3))),
        ("b,a:2,b:2", (("b", 3), ("a", 2))),
    ],
)
def test_a_list_names_hosts_with_their_slots_in_its_order(text: str, slots: tuple[tuple[str, int], ...]) -> None:
    assert hosts.parse(text).slots == slots


def test_a_file_is_read_as_both_launchers_write_it(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("# the cluster\na slots=4 max_slots=8\n\nb:2  # the small one\nc\nc\n")
    assert hosts.read(file).slots == (("a", 4), ("b", 2), ("c", 2)) and hosts.read(file).total == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "--hosts: a host is missing; name hosts with their slots, as in a:4,b:4"),
        ("a:4,,b", "--hosts: a host is missing"),
        ("a:b", "--hosts: 'a:b' is not a host"),
        ("a;rm", "--hosts: 'a;rm' is not a host"),
        ("-oProxyCommand=x", "--hosts: '-oProxyCommand=x' is not a host"),
        ("a:0", "--hosts: a cannot have '0' slots; give 1 or more, or leave the host out"),
        ("a:99999999999", "--hosts: a cannot have '99999999999' slots"),
    ],
)
def test_what_is_no_host_is_named_with_the_cure(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        hosts.parse(text)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a slots=x\n", "--hostfile: line 1: a cannot have 'x' slots"),
        ("a\nb cores=4\n", "--hostfile: line 2: 'cores=4' is not known; write a host as 'a slots=4' or 'a:4'"),
        ("# nothing\n", "names no host; write a line such as 'a slots=4' for each"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "hosts"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        hosts.read(file)
    assert words in str(caught.value)


def test_more_ranks_than_slots_are_refused() -> None:
    hosts.parse("a:4,b:4").refuse_more(8)
    with pytest.raises(ConfigError, match=r"-n: 9 ranks are more than the 8 slots of a:4,b:4; say 8 or fewer, or give"):
        hosts.parse("a:4,b:4").refuse_more(9)


def test_hosts_are_not_named_inside_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(ConfigError, match="--hosts: Slurm job 7 says where ranks go; leave the option out"):
        find(hosts.parse("a:4"))


def test_launchers_are_told_of_hosts_and_of_what_ranks_there_need() -> None:
    ours = {"OMP_NUM_THREADS": "1", "MPIDL_DATA": "/d", "PATH": "/bin", "HDF5_USE_FILE_LOCKING": "FALSE", "OTHER": "2"}
    two = hosts.parse("a:4,b:4")
    assert command("openmpi", 8, hosts=two, environment=ours).endswith(
        " --host a:4,b:4 -x OMP_NUM_THREADS -x MPIDL_DATA -x HDF5_USE_FILE_LOCKING -x PATH -n 8 prog x y"
    )
    # Hydra passes on everything.
    assert command("mpich", 8, hosts=two, environment=ours) == "RUN -hosts a:4,b:4 -n 8 prog x y"


@pytest.mark.parametrize(
    ("kind", "major", "variable"),
    [
        ("openmpi", 5, "PRTE_MCA_plm_ssh_agent"),
        ("openmpi", 4, "OMPI_MCA_plm_rsh_agent"),
        ("mpich", 0, "HYDRA_LAUNCHER_EXEC"),
        ("intel", 0, "I_MPI_HYDRA_BOOTSTRAP_EXEC"),
    ],
)
def test_hosts_are_tried_by_the_ssh_that_the_launcher_takes(kind: str, major: int, variable: str) -> None:
    asking = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
    assert hosts.agent(kind, major, {}) == ["ssh", *asking]
    assert hosts.agent(kind, major, {variable: "/opt/ssh -p 2222"}) == ["/opt/ssh", "-p", "2222", *asking]
    assert hosts.agent(kind, major, {variable: "oarsh"}) == ["oarsh"]


def test_this_host_needs_no_ssh() -> None:
    assert hosts.parse(f"{platform.node()}:2,localhost:2,127.0.0.1").away == []


# Executes what it is told to for the host, as ssh does.
SSH = '#!/bin/sh\nhost="$1"; shift; {what}\nexec sh -c "$*"\n'


@pytest.fixture
def ssh(tmp_path: Path):
    """A stand-in for ssh, which does this first."""

    def made(what: str) -> list[str]:
        path = tmp_path / "agent"
        path.write_text(SSH.format(what=what))
        path.chmod(0o755)
        return [str(path)]

    return made


def test_a_host_that_can_start_ranks_is_taken(ssh) -> None:
    hosts.refuse_unready(Hosts((("elsewhere", 2),)), ssh(""), str(Path(hosts.__file__).parents[2]))


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        (
            "echo 'ssh: Could not resolve hostname x: Name or service not known' >&2; exit 255",
            ConfigError,
            "--hosts: x cannot be reached by agent: no host of this name is known (ssh: Could not resolve",
        ),
        (
            "echo 'u@x: Permission denied (publickey).' >&2; exit 255",
            CommunicationError,
            "it does not let this user in without a password; give it your key by ssh-copy-id x (u@x: Permission",
        ),
        ("echo lost >&2; exit 255", CommunicationError, "x cannot be reached by agent: see what ssh x says (lost)"),
        ("exit 255", ConfigError, "x cannot be reached by agent: see what ssh x says"),
        ("exit 81", ConfigError, "--hosts: x has no folder "),
        ("exit 82", ConfigError, f"--hosts: x has no {sys.executable}; install mpidl there in the same place"),
        ("echo 'ImportError: no mpidl' >&2; exit 1", ConfigError, "mpidl does not start on x: ImportError: no mpidl"),
    ],
)
def test_a_host_that_cannot_is_named_with_the_cure(ssh, what: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        hosts.refuse_unready(Hosts((("x", 2), ("y", 2))), ssh(what), None)
    assert words in str(caught.value)


def test_an_ssh_that_is_not_there_is_named() -> None:
    with pytest.raises(LaunchError, match="there is no /no/ssh, by which x is to be reached; install an ssh client"):
        hosts.refuse_unready(Hosts((("x", 1),)), ["/no/ssh"], None)
