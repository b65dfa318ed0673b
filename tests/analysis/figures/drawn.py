"""Run files of numbers that a test chooses, for pictures of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpidl import results
from mpidl.results.run_file import RunFile

RING = {
    "edges": [[0, 1], [1, 0], [1, 2], [2, 1], [2, 0], [0, 2]],
    "weights": [1 / 3] * 6,
    "self_weights": [1 / 3] * 3,
    "period": 1,
}


def written(
    folder: Path,
    name: str,
    columns: dict[str, Sequence[Any]],
    *,
    timing: dict[str, Sequence[Any]] | None = None,
    stored: dict[str, Any] | None = None,
    **sections: Any,
) -> results.Run:
    """A finished run of three agents on two ranks with these columns, `stored` its /graph; rounds are 0, 10, 20, …"""
    config = {"name": name, "seed": 1, "algorithm": {"name": "dsgd", "lr": 0.1}, "graph": {"name": "ring"}} | sections
    config = {key: value for key, value in config.items() if value is not None}
    file = RunFile.create(folder / f"{name}.h5", config, {"hosts": ["here", "here"]}, stored, 3)
    records = len(next(iter(columns.values())))
    scales = {
        "round": [10 * record for record in range(records)],
        "epoch": [float(record) for record in range(records)],
        "seconds": [2.0 * record for record in range(records)],
        "bytes": [1500.0 * record for record in range(records)],
    }
    for record in range(records):
        file.append({key: np.asarray(values[record]) for key, values in (scales | columns).items()})
        if timing is not None:
            file.append_timing({key: np.asarray(values[record], dtype=float) for key, values in timing.items()})
    file.finish()
    return results.open(file.path)


def learning(
    folder: Path, name: str, best: float = 0.95, seed: int = 1, records: int = 9, **sections: Any
) -> results.Run:
    """A run as an experiment makes it: everything recorded, agents apart, ranks unlike, noise by its seed."""
    rng = np.random.default_rng(seed)
    grown = 1 - np.exp(-np.arange(records) / 2)
    accuracy = 0.1 + (best - 0.1) * grown * (1 - 0.02 * rng.random(records))
    own = accuracy[:, None] * (1 - 0.2 * rng.random((records, 3)))
    federated = sections.get("graph", {}) is None
    model = "server" if federated else "consensus"
    columns: dict[str, Sequence[Any]] = {
        f"test_accuracy_{model}": accuracy,
        f"test_loss_{model}": 2.3 * (1.05 - grown),
        "test_accuracy_local": own,
        "test_loss_local": 2.5 * (1.1 - own),
    }
    if not federated:
        columns["consensus_distance"] = np.array([1e-14, *(1 / (1 + np.arange(1, records)))])
    timing = {
        name: np.outer(np.arange(records), share)
        for name, share in {"gradient": [0.9, 1.0], "waiting": [0.3, 0.1], "mixing": [0.1, 0.2], "io": [0, 0]}.items()
    }
    return written(folder, name, columns, timing=timing, stored=None if federated else RING, seed=seed, **sections)
