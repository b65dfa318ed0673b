"""The stderr of ranks reaches the user as it is, but without the launcher's post-mortem once a rank has spoken."""

from __future__ import annotations

import pytest

from mpidl.comm.start.presence import REPORT, WORD
from mpidl.launch.noise import Filter

OPENMPI = b"""--------------------------------------------------------------------------
prterun detected that one or more processes exited with non-zero status,
thus causing the job to be terminated. The first process to do so was:

   Process name: [prterun-vm-8058@1,1]
   Exit code:    4
--------------------------------------------------------------------------
"""
HYDRA = b"""
===================================================================================
=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   PID 6748 RUNNING AT vm
===================================================================================
YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)
This typically refers to a problem with your application.
Please see the FAQ page for debugging suggestions
"""
SLURM = b"""srun: Job step aborted: Waiting up to 17 seconds for job step to finish.
slurmstepd-a: error: *** STEP 24.0 ON a CANCELLED AT 2026-11-27T07:56:38 ***
srun: launch/slurm: _step_signal: Terminating StepId=24.0
srun: error: b: task 3: Exited with exit code 2
"""
RULED = b"-" * 70 + b"\nWARNING: a device has no active port\n" + b"-" * 70 + b"\n"
PROGRESS = b"\r 10%\r 20%\r 30%\n"
TABLE = b"-----\n- 1 -\n=====\n[m] is a line like any other\n"


def filtered(data: bytes, explained: bool, size: int) -> bytes:
    """What comes out when the data arrive in pieces of this size."""
    out: list[bytes] = []
    stream = Filter(out.append, lambda: explained)
    for start in range(0, len(data), size):
        stream.feed(data[start : start + size])
    stream.end()
    if not explained:
        stream.tell()
    return b"".join(out)


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("noise", [OPENMPI, HYDRA, SLURM])
def test_an_explained_failure_loses_the_post_mortem_and_nothing_else(noise: bytes, size: int) -> None:
    assert (
        filtered(PROGRESS + TABLE + noise + b"after\n", True, size).replace(b"\n\n", b"\n")
        == PROGRESS + TABLE + b"after\n"
    )


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_without_an_explanation_every_byte_passes_and_what_tells_of_a_death_comes_last(size: int) -> None:
    data = PROGRESS + OPENMPI + TABLE + HYDRA + RULED + b"no newline at the end"
    kept = OPENMPI + HYDRA.removeprefix(b"\n")
    assert filtered(data, False, size) == PROGRESS + TABLE + b"\n" + RULED + b"no newline at the end" + kept


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("explained", [True, False])
def test_what_open_mpi_says_of_its_own_sums_is_never_passed_on(size: int, explained: bool) -> None:
    chatter = b"NBC_Progress: an error 75 was found during schedule 0x5 at row-offset 0 - aborting the schedule\n\n"
    # Nor is, once all is said, another empty line.
    kept = b"before\nafter\n" if explained else b"before\n\nafter\n"
    assert filtered(b"before\n" + chatter + b"\nafter\n", explained, size) == kept


@pytest.mark.parametrize(
    ("line", "spoke"), [(b"mpidl: rank 1 on there: boo\n", True), (b"a word of mpidl: no\n", False)]
)
def test_a_rank_that_says_itself_how_it_failed_is_noticed(line: bytes, spoke: bool) -> None:
    stream = Filter(lambda data: None, lambda: False)
    stream.feed(PROGRESS + TABLE + line)
    assert stream.spoke is spoke and not stream.ruled
    stream.feed(RULED)
    assert stream.ruled


def test_an_unfinished_progress_line_passes_at_once() -> None:
    out: list[bytes] = []
    stream = Filter(out.append, lambda: False)
    stream.feed(b"\r 10%")
    assert out == [b"\r", b" 10%"]
    assert not stream.at_line_start


def test_a_post_mortem_behind_an_unfinished_line_is_recognised() -> None:
    assert filtered(b"\r 40%" + OPENMPI + b"\0", True, 4096) == b"\r 40%"


def test_what_launchers_and_ssh_say_of_a_host_that_is_gone_is_kept_for_the_end() -> None:
    lines = (
        b"[a:00130] PRTE ERROR: Not found in file odls_base_default_fns.c at line 1751\n",
        b"Connection to b closed by remote host.\n",
        b"[mpiexec@a] control_cb (pmiserv_cb.c:280): assert (!closed) failed\n",
        b"[proxy:0@a] main (pmip.c:123): demux engine error waiting for event\n",
    )
    assert filtered(b"1\n" + b"".join(lines) + TABLE, True, 7) == b"1\n" + TABLE
    assert filtered(b"1\n" + b"".join(lines) + TABLE, False, 7) == b"1\n" + TABLE + b"".join(lines)


@pytest.mark.parametrize("explained", [True, False])
def test_a_rule_is_held_over_a_pause_only_while_a_failure_is_being_explained(explained: bool) -> None:
    out: list[bytes] = []
    stream = Filter(out.append, lambda: explained)
    begun = b"-" * 70 + b"\nmy own table\n"
    stream.feed(begun)
    assert out == []
    stream.flush()
    assert b"".join(out) == (b"" if explained else begun)


def test_a_long_text_behind_a_rule_is_not_held_for_ever() -> None:
    data = b"-" * 70 + b"\n" + b"a line of a report\n" * 2000
    assert filtered(data, True, 4096) == data


def test_words_of_ranks_on_other_hosts_are_taken_whole_and_what_came_of_them_is_printed() -> None:
    out: list[bytes] = []
    taken: list[bytes] = []

    def take(line: bytes) -> bytes:
        taken.append(line)
        return b"said\n" if line == b"two\n" else b""

    stream = Filter(out.append, lambda: False, take=take)
    for piece in (b"40%" + WORD + b"one\n", WORD + b"tw", b"", b"o\n", b"words\n", WORD + b"cut"):
        stream.feed(piece)
        stream.flush()
    stream.end()
    assert (taken, b"".join(out)) == ([b"one\n", b"two\n"], b"40%said\nwords\n")


def test_reports_go_to_whom_they_are_for_whole_and_whatever_stands_before_them_on_the_line() -> None:
    out: list[bytes] = []
    reports: list[bytes] = []
    stream = Filter(out.append, lambda: False, reports.append)
    for piece in (b"40%" + REPORT + b"one\n", REPORT + b"tw", b"", b"o\n", b"words\n", REPORT + b"cut"):
        stream.feed(piece)
        # Half a report is not for a person, however long the rest takes.
        stream.flush()
    stream.end()
    assert (reports, b"".join(out)) == ([b"one\n", b"two\n"], b"40%words\n")
