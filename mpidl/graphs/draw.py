"""A picture of a graph: its agents and edges above, its weight matrix below, round by round where it changes.

Of several graphs, the first round of each, side by side. In a round in which some edges go one way, these have a head,
and those that go both ways have two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpidl.graphs.base import Graph, Mixing, Topology
from mpidl.pictures.style import LABEL, TICK, framed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

# Rounds side by side that are still legible.
MOST_ROUNDS = 5
# Above these numbers of agents and edges, numbers within nodes and single arrowheads only blur.
MOST_LABELS = 64
MOST_ARROWS = 2000
_COLUMN, _HEIGHT = 3.4, 7.4


class Shown(NamedTuple):
    """The weights of one round, under a heading, and where each agent is drawn."""

    heading: str
    positions: NDArray[np.float64]
    mixing: Mixing


def draw(graph: Graph, topology: Topology, title: str) -> Figure:
    """The rounds of a graph."""
    of = "" if topology.period is None else f" of {topology.period}"
    rounds = topology.rounds(MOST_ROUNDS)[:MOST_ROUNDS]
    titles = ["" if topology.period == 1 else f"round {t}{of}" for t in rounds]
    positions = graph.positions(topology.agents)
    return draw_rounds(
        [Shown(heading, positions, topology.at(t)) for heading, t in zip(titles, rounds, strict=True)], title
    )


def draw_several(graphs: Mapping[str, tuple[Graph, Topology]], title: str) -> Figure:
    """Graphs of as many agents, by name."""
    shown = [
        Shown(name, graph.positions(topology.agents), topology.at(0)) for name, (graph, topology) in graphs.items()
    ]
    return draw_rounds(shown, title)


def draw_rounds(shown: Sequence[Shown], title: str) -> Figure:
    """A column for each of them."""
    figure, body = framed(_COLUMN * max(len(shown), 1.5) + 0.8, _HEIGHT, title)
    panels = body.subplots(2, len(shown), squeeze=False)
    matrices = [each.mixing.dense() for each in shown]
    low = min(matrix.min() for matrix in matrices)
    high = max(matrix.max() for matrix in matrices)
    for column, each in enumerate(shown):
        _draw_edges(panels[0, column], each.positions, each.mixing)
        panels[0, column].set_title(each.heading, fontsize=LABEL)
        image = _draw_matrix(panels[1, column], matrices[column], min(low, 0.0), high)
        panels[1, column].set_ylabel("receiving agent i", fontsize=LABEL)
    # Of both rows, so that agents and matrices stay above each other.
    bar = body.colorbar(image, ax=panels.ravel().tolist(), shrink=0.42, anchor=(0.0, 0.08))
    bar.set_label("weight w_ij", fontsize=LABEL)
    bar.ax.tick_params(labelsize=TICK)
    return figure


def _draw_edges(axes: Axes, places: NDArray[np.float64], mixing: Mixing) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import FancyArrowPatch

    agents = mixing.agents
    diameter = float(np.clip(60 / np.sqrt(agents), 3, 18))
    receivers, senders, _ = mixing.entries
    pairs = set(zip(senders.tolist(), receivers.tolist(), strict=True))
    both = [(j, i) for j, i in pairs if j < i and (i, j) in pairs]
    single = [(j, i) for j, i in pairs if (i, j) not in pairs]
    faint = float(np.clip(60 / (len(pairs) + 1), 0.08, 0.9))
    if single and len(pairs) <= MOST_ARROWS:
        for style, edges in (("-|>", single), ("<|-|>", both)):
            for j, i in edges:
                axes.add_patch(
                    FancyArrowPatch(
                        places[j], places[i], arrowstyle=style, mutation_scale=max(0.55 * diameter, 6),
                        shrinkA=diameter / 2, shrinkB=diameter / 2, color="0.2", linewidth=0.9, alpha=max(faint, 0.45),
                        connectionstyle=f"arc3,rad={0.1 if edges is single else 0}", zorder=1,
                    )
                )  # fmt: skip
    else:
        lines = [places[[j, i]] for j, i in both + single]
        axes.add_collection(LineCollection(lines, colors="0.2", linewidths=1, alpha=faint, zorder=1))
    axes.scatter(places[:, 0], places[:, 1], s=diameter**2, c="#cfe3f5", edgecolors="0.2", linewidths=0.8, zorder=2)
    if agents <= MOST_LABELS:
        for agent, (x, y) in enumerate(places):
            axes.text(x, y, str(agent), ha="center", va="center", fontsize=max(diameter * 0.5, 5), zorder=3)
    _centre(axes, places)


def _centre(axes: Axes, places: NDArray[np.float64]) -> None:
    """A square about the agents, each direction of them in its middle."""
    low, high = places.min(0), places.max(0)
    across, up = (low + high) / 2
    half = 0.6 * max(*(high - low), 1e-3)
    axes.set(xlim=(across - half, across + half), ylim=(up - half, up + half), aspect="equal", anchor="C")
    axes.set_axis_off()


def _draw_matrix(axes: Axes, matrix: NDArray[np.float64], low: float, high: float) -> AxesImage:
    from matplotlib.colors import LinearSegmentedColormap

    # Blank is no edge; the scale begins at zero, or lies evenly about it where weights are negative.
    shown = np.ma.masked_equal(matrix, 0)
    if low < -1e-12:
        limit = max(-low, high)
        image = axes.imshow(shown, cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest")
    else:
        blues = LinearSegmentedColormap.from_list("weights", ["#d6e6f4", "#6aaed6", "#08306b"])
        image = axes.imshow(shown, cmap=blues, vmin=0, vmax=high, interpolation="nearest")
    axes.set_xlabel("sending agent j", fontsize=LABEL)
    axes.tick_params(labelsize=TICK)
    ticks = range(0, len(matrix), max(1, -(-len(matrix) // 8)))
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    return image
