"""Checkpoints for `fuzz_cases.py`: sound ones, how one is changed at random, and what reads it without ranks."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import yaml

from mpidl import config, experiment
from mpidl.errors import ResultsError
from mpidl.experiment import resume
from mpidl.results.checkpoints import reader
from mpidl.results.checkpoints.folder import CheckpointFolder, part_name
from mpidl.results.checkpoints.index import INDEX, INDEX_SUM, Facts, write_index
from mpidl.results.checkpoints.parts import checksum, write_part
from mpidl.training.copies import in_place
from tests.results.test_checkpoints import AGENTS, SHARES, declared, filled

Damage = Callable[[Path, np.random.Generator], None]

RUN_FILE = "run.h5"
CONFIG = {
    "agents": AGENTS,
    "model": "logistic",
    "data": {"name": "digits", "batch": 4},
    "algorithm": {"name": "dsgd", "lr": 0.1, "momentum": 0.9},
    "graph": "ring",
    "train": {"rounds": 3, "device": "cpu"},
}
DATA = {"the split": "one"}


def write_sound(folder: Path) -> list[Path]:
    """The files of a checkpoint with states of every kind."""
    checkpoints, states = CheckpointFolder(folder / RUN_FILE), [filled(share) for share in SHARES]
    place = checkpoints.unfinished(7)
    place.mkdir(parents=True)
    files = [write_part(place / part_name(n), 7, n, in_place(state, n)) for n, state in enumerate(states)]
    facts = Facts(7, 100, 12.5, AGENTS, yaml.safe_dump(CONFIG), {"torch": "2"}, DATA)
    write_index(place, facts, list(states[0].declarations.values()), files)
    checkpoints.complete(7)
    return sorted(checkpoints.of_round(7).iterdir())


def train(folder: Path) -> list[Path]:
    """The files of the checkpoint that a run of two ranks has left."""
    (folder / "run.yaml").write_text(yaml.safe_dump(CONFIG))
    command = [sys.executable, "-m", "mpidl", "run", "run.yaml", "-n", "2", "-o", RUN_FILE, "-s", "checkpoint.every=3"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return sorted(CheckpointFolder(folder / RUN_FILE).of_round(3).iterdir())


def change(place: Path, rng: np.random.Generator, damage: Damage) -> None:
    """Damages a file of this checkpoint, and mostly makes the checksums right again, so that more is read."""
    parts = sorted(place.glob("rank-*.h5"))
    name = rng.choice([INDEX, INDEX_SUM, "part"], p=[0.5, 0.05, 0.45])
    path = parts[rng.integers(len(parts))] if name == "part" else place / str(name)
    damage(path, rng)
    if name == INDEX_SUM or rng.random() < 0.15:
        return
    if name == "part":
        found = checksum(path)
        with h5py.File(place / INDEX, "r+", locking=False) as file:
            number = parts.index(path)
            file["files/size"][number] = found.size
            file["files/sha256"][number] = found.sha256.encode()
    digest = hashlib.sha256((place / INDEX).read_bytes()).hexdigest()
    (place / INDEX_SUM).write_text(f"{digest}  {INDEX}\n")


def go_on() -> None:
    """As `mpidl run --resume` does: the newest checkpoint that is whole, if it fits the configuration."""
    folder, damages = CheckpointFolder(Path(RUN_FILE)), []
    for round in folder.rounds():
        try:
            checkpoint = reader.open(folder.of_round(round))
            checkpoint.verify()
        except ResultsError as error:
            damages.append(error)
            continue
        resume.compare(config.validate(experiment.Config, CONFIG), AGENTS, checkpoint.facts, ())
        resume.compare_data(DATA, checkpoint.facts, ())
        resume.load(declared(tuple(range(AGENTS))), checkpoint)
        return
    if damages:
        raise damages[0]
