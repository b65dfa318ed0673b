"""How sharp a run's loss is at the model that all agents or the server hold."""

from __future__ import annotations

import numpy as np

from mpidl.analysis import sharpness
from mpidl.analysis.studies.base import Choices, End, number, settings_of
from mpidl.analysis.subject import Moment, Rows, Subject
from mpidl.results.findings import Finding, Findings, named


def study(subject: Subject, choices: Choices, _: End | None = None) -> Findings:
    """Of the model that all hold, on the training part."""
    moment = subject.at(choices.round)
    x, L = moment.held, subject.train
    rho = choices.rho or getattr(subject.config.algorithm, "rho", 0) or 0.05
    curvature = sharpness.hessian(
        L, x, choices.eigenvalues, choices.steps, choices.tolerance, choices.probes, choices.seed
    )
    known = curvature.eigenvalues
    found = [
        number("loss", L.value(x), "training loss of the model"),
        Finding("hessian_eigenvalues", known.largest, "1", "largest eigenvalues of the loss's Hessian", ("rank",)),
        Finding("hessian_residuals", known.residuals, "1", "an eigenvalue lies within this of each", ("rank",)),
        number("hessian_largest", known.largest[0], "largest eigenvalue of the Hessian"),
        number("hessian_smallest", known.smallest, "smallest eigenvalue of the Hessian"),
        number("hessian_trace", curvature.trace.value, "trace of the Hessian"),
        number("hessian_trace_error", curvature.trace.error, "standard error of the trace"),
        Finding("density_nodes", known.nodes, "1", "where Lanczos sees eigenvalues", ("step",)),
        Finding("density_weights", known.weights, "1", "share of the spectrum seen there", ("density_nodes",)),
        number("sam_sharpness", sharpness.sam(L, x, rho), "rise of the loss by SAM's step of length rho"),
        number("rho", rho, "length of SAM's step"),
    ]
    if moment.own is not None:
        spread = sharpness.average_direction(L, x, moment.own, choices.draws, choices.seed)
        found += [
            number(
                "average_direction_sharpness",
                spread.sharpness.value,
                "mean rise of the loss in random directions of the agents' own covariance",
            ),
            number("average_direction_sharpness_error", spread.sharpness.error, "standard error of that mean"),
            number("average_direction_second_order", spread.second_order, "half the trace of Hessian times covariance"),
            number("agents_spread", spread.spread, "trace of the agents' covariance"),
        ]
    found += _smoothing(subject, choices)
    return Findings("sharpness", settings_of(subject, moment, choices, steps=known.steps), named(found))


def _smoothing(subject: Subject, choices: Choices) -> list[Finding]:
    """Along the trajectory, where it was kept with the agents' own models."""
    rounds = [round for round in subject.along(choices.rounds) if _complete(subject.at(round))]
    if len(rounds) < 2:
        return []
    # Each is as good as a fourth of the draws at one point would be, since there are many.
    draws = max(1, choices.draws // 4)
    # One round after another is read, so that no two need be in memory with their agents.
    points = Rows(len(rounds), lambda place: subject.at(rounds[place]).held)
    agents = (subject.own(round) for round in rounds)
    found = sharpness.smoothness(subject.train, points, agents, draws, choices.seed)
    ends = np.array(rounds)
    return [
        Finding("stretch_begin", ends[:-1], "rounds", "where a stretch of the trajectory begins", ("stretch_end",)),
        Finding("stretch_end", ends[1:], "rounds", "where it ends", ("stretch",)),
        Finding(
            "gradient_change",
            found.plain,
            "1",
            "change of the gradient over it, by its length",
            ("stretch_end",),
        ),
        Finding(
            "averaged_gradient_change",
            found.averaged,
            "1",
            "the same of the loss averaged over the agents' covariance",
            ("stretch_end",),
        ),
    ]


def _complete(moment: Moment) -> bool:
    return moment.name is not None and moment.own is not None
