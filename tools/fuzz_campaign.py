"""Forged and damaged files through everything that reads them: run files, configurations, data files of every format.

    python tools/fuzz_campaign.py                         # all of it, into a folder that a second call goes on from
    python tools/fuzz_campaign.py --kinds show hdf5 --cases 200
    python tools/fuzz_campaign.py --case show 17          # one case again, with its output

Each case is a sound file, changed at random by a seed and the number of the case, and read by a child of this process
with limits of processor time, memory and patience. It must end with an exit code that the README names, in silence or
in one sentence; nothing that is read may start a program, reach a network, or write outside its folder.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import h5py
import numpy as np
import torch
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mpidl import experiment  # noqa: E402
from mpidl.cli.main import main as command_line  # noqa: E402
from mpidl.data import DATA  # noqa: E402
from mpidl.data.reading import whole  # noqa: E402
from mpidl.errors import ExitCode  # noqa: E402
from mpidl.experiment import inputs, rehearsal  # noqa: E402
from mpidl.results import open as open_run  # noqa: E402
from tests.data.formats import fuzz  # noqa: E402
from tests.results import forged  # noqa: E402

SECONDS, PATIENCE, MEMORY = 40, 90, 4 * 2**30
# What no file may bring about; Python tells an audit hook of each before it happens.
FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "pty.spawn"}
CODES = {int(code) for code in ExitCode} - {ExitCode.INTERNAL}
COMMANDS = {
    "show": ["show", "--timing"],
    "show --json": ["show", "--json", "--timing"],
    "compare": ["compare"],
    "plot": ["plot", "-o", "curves.png"],
}
READERS = ("Python", "model.init")
WEIGHTS = "weights.pt"
CONFIGURATIONS = sorted((ROOT / "configs").glob("*.yaml"))
CASES = {
    **dict.fromkeys((*COMMANDS, *READERS, WEIGHTS), 2000),
    "configuration": 2000,
    **dict.fromkeys(fuzz.KINDS, 500),
}


class Campaign:
    """The cases of one kind: how to make a file of each, and what to do with it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.keys: dict[str, object] = {}
        if kind in fuzz.KINDS:
            self.keys, self.paths = fuzz.prepare(kind, folder)
        elif kind == "configuration":
            self.paths = [folder / "run.yaml"]
        elif kind == WEIGHTS:
            self.paths = [folder / WEIGHTS]
            torch.save(torch.nn.Linear(4, 3).state_dict(), self.paths[0])
        else:
            self.paths = [forged.write_sound(folder / "run.h5")]
        self.sound = {path: path.read_bytes() for path in self.paths if path.exists()}
        self.use_sound()

    def use_sound(self) -> None:
        """What the children are copies of has imported all that they need."""
        if self.kind == "configuration":
            self.paths[0].write_bytes(CONFIGURATIONS[-4].read_bytes())
        with (
            (self.folder / "output").open("w") as output,
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            code = self.use()
        if code:
            raise RuntimeError((self.folder / "output").read_text())

    def make(self, rng: np.random.Generator) -> None:
        """The file of one case."""
        for path, content in self.sound.items():
            path.write_bytes(content)
        path = self.paths[rng.integers(len(self.paths))]
        if self.kind == "configuration":
            path.write_bytes(changed_configuration(rng))
        elif self.kind in (*fuzz.KINDS, WEIGHTS):
            path.write_bytes(fuzz.damage(self.sound[path], rng))
        elif rng.random() < 0.3:
            changed_tree(path, rng)
        else:
            path.write_bytes(changed_bytes(self.sound[path], rng))

    def use(self) -> int:
        """What reads the file; its exit code."""
        if self.kind in COMMANDS:
            return command_line([*COMMANDS[self.kind], "run.h5"])
        read: Callable[[], object] = self.read_run
        if self.kind in fuzz.KINDS:
            read = self.read_data
        elif self.kind == "configuration":
            read = read_configuration
        try:
            read()
        except Exception as error:
            code = getattr(error, "exit_code", None)
            if code is None:
                raise
            print(f"mpidl: {error}", file=sys.stderr)
            return int(code)
        return 0

    def read_run(self) -> None:
        if self.kind == "Python":
            run = open_run("run.h5")
            assert isinstance(run.config, dict)
            for table in (run.metrics, run.timing, run.snapshots):
                for name in table:
                    table[name]
        else:
            inputs._weights(str(self.paths[0].resolve()))

    def read_data(self) -> None:
        source = DATA.parse({"name": self.kind, "root": ".", **self.keys})
        dataset = source.load()
        if np.prod(dataset.x.shape, dtype=float) < 1e7:
            whole(dataset.x)
        source.deal(dataset, 2, 0)


def read_configuration() -> None:
    """As `mpidl run` does before it starts ranks."""
    config = experiment.load("run.yaml")
    experiment.check(config, 2, Path("out.h5"))
    rehearsal.rehearse(config, 2)


def changed_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes overwritten, where the file is not empty anyway, or other damage."""
    if rng.random() < 0.3:
        return fuzz.damage(content, rng)
    data = bytearray(content)
    places = np.flatnonzero(np.frombuffer(content, np.uint8))
    for place in rng.choice(places, int(rng.integers(1, 5))):
        data[place] = data[place] ^ (1 << rng.integers(8)) if rng.random() < 0.5 else rng.integers(256)
    return bytes(data)


VALUES = (np.nan, np.inf, -1, 0, 2**63 - 1, 1e308, "", "x" * 70_000, "\x1b[2J", [], [[1, 2], [3, 4]], b"\xff", True)


def changed_tree(path: Path, rng: np.random.Generator) -> None:
    """An attribute, an array or a group of an HDF5 file replaced by something else, or left out."""
    with h5py.File(path, "r+", locking=False) as file:
        names: list[str] = []
        file.visit(names.append)
        for _ in range(int(rng.integers(1, 4))):
            item = file.get(names[rng.integers(len(names))], file)
            value = VALUES[rng.integers(len(VALUES))]
            with contextlib.suppress(TypeError, ValueError, KeyError, OSError, RuntimeError):
                if len(item.attrs) and rng.random() < 0.5:
                    key = list(item.attrs)[rng.integers(len(item.attrs))]
                    del item.attrs[key]
                    item.attrs[key] = value
                elif item.name != "/":
                    parent, name = item.parent, item.name.rpartition("/")[2]
                    del parent[name]
                    kinds = (value, np.full(int(rng.integers(9)), 1e308), h5py.SoftLink("/metrics"))
                    parent[name] = kinds[rng.integers(len(kinds))]


def changed_configuration(rng: np.random.Generator) -> bytes:
    """A configuration with values, keys or characters changed."""
    # Most have data that come with mpidl, so that more than the first look at them is reached.
    near = [path for path in CONFIGURATIONS if "quickstart" in path.name]
    choice = near if rng.random() < 0.7 else CONFIGURATIONS
    text = choice[rng.integers(len(choice))].read_text()
    if rng.random() < 0.5:
        return fuzz.damage(text.encode(), rng)
    config = yaml.safe_load(text)
    values = [10**9, 10**26, -1, 0, 1e308, -1e-300, "", "\0", "x" * 100_000, [], {}, None, True, [[[]]], "/dev/zero"]
    values += [1, 2, 3, 1000, 0.5, 1.0, 1e-9, "1 epoch", "ring", "auto", [1], [0.5, 0.1]] * 2
    for _ in range(int(rng.integers(1, 4))):
        place = config
        while (inner := [value for value in place.values() if isinstance(value, dict)]) and rng.random() < 0.6:
            place = inner[rng.integers(len(inner))]
        keys = list(place)
        if keys:
            place[keys[rng.integers(len(keys))]] = values[rng.integers(len(values))]
    return yaml.safe_dump(config).encode()


def child(campaign: Campaign, output: int) -> NoReturn:
    """The whole life of a case."""
    os.chdir(campaign.folder)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    allowed = (str(campaign.folder), os.devnull, tempfile.gettempdir())

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        writing = event == "open" and isinstance(arguments[0], str) and str(arguments[1])[:1] in ("w", "a", "x")
        if event in FORBIDDEN or (writing and not os.path.realpath(str(arguments[0])).startswith(allowed)):
            os.write(2, f"*** forbidden: {event} {arguments!r:.200}\n".encode())
            os._exit(99)

    sys.addaudithook(watch)
    code = 98
    try:
        code = campaign.use()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(campaign: Campaign, seed: int, case: int) -> dict[str, object]:
    """How one case ended."""
    campaign.make(np.random.default_rng([seed, sorted(CASES).index(campaign.kind), case]))
    log = campaign.folder / "output"
    with log.open("wb") as output:
        began = time.monotonic()
        process = os.fork()
        if not process:
            child(campaign, output.fileno())
        descriptor = os.pidfd_open(process)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        late = not poll.poll(PATIENCE * 1000)
        if late:
            os.kill(process, signal.SIGKILL)
        _, status, used = os.wait4(process, 0)
        os.close(descriptor)
    text = log.read_text(errors="replace")
    return {
        "case": case,
        "end": "hangs" if late else ended(status, text),
        "seconds": round(time.monotonic() - began, 2),
        "megabytes": used.ru_maxrss // 1024,
        "text": text[-400:],
    }


def ended(status: int, text: str) -> str:
    """An exit code, or what is wrong."""
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    code = os.WEXITSTATUS(status)
    if code == 99:
        return "forbidden"
    if "Traceback" in text or code == 98:
        return "traceback"
    if code not in CODES:
        return f"code {code}"
    errors = [line for line in text.splitlines() if line.startswith("mpidl: ")]
    if code and (len(errors) != 1 or text != errors[0] + "\n"):
        return "more than a sentence"
    return "read" if code == 0 else "refused"


def table(folder: Path) -> str:
    """What has been found so far, a line for each kind."""
    lines = ["kind            cases   read  refused  wrong  median s  most s  most MB"]
    for kind in CASES:
        path = folder / f"{kind}.jsonl"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        if not found:
            continue
        ends = collections.Counter(case["end"] for case in found)
        wrong = {end: count for end, count in ends.items() if end not in ("read", "refused")}
        seconds = sorted(case["seconds"] for case in found)
        crashed = sum("HDF5 crashes on it" in case["text"] for case in found)
        endless = sum("comes to no end" in case["text"] for case in found)
        lines.append(
            f"{kind:14} {len(found):6} {ends['read']:6} {ends['refused']:8} {sum(wrong.values()):6} "
            f"{seconds[len(seconds) // 2]:9.2f} {seconds[-1]:7.2f} {max(case['megabytes'] for case in found):8}"
            + (f"  {crashed} of the refused crash HDF5, {endless} keep it busy" if crashed + endless else "")
            + (f"  {wrong}" if wrong else "")
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=CASES, default=list(CASES), metavar="KIND")
    parser.add_argument("--cases", type=int, help="of each kind; default: 2,000, and 500 of data files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "fuzz", help="what is known of each case")
    parser.add_argument("--case", nargs=2, metavar=("KIND", "CASE"), help="one case again, with its output")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary).resolve()
        if options.case:
            kind, case = options.case
            print(json.dumps(run(Campaign(kind, place / "case"), options.seed, int(case)), indent=1))
            for path in Campaign(kind, place / "case").folder.iterdir():
                print(path)
            return 0
        for kind in options.kinds:
            path = options.folder / f"{kind}.jsonl"
            done = len(path.read_text().splitlines()) if path.exists() else 0
            campaign = Campaign(kind, place / kind.replace(" ", "-"))
            with path.open("a") as log:
                for case in range(done, options.cases or CASES[kind]):
                    log.write(json.dumps(run(campaign, options.seed, case)) + "\n")
                    log.flush()
    print(table(options.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
