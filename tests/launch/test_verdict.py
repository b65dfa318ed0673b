"""From all that is known of a launch that ended, a person is told one line with the cause, and the exit code fits."""

from __future__ import annotations

import platform
import signal
from typing import Any

import pytest

from mpidl.comm.start.presence import Presence
from mpidl.launch.verdict import Death, Ending, lost_host

OPENMPI_SIGNAL = "prterun noticed that process rank 1 with PID 12 on node here exited on\nsignal 9 (Killed)."
OPENMPI_CODE = "The first process to do so was:\n\n   Process name: [prterun-vm-16311@1,1]\n   Exit code:    3\n"
OPENMPI_SILENT = "prterun has exited due to process rank 1 with PID 12 on node here exiting\nimproperly. There are"
OPENMPI_ABORT = (
    "MPI_ABORT was invoked on rank 0 in communicator MPI COMMUNICATOR 3 SPLIT FROM 0\n  Proc: [[1468,1],1]\n"
    '  Errorcode: 7\n\nprterun has exited due to process rank 1 with PID 0 on node here calling\n"abort". This may'
)
HYDRA_SIGNAL = (
    "=   PID 12 RUNNING AT here\n=   EXIT CODE: 9\n=   CLEANING UP REMAINING PROCESSES\n"
    "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)\n"
)
HYDRA_CODE = "=   PID 12 RUNNING AT here\n=   EXIT CODE: 3\n"
HYDRA_ABORT = "Abort(7) on node 1 (rank 1 in comm 0): application called MPI_Abort(MPI_COMM_WORLD, 7) - process 1\n"
SLURM_SIGNAL = "srun: error: here: task 1: Killed\n"
SLURM_CODE = "srun: error: here: task 1: Exited with exit code 3\n"


def ranks(done: tuple[int, ...] = (), number: int = 2) -> list[Presence]:
    return [Presence(rank, "here", 11 + rank, 5, done=rank in done) for rank in range(number)]


def verdict(**known: Any) -> tuple[str, int]:
    return Ending(**{"launcher": "mpirun", "ranks": 2, "status": 1, "present": ranks()} | known).verdict()


def told(text: str) -> Death | None:
    return Death.told(text, ranks())


@pytest.mark.parametrize("text", [OPENMPI_SIGNAL, HYDRA_SIGNAL, SLURM_SIGNAL])
def test_a_rank_that_is_killed_is_named_with_its_host(text: str) -> None:
    line, code = verdict(status=137, death=told(text))
    assert line == "mpidl: rank 1 on here was ended by SIGKILL, as the system does when memory runs out"
    assert code == 5
    assert verdict(death=told(text), starved=True)[0] == "mpidl: rank 1 on here was ended by SIGKILL: memory ran out"
    assert verdict(death=told(text), starved=False)[0] == "mpidl: rank 1 on here was ended by SIGKILL"


def test_a_rank_that_dies_too_early_to_be_outlived_is_named_where_the_others_had_to_be_ended() -> None:
    interrupted = ("mpidl: interrupted", 143)
    known = {"status": 1, "gone": ranks()[1], "failure": interrupted, "silent": True}
    assert verdict(**known, forced=True) == ("mpidl: rank 1 on here died before training began", 5)
    assert verdict(**known, forced=True, received=[signal.SIGTERM]) == interrupted
    assert verdict(**known | {"failure": ("mpidl: boo", 2)}, forced=True) == ("mpidl: boo", 2)


@pytest.mark.parametrize(
    ("text", "number"),
    [(OPENMPI_CODE, 3), (OPENMPI_ABORT, 7), (HYDRA_CODE, 3), (HYDRA_ABORT, 7), (SLURM_CODE, 3), (OPENMPI_SILENT, 0)],
)
def test_a_rank_that_leaves_without_a_word_is_named_and_its_code_is_not_taken_for_ours(text: str, number: int) -> None:
    line, code = verdict(status=number or 1, death=told(text))
    assert line.startswith("mpidl: rank 1 on here ended before its work was done, ") and code == 5
    assert (f"exit code {number}" in line) == bool(number)


def test_leaving_with_0_before_the_work_is_done_is_a_failure() -> None:
    line, code = verdict(status=0, present=ranks(done=(0,)))
    assert line.startswith("mpidl: rank 1 on here ended before its work was done, without a word") and code == 5
    assert verdict(status=0, present=ranks())[0].startswith("mpidl: a rank ended before")


def test_work_that_is_done_is_done_however_mpirun_ends() -> None:
    done = ranks(done=(0, 1))
    assert verdict(status=0, present=done) == ("", 0)
    assert verdict(status=0, present=done, received=[signal.SIGTERM]) == ("", 0)
    line, code = verdict(status=-signal.SIGSEGV, present=done)
    assert line == "mpidl: all ranks have done their work, though mpirun was ended by SIGSEGV" and code == 0


def test_work_that_others_have_done_for_a_rank_that_died_is_done() -> None:
    lost = Presence(1, "here", 12, 5, lost=True)
    assert verdict(status=0, present=[ranks(done=(0,))[0], lost]) == ("", 0)
    line, code = verdict(status=0, present=[ranks()[0], lost])
    assert line.startswith("mpidl: rank 0 on here ended before its work was done") and code == 5


def test_ranks_of_other_hosts_leave_no_word_here_and_their_work_is_done_too() -> None:
    assert verdict(status=0, ranks=4, present=ranks(done=(0, 1))) == ("", 0)


def test_a_killed_mpirun_is_no_rank_and_what_its_ranks_say_then_is_its_consequence() -> None:
    assert verdict(status=-signal.SIGKILL, failure=("mpidl: interrupted", 143), starved=False) == (
        "mpidl: mpirun was ended by SIGKILL",
        5,
    )


@pytest.mark.parametrize(
    ("known", "code"),
    [
        ({"received": [signal.SIGINT]}, 130),
        ({"received": [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT]}, 143),
        ({"received": [signal.SIGHUP]}, 143),
        ({"received": [signal.SIGQUIT], "death": told(OPENMPI_SIGNAL)}, 143),
        ({"failure": ("mpidl: interrupted", 143)}, 143),
        ({"failure": ("mpidl: all 2 ranks: interrupted", 130)}, 130),
        ({"death": told(OPENMPI_CODE.replace("3\n", "143\n"))}, 143),
        ({"status": -signal.SIGHUP}, 143),
        ({"received": [signal.SIGINT], "status": 0}, 130),
        ({"silent": True}, 143),
        ({"silent": True, "present": []}, 143),
    ],
)
def test_an_interruption_is_one_whoever_was_told(known: dict[str, Any], code: int) -> None:
    assert verdict(**known) == ("mpidl: interrupted", code)


def test_ranks_that_are_told_to_end_because_one_has_failed_do_not_speak_for_it() -> None:
    failure = ("mpidl: rank 1 on here: agent 1 diverged", 3)
    assert verdict(failure=failure, received=[signal.SIGTERM], death=told(OPENMPI_ABORT)) == failure
    weak = ("mpidl: interrupted", 143)
    assert verdict(failure=weak, death=told(OPENMPI_SIGNAL), starved=False)[0].endswith(
        "rank 1 on here was ended by SIGKILL"
    )


def test_what_a_rank_of_another_host_has_said_is_not_said_again() -> None:
    assert verdict(status=3, spoke=True, present=[]) == ("", 3)
    assert verdict(status=3, spoke=True, present=ranks(number=1), death=told(OPENMPI_CODE)) == ("", 3)


def test_where_no_rank_began_the_launcher_is_named() -> None:
    line, code = verdict(status=213, present=[], silent=True)
    assert line == "mpidl: mpirun ended with exit code 213; what it says stands above" and code == 5


LOST = """--------------------------------------------------------------------------
A daemon failed to report back after being spawned. This could
be due to several factors, including inability to find the daemon

  Local host:    a
  Remote host:   b
  Daemon exit status: 255
--------------------------------------------------------------------------
"""
HYDRA_LOST = "[mpiexec@a] control_cb (/src/pmiserv_cb.c:280): assert (!closed) failed\n"
ON_TWO = [Presence(0, platform.node(), 11, 5), Presence(1, "b", 11, 5), Presence(2, "b", 12, 5)]


@pytest.mark.parametrize("text", [LOST, HYDRA_LOST])
def test_a_host_that_is_gone_is_named_with_how_many_ranks_went(text: str) -> None:
    lost = lost_host(text, ON_TWO)
    known = {"ranks": 3, "present": ON_TWO, "lost": lost}
    gone = ("mpidl: host b is gone, and with it 2 of 3 ranks", 5)
    assert verdict(**known) == gone
    # Those that are left were told to end, or wait for those that are gone.
    assert verdict(**known, failure=("mpidl: interrupted", 143)) == gone
    assert verdict(**known, failure=("mpidl: rank 0: rank 1 is silent", 5)) == gone
    # What a rank there has said, and what a person has asked for, comes first.
    assert verdict(**known, failure=("mpidl: rank 1 on b: boo", 2)) == ("mpidl: rank 1 on b: boo", 2)
    assert verdict(**known, received=[signal.SIGTERM])[1] == 143


def test_a_host_that_never_answered_is_named_with_the_cure() -> None:
    line, code = verdict(ranks=3, present=[], lost=lost_host(LOST, []))
    assert line.startswith("mpidl: mpirun has lost host b before ranks began there: ") and code == 5
    assert "all ports must be open" in line
    assert lost_host(OPENMPI_SIGNAL, ON_TWO) is None


def test_processes_of_one_number_on_two_hosts_are_told_apart() -> None:
    twice = [Presence(0, "there", 12, 5), *ranks()]
    death = Death.told(HYDRA_CODE, twice)
    assert death is not None and death.rank == 1
    # Hydra may call hosts otherwise than they do themselves.
    death = Death.told(HYDRA_CODE.replace("here", "10.0.0.1"), twice)
    assert death is not None and death.rank is None
