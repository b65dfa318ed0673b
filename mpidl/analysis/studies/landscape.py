"""A run's loss along a line between models, and on planes through one model and through three agents."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from mpidl.analysis import alignment, landscape
from mpidl.analysis.landscape import Plane, Values
from mpidl.analysis.objective import Objective
from mpidl.analysis.sharpness import Deviations
from mpidl.analysis.studies.base import Choices, End, number, settings_of
from mpidl.analysis.subject import MOST_AGENTS, Missing, Moment, Subject
from mpidl.errors import ConfigError
from mpidl.results.findings import Finding, Findings, named

# How far a plane goes beyond the agents that span it, by their own extent.
_MARGIN = 0.3


def study(subject: Subject, choices: Choices, other: End | None = None) -> Findings:
    """A line, a plane along random directions through the model that all hold, and one through three agents."""
    moment = subject.at(choices.round)
    x, L = moment.held, {"train": subject.train, "test": subject.test}
    settings = settings_of(subject, moment, choices)
    corners = _corners(subject, moment, choices)
    found = []
    ends = _ends(subject, moment, corners, other)
    if ends is not None:
        shares = np.linspace(0, 1, 2 * choices.points - 1)
        values = landscape.line(L, ends[0].row, ends[1].row, shares.tolist())
        rise = landscape.barrier(values["train"].loss, shares.tolist())
        found += [
            Finding("line_share", shares, "1", "share of the second model in a mixture of two", ("share",)),
            number("line_barrier", rise, "how far the training loss rises above the straight line between its ends"),
            *_of_values("line", values, ("line_share",)),
        ]
        settings["line"] = [end.label for end in ends]
    across = np.linspace(-1, 1, choices.points)
    plane = landscape.random_plane(subject.train.layout, x, choices.seed)
    found += _of_plane("random", plane, L, across, across)
    if corners is not None and moment.own is not None:
        first, second, third = (moment.own[agent] for agent in corners)
        plane = landscape.plane_through((first, second, third), L["train"].size)
        found += _agents_plane(plane, moment, x, L, choices.points)
        settings["agents"] = list(corners)
    return Findings("landscape", settings, named(found))


def _agents_plane(plane: Plane, moment: Moment, x: Tensor, L: Mapping[str, Objective], points: int) -> list[Finding]:
    size, own = L["train"].size, moment.own or []
    positions = np.array([plane.coordinates(row, size) for row in own])
    held = np.array(plane.coordinates(x, size))
    off = np.array([_distance(plane, row, place, size) for row, place in zip(own, positions, strict=True)])
    shown = np.vstack([positions, held])
    low, high = shown.min(0), shown.max(0)
    margin = _MARGIN * (high - low).max()
    across, up = (np.linspace(low[axis] - margin, high[axis] + margin, points) for axis in range(2))
    return [
        *_of_plane("agents", plane, L, across, up),
        Finding("agents_position", positions, "1", "of each agent's nearest point in the plane", ("agent", "axis")),
        Finding("agents_held_position", held, "1", "of the model that all hold", ("axis",)),
        Finding("agents_off", off, "1", "distance of each agent from the plane", ("agent",)),
    ]


def _distance(plane: Plane, row: Tensor, place: np.ndarray, size: int) -> float:
    away = (row.double() - plane.origin.double())[:size]
    away = away - float(place[0]) * plane.across[:size] - float(place[1]) * plane.up[:size]
    return float(away.norm())


def _corners(subject: Subject, moment: Moment, choices: Choices) -> tuple[int, int, int] | None:
    """Three agents: two that are farthest apart, and the one farthest from the line through them."""
    if moment.own is None or subject.agents < 3 or (subject.agents > MOST_AGENTS and choices.agents is None):
        return None
    if choices.agents is not None:
        for agent in choices.agents:
            if agent >= subject.agents:
                raise ConfigError(f"the run has no agent {agent}; its agents are 0 to {subject.agents - 1}", "agents")
        return choices.agents
    deviations = Deviations(moment.own, subject.train.size)
    products = alignment.gram(deviations.__getitem__, subject.agents, subject.train.size)
    squares = np.diag(products)
    distances = np.maximum(0, squares[:, None] + squares[None, :] - 2 * products)
    if not distances.any():
        return None
    first, second = (int(place) for place in np.unravel_index(distances.argmax(), distances.shape))
    # Twice the area of the triangle, squared, by the distance of the two.
    along = (distances[first] + distances[first, second] - distances[second]) / 2
    heights = distances[first] - along**2 / distances[first, second]
    heights[[first, second]] = -1
    third = int(heights.argmax())
    return (first, second, third) if heights[third] > 1e-12 * distances.max() else None


def _ends(
    subject: Subject, moment: Moment, corners: tuple[int, int, int] | None, other: End | None
) -> tuple[End, End] | None:
    """Of the line: this run's model and another's; or the first and the last of its trajectory; or two agents."""
    here = End(f"{moment.name} after round {moment.round}", moment.held)
    if other is not None:
        if len(other.row) != len(here.row):
            raise Missing("the two runs train networks of different sizes: there is no line between their models")
        return here, End(other.label, other.row.to(here.row.device))
    earlier = [round for round in subject.trajectory if round < moment.round]
    before = subject.at(earlier[0]) if earlier else None
    if before is not None and before.name is not None:
        return End(f"{before.name} after round {before.round}", before.held), here
    if corners is not None and moment.own is not None:
        first, second = (End(f"agent {agent}", moment.own[agent]) for agent in corners[:2])
        return first, second
    return None


def _of_plane(
    prefix: str, plane: Plane, L: Mapping[str, Objective], across: np.ndarray, up: np.ndarray
) -> list[Finding]:
    values = landscape.surface(L, plane, across.tolist(), up.tolist())
    return [
        Finding(f"{prefix}_across", across, "1", "coordinate along the first direction", ("point",)),
        Finding(f"{prefix}_up", up, "1", "coordinate along the second direction", ("point",)),
        *_of_values(prefix, values, (f"{prefix}_up", f"{prefix}_across")),
    ]


def _of_values(prefix: str, values: Mapping[str, Values], scales: tuple[str, ...]) -> list[Finding]:
    found = []
    for part, each in values.items():
        found.append(Finding(f"{prefix}_{part}_loss", each.loss, "1", f"loss over the {part} part", scales))
        if not np.isnan(each.accuracy).any():
            what = f"share of right predictions over the {part} part"
            found.append(Finding(f"{prefix}_{part}_accuracy", each.accuracy, "1", what, scales))
    return found
