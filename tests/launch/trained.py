"""Trains on the ranks at hand what test_second_mpi.py compares, and leaves it in a file.

mpirun -n 3 python -m tests.launch.trained FILE
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from mpidl.algorithms import ALGORITHMS
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.comm.start import startup
from mpidl.experiment import Config
from tests.algorithms.problems import VARIANTS, configuration, label, run


def cases() -> Iterator[tuple[str, Config]]:
    """Every form of every algorithm, with momentum, and over each transport that it can use."""
    for settings in VARIANTS:
        decentralized = issubclass(ALGORITHMS.find(settings["name"]), Decentralized)
        for transport in ("messages", "shared") if decentralized else ("",):
            sections = {"gossip": {"transport": transport}} if transport else {}
            for precision in ("float64", "float32"):
                train = {"rounds": 12, "precision": precision, "device": "cpu"}
                name = " ".join([label(settings), transport, precision])
                yield name, configuration(settings, agents=7, train=train, **sections)


def main(path: Path) -> None:
    comm = startup.start("cpu", 1)
    outcomes = {name: run(config, comm) for name, config in cases()}
    if comm.rank == 0:
        versions = {"torch": torch.__version__, "numpy": np.__version__}
        path.write_bytes(pickle.dumps((startup.library(), versions, outcomes)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
