"""How a launch ends: exit codes, last words, signals; the launcher is a stand-in (tests/cli starts real ones)."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mpidl.launch.launcher import Launcher
from mpidl.launch.library import Library
from mpidl.launch.process import Launch

PARENT = """
import os, sys
from mpidl.launch import process
from mpidl.launch.launcher import Launcher
from mpidl.launch.library import parse_library
if "PATIENCE" in os.environ:
    process.END_SECONDS = process.LOCK_SECONDS = float(os.environ["PATIENCE"])
process.find = lambda: (parse_library("MPICH Version: 4.2", []), Launcher(sys.argv[1], "mpich"))
sys.exit(process.Launch(3, ["program"]).run())
"""
RULE = "-" * 74


@pytest.fixture
def launch(tmp_path: Path):
    """Starts a launch whose launcher is this Python program."""
    started = []

    def start(program: str, **options: Any) -> subprocess.Popen[str]:
        launcher = tmp_path / "launcher"
        launcher.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\n{program}\n")
        launcher.chmod(0o755)
        command = [sys.executable, "-c", PARENT, str(launcher)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # As users have it, whoever runs the tests.
        options["env"] = {k: v for k, v in options.get("env", os.environ).items() if k != "PYTHONUNBUFFERED"}
        started.append(subprocess.Popen(command, text=True, **pipes, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def says(line: str, code: int) -> str:
    return f"open(os.environ['MPIDL_FAILURE_FILE'], 'w').write({json.dumps({'line': line, 'exit_code': code})!r})"


def wait_until_forwarding(process: subprocess.Popen[str]) -> None:
    """A launcher that starts fast may speak before the process that waits for it has set up its handlers."""
    caught, deadline = 0, time.monotonic() + 30
    while not caught >> (signal.SIGUSR2 - 1) & 1:
        assert time.monotonic() < deadline, "signals are not passed on"
        time.sleep(0.01)
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)


def test_output_passes_through_and_a_launcher_that_fails_by_itself_is_named(launch) -> None:
    process = launch("print(*sys.argv[1:]); print('a\\r b', end='', file=sys.stderr); sys.exit(213)")
    last = "mpidl: launcher ended with exit code 213; what it says stands above\n"
    assert process.communicate() == ("-n 3 program\n", f"a\n b\n{last}") and process.returncode == 5


def test_the_failing_ranks_line_comes_last_and_the_noise_is_gone(launch) -> None:
    noise = f"sys.stderr.write('40%{RULE}\\nMPI_ABORT was invoked\\n{RULE}\\n'); sys.exit(77)"
    process = launch(says("mpidl: rank 1 on here: boo", 3) + "\n" + noise)
    assert process.communicate()[1] == "40%\nmpidl: rank 1 on here: boo\n"
    assert process.returncode == 3


def test_a_rank_that_dies_by_a_signal_is_named_instead_of_the_launchers_words(launch) -> None:
    words = "process rank 1 with PID 7 on node far exited on\\nsignal 11 (Segmentation fault)"
    process = launch(f"sys.stderr.write('40%{RULE}\\n{words}\\n{RULE}\\n'); sys.exit(139)")
    assert process.communicate()[1] == "40%\nmpidl: rank 1 on far was ended by SIGSEGV\n"
    assert process.returncode == 5


def test_a_launcher_that_is_killed_is_no_rank(launch) -> None:
    process = launch("os.kill(os.getpid(), signal.SIGKILL)")
    assert process.communicate()[1].startswith("mpidl: launcher was ended by SIGKILL")
    assert process.returncode == 5


def test_a_rank_that_has_not_begun_is_ended_when_its_launcher_is_killed(launch, tmp_path: Path) -> None:
    begins = f"os.close(1); os.close(2); time.sleep(1); open({str(tmp_path / 'begun')!r}, 'w')"
    process = launch(f"if os.fork() == 0:\n    {begins}\nelse:\n    os.kill(os.getpid(), signal.SIGKILL)")
    process.communicate()
    assert process.returncode == 5 and not (tmp_path / "begun").exists()


def test_last_words_cut_short_are_no_traceback(launch) -> None:
    process = launch("open(os.environ['MPIDL_FAILURE_FILE'], 'w').write('{\"li'); sys.exit(9)")
    assert process.communicate()[1].startswith("mpidl: launcher ended with exit code 9") and process.returncode == 5


@pytest.mark.parametrize(
    ("number", "passed_on", "code"),
    [
        (signal.SIGINT, signal.SIGINT, 130),
        (signal.SIGTERM, signal.SIGTERM, 143),
        (signal.SIGHUP, signal.SIGTERM, 143),
        (signal.SIGQUIT, signal.SIGTERM, 143),
        (signal.SIGUSR1, signal.SIGUSR1, 5),
    ],
)
def test_signals_reach_the_launcher_once(launch, number: signal.Signals, passed_on: signal.Signals, code: int) -> None:
    # Not print: the signal may come while the main program is inside of it.
    handler = "lambda n, f: (os.write(1, b'got %d\\n' % n), os._exit(5))"
    names = "signal.SIGINT, signal.SIGTERM, signal.SIGUSR1"
    process = launch(f"[signal.signal(n, {handler}) for n in ({names})]\nprint('up', flush=True)\ntime.sleep(60)")
    assert process.stdout.readline() == "up\n"
    wait_until_forwarding(process)
    process.send_signal(number)
    out, err = process.communicate()
    assert out == f"got {int(passed_on)}\n"
    assert process.returncode == code
    assert ("interrupted" in err) == (code != 5)


def test_an_interrupt_is_told_in_the_same_words_where_the_ranks_had_time_to_say_so(launch) -> None:
    said = says("mpidl: all 3 ranks: interrupted", 130)
    handler = f"def stop(*_):\n    {said}\n    os._exit(130)\n"
    process = launch(f"{handler}signal.signal(signal.SIGINT, stop)\nprint('up', flush=True)\ntime.sleep(60)")
    assert process.stdout.readline() == "up\n"
    wait_until_forwarding(process)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "mpidl: interrupted\n"
    assert process.returncode == 130


def test_ranks_that_end_well_in_spite_of_an_interrupt_have_ended_well(launch) -> None:
    process = launch("signal.signal(signal.SIGINT, lambda *_: os._exit(0))\nprint('up', flush=True)\ntime.sleep(60)")
    assert process.stdout.readline() == "up\n"
    wait_until_forwarding(process)
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", "") and process.returncode == 0


def test_what_nohup_has_ignored_stays_ignored(launch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = launch("print('up', flush=True)\nsys.stdin.read()\ntime.sleep(1)\nsys.exit(0)")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert process.stdout.readline() == "up\n"
    wait_until_forwarding(process)
    process.send_signal(signal.SIGHUP)
    assert process.communicate() == ("", "") and process.returncode == 0


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_reader_that_has_gone_ends_nothing(launch, closed: str) -> None:
    process = launch(
        "print('up', flush=True)\ntime.sleep(0.5)\nfor out in (sys.stdout, sys.stderr): print('a', file=out)"
    )
    assert process.stdout.readline() == "up\n"
    getattr(process, closed).close()
    assert process.wait(timeout=30) == 0


def test_too_few_open_files_are_named_as_the_cause(launch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    process = launch("", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)))
    sentence = "the limit of 16 open files for a process (ulimit -n) is too low: 3 ranks need 36"
    assert sentence in process.communicate()[1] and limits == resource.getrlimit(resource.RLIMIT_NOFILE)
    raised = launch(
        "import resource; print(resource.getrlimit(7))", preexec_fn=lambda: resource.setrlimit(7, (16, 999))
    )
    assert raised.communicate()[0] == "(112, 999)\n"


def test_a_launcher_that_does_not_end_though_a_rank_has_failed_is_ended(launch) -> None:
    stays = "[signal.signal(n, lambda *_: None) for n in (signal.SIGTERM, signal.SIGINT)]\nwhile True: time.sleep(60)"
    process = launch(says("mpidl: rank 1 on here: boo", 3) + "\n" + stays, env=os.environ | {"PATIENCE": "0.2"})
    assert process.communicate(timeout=60)[1] == "mpidl: rank 1 on here: boo\n"
    assert process.returncode == 3


def test_a_launcher_without_a_rank_on_its_host_is_not_waited_for_long(launch) -> None:
    stays = "[signal.signal(n, lambda *_: os.write(2, b'\\n')) for n in (signal.SIGTERM, signal.SIGINT)]"
    # A rank that has left its word, and that is gone.
    gone = {"rank": 0, "host": socket.gethostname(), "process": 2**22 + 1, "started": 1, "shared": []}
    word = f"open(os.path.dirname(os.environ['MPIDL_FAILURE_FILE']) + '/rank-0', 'w').write({json.dumps(gone)!r})"
    ends = [word, says("mpidl: rank 1 on there: boo", 5), stays, "while True: time.sleep(60)"]
    # Of the time for one with ranks nothing is left to wait for.
    process = launch("\n".join(ends), env=os.environ | {"PATIENCE": "1000"})
    assert process.communicate(timeout=60)[1] == "mpidl: rank 1 on there: boo\n"
    assert process.returncode == 5


def test_no_launcher_outlives_its_parent(launch) -> None:
    process = launch("print(os.getpid(), flush=True)\ntime.sleep(60)")
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("the launcher went on")


@pytest.mark.parametrize(
    ("written", "code", "told"),
    [
        ("running", 130, "interrupted"),
        ("failed", 130, "interrupted"),
        ("failed", 143, "interrupted"),
        ("failed", 75, "interrupted"),
        ("interrupted", 5, "failed"),
        ("running", 1, "failed"),
        ("interrupted", 143, "interrupted"),
        ("diverged", 3, "diverged"),
        ("finished", 4, "finished"),
    ],
)
def test_a_run_file_says_how_its_run_ended_whatever_the_rank_that_wrote_it_saw(tmp_path: Path, written, code, told):
    from mpidl import results
    from mpidl.launch.process import close_run_file
    from mpidl.results.run_file import RunFile

    run = RunFile.create(tmp_path / "run.h5", {"name": "r"}, {}, None, 1)
    run.append({"round": 1, "seconds": 0.5})
    if written == "running":
        run.flush()
        run.close()
    else:
        run.finish(written)
    # Of a rank that was killed before it could remove it.
    lock = tmp_path / "run.h5.lock"
    lock.write_text("process 1 on a host")
    close_run_file(tmp_path / "run.h5", code)
    assert results.open(tmp_path / "run.h5").status == told
    assert not lock.exists()


@pytest.mark.parametrize(
    ("asked", "ranks", "kind", "shrinks", "outliving"),
    [
        (True, 2, "openmpi", True, True),
        (False, 2, "openmpi", True, False),
        (True, 1, "openmpi", True, False),
        (True, 2, "mpich", True, False),
        (True, 2, "openmpi", False, False),
    ],
)
def test_ranks_outlive_others_where_that_is_asked_for_and_mpi_and_launcher_can(asked, ranks, kind, shrinks, outliving):
    def found():
        return Library(kind, "5", None, "", "4", shrinks), Launcher("mpirun", kind)

    assert Launch(ranks, ["program"], found=found, outliving=asked).outliving is outliving
