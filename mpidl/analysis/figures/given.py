"""What runs were given: which agent holds which examples, and who talks with whom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidl.analysis.settings import part_name
from mpidl.errors import ConfigError, ResultsError
from mpidl.graphs.base import Mixing
from mpidl.graphs.draw import MOST_ROUNDS, Shown, draw_rounds
from mpidl.results import Run
from mpidl.spoken import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def draw_classes(runs: Sequence[Run], *, title: str | None = None) -> Figure:
    """Classes × agents as the first run has divided its data, which must be there; told is whose division it is."""
    from mpidl.data.draw import draw
    from mpidl.experiment.measuring import configuration

    run = runs[0]
    config = configuration(run.path, run.config)
    dataset = config.data.load()
    shares = config.data.deal(dataset, run.agents, config.seed)
    counts = shares.class_counts(dataset.labels, dataset.outputs) if dataset.task == "classification" else None
    alike = sum(_division(other) == _division(run) for other in runs)
    whose = "" if alike == len(runs) else f" (in {alike} of {len(runs)} runs, as in {run.path.name})"
    said = f"{config.data.name}, {config.data.split.name}, {counted(run.agents, 'agent')}{whose}"
    return draw(shares.sizes, counts, said if title is None else title, dataset.class_names)


def _division(run: Run) -> str:
    """What decides who holds what, as text."""
    config = run.sections()
    data = config.get("data")
    split = data.get("split") if isinstance(data, dict) else None
    own = split.get("seed") if isinstance(split, dict) else None
    return json.dumps([data, run.agents, config.get("seed") if own is None else own], sort_keys=True, default=str)


def draw_graph(runs: Sequence[Run], *, title: str | None = None) -> Figure:
    """The graphs of these runs, as they were in the first round, each once."""
    shown: dict[bytes, Shown] = {}
    for run in runs:
        mixing = None if run.graph is None else _mixing(run)
        if mixing is not None and mixing.digest not in shown:
            shown[mixing.digest] = Shown(_heading(run), _positions(run), mixing)
    if not shown:
        raise ResultsError("nothing to plot: none of these runs has a graph; federated methods need none")
    if len(shown) > MOST_ROUNDS:
        raise ConfigError(f"these runs have {len(shown)} different graphs; name up to {MOST_ROUNDS} of them", "RUN.h5")
    return draw_rounds(list(shown.values()), "Graphs of the runs" if title is None else title)


def _heading(run: Run) -> str:
    period = (run.graph or {}).get("period", 1)
    when = {1: "", 0: ", first round"}.get(period, f", first round of {period}")
    return f"{part_name(run.sections().get('graph'))}, {counted(run.agents, 'agent')}{when}"


def _positions(run: Run) -> NDArray[np.float64]:
    """Where the graph is drawn by its own lights; on a circle where it is not one of mpidl's."""
    from mpidl.graphs import GRAPHS
    from mpidl.graphs.simple import Ring

    section: Any = run.config.get("graph")
    if part_name(section) in GRAPHS:
        return GRAPHS.parse(section).positions(run.agents)
    return Ring(name="ring").positions(run.agents)


def _mixing(run: Run) -> Mixing:
    """The weights that the run file holds."""
    graph = run.graph or {}
    try:
        edges, weights = np.asarray(graph["edges"], dtype=np.int64).reshape(-1, 2), np.asarray(graph["weights"], float)
        matrix = np.diag(np.asarray(graph["self_weights"], dtype=float))
        if len(matrix) != run.agents or len(edges) != len(weights) or (edges < 0).any():
            raise ValueError("its edges are not those of its agents")
        matrix[edges[:, 1], edges[:, 0]] = weights
        return Mixing.from_dense(matrix)
    except (ConfigError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"{str(run.path)!r} is damaged: its graph cannot be drawn") from error
