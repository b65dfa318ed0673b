"""A run file to write into, and one that is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpidl.results.run_file import RunFile

AGENTS = 3
CONFIG = {"name": "small", "seed": 1, "algorithm": {"name": "dsgd", "lr": 1e-5}, "graph": {"name": "ring"}}
GRAPH = {"name": "ring", "edges": [[0, 1], [1, 2], [2, 0]], "weights": [1 / 3] * 3}


@pytest.fixture
def create(tmp_path: Path) -> Iterator[Callable[..., RunFile]]:
    """Creates a run file in the test's folder; its lock is given up at the end."""
    created: list[RunFile] = []

    def make(name: str = "run.h5", **keys: object) -> RunFile:
        run = RunFile.create(tmp_path / name, CONFIG, {"hosts": ["a", "b"]}, GRAPH, AGENTS, **keys)
        created.append(run)
        return run

    yield make
    for run in created:
        run.close()
