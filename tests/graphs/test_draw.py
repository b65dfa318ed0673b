"""Pictures of graphs show which way edges go, and lie in the middle of their panels."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the plot extra is not installed")

from matplotlib.patches import ArrowStyle, FancyArrowPatch

from mpidl.graphs import GRAPHS
from mpidl.graphs.draw import draw, draw_several
from tests.analysis.figures import looks


@pytest.mark.parametrize(
    ("name", "agents", "heads"),
    [("ring", 8, 0), ("directed-ring", 8, 8), ("exponential", 8, 8 + 8 + 2 * 4), ("star", 30, 0), ("chain", 7, 0)],
)
def test_edges_of_one_way_have_a_head_and_all_lies_in_the_middle(name: str, agents: int, heads: int) -> None:
    graph = GRAPHS.parse(name)
    figure = draw(graph, graph.build(agents, 0), name)
    looks.check(figure)
    panel = figure.axes[0]
    arrows = [patch.get_arrowstyle() for patch in panel.patches if isinstance(patch, FancyArrowPatch)]
    assert sum(2 if isinstance(style, ArrowStyle.CurveFilledAB) else 1 for style in arrows) == heads
    places = graph.positions(agents)
    middle = (places.min(0) + places.max(0)) / 2
    assert [np.mean(panel.get_xlim()), np.mean(panel.get_ylim())] == pytest.approx(middle, abs=1e-9)
    # Under each other, whatever stands beside the weights.
    figure.draw_without_rendering()
    above, below = (axes.get_window_extent() for axes in figure.axes[:2])
    assert abs((above.x0 + above.x1) - (below.x0 + below.x1)) < 2


@pytest.mark.parametrize("name", ["one-peer-exponential", "base-k"])
def test_rounds_and_several_graphs_stand_beside_each_other(name: str) -> None:
    graph = GRAPHS.parse(name)
    topology = graph.build(6, 0)
    looks.check(draw(graph, topology, name))
    ring = GRAPHS.parse("ring")
    looks.check(draw_several({name: (graph, topology), "ring": (ring, ring.build(6, 0))}, "6 agents"))
