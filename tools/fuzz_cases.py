"""The cases of `fuzz_campaign.py`: for each kind of file, how one is changed at random, and what reads it.

`mpidl analyze` is none of them: it opens a run and its models as `mpidl evaluate` does, then computes for seconds, and
asks git which commit its findings are of.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch
import yaml

from mpidl import experiment
from mpidl.cli.main import main as command_line
from mpidl.data import DATA
from mpidl.data.reading import whole
from mpidl.experiment import inputs, rehearsal
from mpidl.results import open as open_run
from mpidl.sentences import printable
from tests.data.formats import fuzz
from tests.results import forged
from tools import fuzz_checkpoints

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "show": ["show", "--timing"],
    "show --json": ["show", "--json", "--timing"],
    "compare": ["compare"],
    "plot": ["plot", "-o", "curves.png"],
    "export": ["export"],
    "export --long": ["export", "--long", "-o", "table.json", "--overwrite"],
    "report": ["report"],
}
OF_CHECKPOINTS = {
    "checkpoint list": ["checkpoint", "list", "run.ckpt"],
    "checkpoint verify": ["checkpoint", "verify", "run.ckpt"],
    "checkpoint describe": ["checkpoint", "describe", "run.ckpt"],
    "checkpoint export": ["checkpoint", "export", "run.ckpt", "-o", "out.pt", "--overwrite"],
}
EVALUATE = "evaluate"
VERIFY, EXPORT, IMPORT, RESUME = "checkpoint verify", "checkpoint export", "checkpoint import", "--resume"
READERS = ("Python", "model.init")
WEIGHTS = "weights.pt"
CONFIGURATIONS = sorted((ROOT / "configs").glob("*.yaml"))
CASES = {
    **dict.fromkeys((*COMMANDS, EVALUATE, *READERS, IMPORT, WEIGHTS), 2000),
    **dict.fromkeys((*OF_CHECKPOINTS, RESUME), 2000),
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
        elif kind in (*OF_CHECKPOINTS, RESUME):
            self.paths = fuzz_checkpoints.train(folder) if kind == EXPORT else fuzz_checkpoints.write_sound(folder)
        elif kind in (EVALUATE, IMPORT):
            fuzz_checkpoints.train(folder)
            self.paths = [folder / fuzz_checkpoints.RUN_FILE]
        else:
            self.paths = [forged.write_sound(folder / "run.h5")]
        self.sound = {path: path.read_bytes() for path in self.paths if path.exists()}
        self.use_sound()

    def use_sound(self) -> None:
        """What the children are copies of has imported all that they need."""
        if self.kind == EXPORT:
            # It starts MPI, which each child has to do by itself.
            import mpidl.experiment.saved  # noqa: F401

            return
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
        if self.kind in (*OF_CHECKPOINTS, RESUME):
            fuzz_checkpoints.change(path.parent, rng, changed_file)
        elif self.kind == "configuration":
            path.write_bytes(changed_configuration(rng))
        elif self.kind in (*fuzz.KINDS, WEIGHTS):
            path.write_bytes(fuzz.damage(self.sound[path], rng))
        else:
            changed_file(path, rng)

    def use(self) -> int:
        """What reads the file; its exit code."""
        if self.kind in COMMANDS:
            return command_line([*COMMANDS[self.kind], "run.h5"])
        if self.kind == EVALUATE:
            # Threads do not live on in a copy of the process.
            return command_line(["evaluate", "run.h5", "-s", "train.threads=1"])
        if self.kind in OF_CHECKPOINTS:
            return command_line(OF_CHECKPOINTS[self.kind])
        if self.kind == IMPORT:
            return command_line(["checkpoint", "import", "run.h5", "run.yaml"])
        read: Callable[[], object] = self.read_run
        if self.kind in fuzz.KINDS:
            read = self.read_data
        elif self.kind == "configuration":
            read = read_configuration
        elif self.kind == RESUME:
            read = fuzz_checkpoints.go_on
        try:
            read()
        except Exception as error:
            code = getattr(error, "exit_code", None)
            if code is None:
                raise
            print(f"mpidl: {printable(str(error))}", file=sys.stderr)
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


def changed_file(path: Path, rng: np.random.Generator) -> None:
    """A file of HDF5 changed in its parts, or in its bytes."""
    if rng.random() < 0.3 and h5py.is_hdf5(path):
        changed_tree(path, rng)
    else:
        path.write_bytes(changed_bytes(path.read_bytes(), rng))


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
            name, value = names[rng.integers(len(names))], VALUES[rng.integers(len(VALUES))]
            # What was changed before may lead nowhere.
            with contextlib.suppress(TypeError, ValueError, KeyError, OSError, RuntimeError):
                item = file.get(name, file)
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
