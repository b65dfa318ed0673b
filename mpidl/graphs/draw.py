"""A picture of a graph: its agents and edges above, its weight matrix below, round by round where it changes.

Of several graphs, the first round of each, side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidl.graphs.base import Graph, Mixing, Topology
from mpidl.pictures import new_figure, save

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rounds side by side that are still legible.
MOST_ROUNDS = 5
# Above these numbers of agents, numbers within nodes and single arrowheads only blur.
MOST_LABELS = 64
MOST_ARROWS = 2000


def draw(graph: Graph, topology: Topology, path: Path, title: str) -> None:
    """Writes the picture; the suffix (png, pdf, svg) chooses the format."""
    of = "" if topology.period is None else f" of {topology.period}"
    shown = topology.rounds(MOST_ROUNDS)[:MOST_ROUNDS]
    titles = ["" if topology.period == 1 else f"round {t}{of}" for t in shown]
    _draw([(heading, graph, topology, t) for heading, t in zip(titles, shown, strict=True)], path, title)


def draw_several(graphs: Mapping[str, tuple[Graph, Topology]], path: Path, title: str) -> None:
    """Writes one picture of graphs of as many agents, by name."""
    _draw([(name, graph, topology, 0) for name, (graph, topology) in graphs.items()], path, title)


def _draw(shown: Sequence[tuple[str, Graph, Topology, int]], path: Path, title: str) -> None:
    """A column for each heading, graph, topology and round."""
    figure = new_figure(max(3.4 * len(shown), 5.0) + 0.8, 8.2)
    figure.suptitle(title)
    panels = figure.subplots(2, len(shown), squeeze=False)
    matrices = [topology.at(t).dense() for _, _, topology, t in shown]
    low = min(matrix.min() for matrix in matrices)
    high = max(matrix.max() for matrix in matrices)
    for column, (heading, graph, topology, t) in enumerate(shown):
        _draw_edges(panels[0, column], graph.positions(topology.agents), topology.at(t))
        panels[0, column].set_title(heading)
        image = _draw_matrix(panels[1, column], matrices[column], min(low, 0.0), high)
        panels[1, column].set_ylabel("" if column else "receiver i")
    figure.colorbar(image, ax=list(panels[1]), label="weight w_ij", shrink=0.8)
    save(figure, path, "--plot")


def _draw_edges(axes: Any, places: NDArray[np.float64], mixing: Mixing) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import FancyArrowPatch

    agents = mixing.agents
    radius = float(np.clip(60 / np.sqrt(agents), 3, 18))
    receivers, senders, _ = mixing.entries
    pairs = set(zip(senders.tolist(), receivers.tolist(), strict=True))
    both = [(j, i) for j, i in pairs if j < i and (i, j) in pairs]
    single = [(j, i) for j, i in pairs if (i, j) not in pairs]
    faint = float(np.clip(60 / (len(pairs) + 1), 0.08, 0.9))
    plain = both + (single if len(single) > MOST_ARROWS else [])
    axes.add_collection(
        LineCollection([places[[j, i]] for j, i in plain], colors="0.2", linewidths=1, alpha=faint, zorder=1)
    )
    for j, i in single if len(single) <= MOST_ARROWS else []:
        axes.add_patch(
            FancyArrowPatch(
                places[j], places[i], arrowstyle="-|>", mutation_scale=9, shrinkA=radius / 2, shrinkB=radius / 2,
                color="0.2", alpha=max(faint, 0.3), connectionstyle="arc3,rad=0.1", zorder=1,
            )
        )  # fmt: skip
    axes.scatter(places[:, 0], places[:, 1], s=radius**2, c="#cfe3f5", edgecolors="0.2", linewidths=0.8, zorder=2)
    if agents <= MOST_LABELS:
        for agent, (x, y) in enumerate(places):
            axes.text(x, y, str(agent), ha="center", va="center", fontsize=max(radius * 0.5, 5), zorder=3)
    axes.margins(0.12)
    axes.set_axis_off()
    if np.ptp(places[:, 0]) and np.ptp(places[:, 1]):
        axes.set_aspect("equal" if np.ptp(places[:, 0]) < 4 * np.ptp(places[:, 1]) else "auto")


def _draw_matrix(axes: Any, matrix: NDArray[np.float64], low: float, high: float) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    # Blank is no edge; the scale begins at zero, or lies evenly about it where weights are negative.
    shown = np.ma.masked_equal(matrix, 0)
    if low < -1e-12:
        limit = max(-low, high)
        image = axes.imshow(shown, cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")
    else:
        blues = LinearSegmentedColormap.from_list("weights", ["#d6e6f4", "#6aaed6", "#08306b"])
        image = axes.imshow(shown, cmap=blues, vmin=0, vmax=high, interpolation="nearest")
    axes.set_xlabel("sender j")
    ticks = range(0, len(matrix), max(1, -(-len(matrix) // 8)))
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    return image
