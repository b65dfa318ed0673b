"""How far csgd on a9a ends from the optimum that L-BFGS finds; prints the gaps of objective and parameters.

mpirun -n 2 python -m tests.full.optimum FOLDER_OF_DATA_SETS
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from mpidl import experiment
from mpidl.comm.start import startup
from tests.algorithms.problems import run
from tests.mpirun import ROOT


def rows_and_labels(path: Path) -> tuple[Tensor, Tensor]:
    """The training file, read by hand."""
    lines = path.read_text().splitlines()
    x, y = torch.zeros(len(lines), 123, dtype=torch.float64), torch.zeros(len(lines), dtype=torch.int64)
    for place, line in enumerate(lines):
        label, *pairs = line.split()
        y[place] = int(float(label) > 0)
        for pair in pairs:
            index, value = pair.split(":")
            x[place, int(index) - 1] = float(value)
    return x, y


def main(folder: Path) -> None:
    comm = startup.start("cpu", 1)
    config = experiment.load(ROOT / "configs" / "a9a-logistic.yaml", [f"data.root={folder}"])
    reached = torch.from_numpy(run(config, comm).rows[0])
    if comm.rank:
        return
    x, y = rows_and_labels(folder / "libsvm" / "a9a")
    row = torch.zeros_like(reached, requires_grad=True)

    def objective(row: Tensor) -> Tensor:
        A, b = row[:-2].view(2, -1), row[-2:]
        return torch.nn.functional.cross_entropy(x @ A.T + b, y) + config.algorithm.weight_decay / 2 * row @ row

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = objective(row)
        value.backward()
        return value

    optimizer = torch.optim.LBFGS(
        [row], max_iter=400, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )
    optimizer.step(closure)
    closure()
    if row.grad.norm() > 1e-8:
        raise SystemExit(f"L-BFGS stopped at a gradient of norm {row.grad.norm():.1e}")
    with torch.no_grad():
        print(float(objective(reached) - objective(row)), float((reached - row).abs().max()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
