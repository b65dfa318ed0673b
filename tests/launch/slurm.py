"""A Slurm of two nodes for tests: `tools/slurm_sandbox.sh`, started once, or for a test alone, and jobs in it."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.mpirun import ROOT, environment

SANDBOX, HOSTS = ROOT / "tools" / "slurm_sandbox.sh", ROOT / "tools" / "two_hosts.sh"
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")
NEEDED_APART = ("ip", "tc", "sshd", "nsenter")
# What a run waits for in each step stands in a file, so that a test can have it go on; it changes no number.
OWN = """
import os, time
from pathlib import Path
from torch.nn.functional import cross_entropy

def loss(module, x, y):
    Path("node-" + os.environ.get("SLURMD_NODENAME", "none")).touch()
    time.sleep(float(Path("pause").read_text()))
    return cross_entropy(module(x), y, reduction="none")
"""
SMALL = """
seed: 3
agents: 4
model: {name: logistic}
data: {name: digits, batch: 16}
algorithm: {name: dsgd, lr: 0.1, momentum: 0.9}
graph: ring
loss: "own:loss"
train: {rounds: 60, device: cpu}
evaluate: {every: 20}
"""


def started(name: str, *words: str) -> dict[str, str]:
    """What commands find a Slurm by, which goes when the tests end."""
    # Not in the folder of a test: munge, which is of another user, does not get there.
    folder = Path(tempfile.gettempdir(), f"mpidl-{name}-{os.getpid()}")
    place = os.environ | {"MPIDL_SLURM": str(folder)}
    atexit.register(subprocess.run, ["bash", SANDBOX, "stop"], env=place, check=False)
    done = subprocess.run(["bash", SANDBOX, "start", *words], env=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)


@functools.cache
def shared() -> dict[str, str]:
    """That whose nodes are this machine twice. Skips where there is none to start."""
    skip_without(NEEDED, "slurm-wlm")
    return started("slurm")


def skip_without(programs: Sequence[str], package: str) -> None:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"there is no {missing[0]} (apt-get install {package})")


class Cluster:
    """This Slurm, and a folder with a configuration to submit from."""

    def __init__(self, folder: Path, slurm: Callable[[], dict[str, str]] = shared) -> None:
        self.folder = folder
        self._environment = environment(slurm())
        # Slurm answers on its hosts, where it has hosts of its own.
        self._where = ("bash", str(HOSTS), "run", "a") if "MPIDL_HOSTS" in self._environment else ()
        (folder / "own.py").write_text(OWN)
        (folder / "small.yaml").write_text(SMALL)
        self.pause(0)

    def pause(self, seconds: float) -> None:
        """How long runs wait in each step from now on."""
        written = self.folder / "pause.part"
        written.write_text(str(seconds))
        written.replace(self.folder / "pause")

    def call(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Any command, in the folder."""
        return subprocess.run(
            self._where + words,
            cwd=self.folder,
            env=self._environment | more,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    def mpidl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.call(sys.executable, "-m", "mpidl", *words)

    def submit(self, *words: str) -> str:
        """The number of the job of `mpidl submit small.yaml` on two nodes with two ranks each."""
        done = self.mpidl("submit", "small.yaml", "-n", "4", "--nodes", "2", "-o", "out.h5", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def state(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        words = self.call("scontrol", "--oneliner", "show", "job", job).stdout.split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job: str, until: Callable[[dict[str, str]], bool], seconds: float = 120) -> dict[str, str]:
        """What Slurm knows of a job once that is so."""
        deadline = time.monotonic() + seconds
        while not until(state := self.state(job)):
            assert time.monotonic() < deadline, f"{state}\n{self.log(job)}"
            if state["JobState"] == "PENDING" and state["Reason"] == "BeginTime":
                # Slurm has what is requeued wait for two minutes.
                self.call("scontrol", "update", f"JobId={job}", "StartTime=now")
            time.sleep(0.3)
        return state

    def log(self, job: str) -> str:
        path = self.folder / f"out-{job}.log"
        return path.read_text() if path.exists() else ""


def apart(folder: Path) -> Cluster:
    """A Slurm of a test's own, whose nodes a and b have networks and names of their own, as PMIx wants them."""
    skip_without(NEEDED, "slurm-wlm")
    skip_without(NEEDED_APART, "openssh-server iproute2")
    if os.geteuid() != 0:
        pytest.skip("hosts of one's own need root")
    if not any(Path("/usr/lib").glob("*/pmix2/lib/libpmix.so")):
        pytest.skip("there is no libpmix.so, by which srun --mpi=pmix works (apt-get install libpmix-dev)")
    return Cluster(folder, lambda: started("slurm-apart", "--apart", "--share", str(folder)))


def is_over(state: dict[str, str]) -> bool:
    return state["JobState"] not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED")
