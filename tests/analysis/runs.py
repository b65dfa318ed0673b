"""Small finished runs for tests of what is asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mpidl import results
from mpidl.results import findings
from mpidl.results.findings import Finding, Findings
from mpidl.results.run_file import RunFile


def run(folder: Path, name: str, records: int = 5, **sections: Any) -> results.Run:
    """A run whose consensus model gets better by the record; without a graph, it is the server's model."""
    config = {"name": name, "seed": 1, "algorithm": {"name": "dsgd", "lr": 0.1}, "graph": {"name": "ring"}} | sections
    config = {key: value for key, value in config.items() if value is not None}
    model = "consensus" if "graph" in config else "server"
    file = RunFile.create(folder / f"{name}.h5", config, {"hosts": ["here", "here"]}, None, 3)
    for record in range(records):
        accuracy = 1 - 0.5 / (1 + record)
        file.append(
            {
                "round": 10 * record,
                "epoch": float(record),
                "seconds": 2.0 * record,
                "bytes": 1500.0 * record,
                f"test_accuracy_{model}": accuracy,
                f"test_loss_{model}": 1 - accuracy,
                "test_accuracy_local": np.full(3, accuracy / 2),
            }
            | ({"consensus_distance": 1 / (1 + record)} if "graph" in config else {})
        )
        file.append_timing({"gradient": np.array([1.0, 2.0]) * (record + 1), "bytes_mpi": np.array([100.0, 100.0])})
    file.event("start", "2 ranks")
    file.finish()
    return results.open(file.path)


def analysed(of: results.Run, trace: float, words: str = "consensus") -> None:
    """Writes findings beside a run, as `mpidl analyze` does: a Hessian with this trace, `words` among its texts."""
    steps = np.linspace(0, trace / 2, 6)
    found = [
        Finding("hessian_largest", np.array(trace / 2), "1", "largest eigenvalue of the Hessian"),
        Finding("hessian_trace", np.array(trace), "1", f"trace of the Hessian of {words}"),
        Finding("hessian_trace_error", np.array(0.1), "1", "standard error of the trace"),
        Finding("hessian_eigenvalues", steps[-2:], "1", "largest eigenvalues", ("rank",)),
        Finding("density_nodes", steps, "1", "where Lanczos sees eigenvalues", ("step",)),
        Finding("density_weights", np.full(6, 1 / 6), "1", "share of the spectrum", ("density_nodes",)),
    ]
    kind = Findings("sharpness", {"model": words, "round": 40}, findings.named(found))
    findings.write(findings.beside(of.path), of.path.name, of.created, kind, {})
