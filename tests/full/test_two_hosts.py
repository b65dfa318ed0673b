"""Runs on two hosts, made of this machine: the same numbers, and what is said of a host that is cut off, down, or
silent."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mpidl import results
from tests.mpirun import environment
from tests.training.resumed import assert_alike

PROJECT = Path(__file__).parents[2]
SCRIPT = PROJECT / "tools/two_hosts.sh"
SEARCHED = f"{os.environ['PATH']}:/usr/sbin:/sbin"
LACKING = [name for name in ("ip", "tc", "sshd", "nsenter") if shutil.which(name, path=SEARCHED) is None]

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.full,
    pytest.mark.skipif(os.geteuid() != 0, reason="hosts of one's own need root"),
    pytest.mark.skipif(bool(LACKING), reason=f"without {', '.join(LACKING)} there are no hosts of one's own"),
]

CONFIG = """
data: {name: digits}
agents: 8
model: mlp
algorithm: {name: dsgd, lr: 0.1}
graph: ring
train: {rounds: 4000, device: cpu}
evaluate: {every: 500}
checkpoint: {every: 50}
"""


class TwoHosts:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = environment({"MPIDL_HOSTS": str(folder / "hosts"), "PATH": SEARCHED})
        said = subprocess.run(
            ["bash", str(SCRIPT), "start", "--share", str(folder)],
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=90,
        ).stdout
        words = [word for line in said.splitlines() for word in line.removeprefix("export ").split()]
        self.environment |= dict(word.split("=", 1) for word in words)

    def script(self, *words: str) -> None:
        subprocess.run(["bash", str(SCRIPT), *words], env=self.environment, check=True, timeout=90)

    def start(self, name: str, *more: str) -> subprocess.Popen[str]:
        """`mpidl run` on host a, of four ranks on both."""
        command = [sys.executable, "-m", "mpidl", "run", "c.yaml", "--hosts", "a:2,b:2", "-o", f"{name}.h5", *more]
        return subprocess.Popen(
            ["bash", str(SCRIPT), "run", "a", *command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def process_of(self, rank: int) -> int:
        """That rank of the run, as this machine numbers its processes."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            # One may be gone by now.
            with contextlib.suppress(OSError):
                words = (process / "environ").read_bytes().split(b"\0")
                if f"PMIX_RANK={rank}".encode() in words and (process / "cwd").readlink() == self.folder:
                    found.append(int(process.name))
        (one,) = found
        return one

    def under_way(self, name: str, run: subprocess.Popen[str]) -> None:
        """Waits until the run has written a checkpoint."""
        deadline = time.monotonic() + 90
        while not list(self.folder.glob(f"{name}.ckpt/round-?????????")):
            assert run.poll() is None and time.monotonic() < deadline, run.communicate()
            time.sleep(0.05)


def ended(run: subprocess.Popen[str]) -> str:
    """What it said, once it is over."""
    try:
        return run.communicate(timeout=150)[1]
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, on one host."""
    folder = tmp_path_factory.mktemp("one")
    (folder / "c.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "mpidl", "run", "c.yaml", "-n", "4", "-o", "one.h5"]
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True, timeout=150)
    return folder / "one.h5"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[TwoHosts]:
    (tmp_path / "c.yaml").write_text(CONFIG)
    made = TwoHosts(tmp_path)
    yield made
    made.script("stop")


def finished_alike(hosts: TwoHosts, name: str, expected: Path) -> None:
    found = results.open(hosts.folder / f"{name}.h5")
    assert found.status == "finished"
    assert_alike(found.path, expected)


@pytest.mark.parametrize(("seconds", "told"), [(5, False), (13, True)])
def test_two_hosts_have_the_bits_of_one_and_a_cable_that_was_out_changes_none(
    hosts: TwoHosts, expected: Path, seconds: float, told: bool
) -> None:
    run = hosts.start("out")
    hosts.under_way("out", run)
    hosts.script("cut", "b")
    time.sleep(seconds)
    hosts.script("mend", "b")
    said = ended(run)
    assert run.returncode == 0, said
    finished_alike(hosts, "out", expected)
    for words in ("on b has not been heard of for 1", "on b is heard of again, after"):
        assert (words in said) is told, said


@pytest.mark.parametrize("policy", ["abort", "adopt"])
def test_a_host_that_is_gone_is_named_and_the_run_goes_on_where_it_was(
    hosts: TwoHosts, expected: Path, policy: str
) -> None:
    run = hosts.start("out", "-s", f"failures.policy={policy}")
    hosts.under_way("out", run)
    hosts.script("down", "b")
    said = ended(run)
    assert run.returncode == 5, said
    assert said.splitlines()[-1] == "mpidl: host b is gone, and with it 2 of 4 ranks"
    assert not [line for line in said.splitlines() if "PRTE" in line or "An error occurred" in line], said
    assert results.open(hosts.folder / "out.h5").status == "failed"
    _go_on(hosts, expected)


@pytest.mark.parametrize("policy", ["adopt", "drop"])
def test_a_rank_that_dies_on_another_host_is_outlived(hosts: TwoHosts, expected: Path, policy: str) -> None:
    run = hosts.start("out", "-s", f"failures.policy={policy}")
    hosts.under_way("out", run)
    os.kill(hosts.process_of(3), signal.SIGKILL)
    said = ended(run)
    assert run.returncode == 0, said
    if policy == "adopt":
        finished_alike(hosts, "out", expected)
        return
    found = results.open(hosts.folder / "out.h5")
    assert found.status == "finished"
    gone = np.isnan(found.metrics["test_accuracy_local"][-1])
    assert gone.tolist() == [False] * 6 + [True] * 2


def test_a_host_that_falls_silent_for_too_long_is_named(hosts: TwoHosts, expected: Path) -> None:
    run = hosts.start("out", "-s", "failures.timeout=4 s")
    hosts.under_way("out", run)
    hosts.script("kill", "b")
    said = ended(run)
    assert run.returncode == 5, said
    last = said.splitlines()[-1]
    assert last.startswith("mpidl: rank ") and " on b has not been heard of for " in last, said
    assert "Abort is in progress" not in said
    _go_on(hosts, expected)


def _go_on(hosts: TwoHosts, expected: Path) -> None:
    command = [sys.executable, "-m", "mpidl", "run", "c.yaml", "-n", "2", "-o", "out.h5", "--resume"]
    for key in ("failures.policy", "failures.timeout"):
        command += ["--allow-changes", key]
    done = subprocess.run(
        command, cwd=hosts.folder, env=environment(), capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    finished_alike(hosts, "out", expected)
