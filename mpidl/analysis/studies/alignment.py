"""How far agents' gradients agree at the model that all of them or the server hold, over the rounds that were kept."""

from __future__ import annotations

import numpy as np

from mpidl.analysis import alignment
from mpidl.analysis.studies.base import Choices, End, settings_of
from mpidl.analysis.subject import MOST_AGENTS, Missing, Subject
from mpidl.results.findings import Finding, Findings, named

_MOST_COSINES = 2**22


def study(subject: Subject, choices: Choices, _: End | None = None) -> Findings:
    """Of the agents' gradients over all their data, at the model that all hold, in every round that is kept."""
    if subject.agents > MOST_AGENTS:
        raise Missing(f"gradients of more than {MOST_AGENTS:,} agents are not compared pair by pair")
    rounds = subject.along(choices.rounds) if choices.round is None else [subject.at(choices.round).round]
    each = [
        alignment.align(subject.by_agent, subject.at(round).held, subject.weights, subject.workers) for round in rounds
    ]
    # Of all rounds, or where that would be too much, of the last.
    shown = each if len(each) * subject.agents**2 <= _MOST_COSINES else each[-1:]
    along = "round" if shown is each else "last round"
    found = [
        Finding("round", np.array(rounds), "rounds", "of which the models are", ("record",)),
        Finding(
            "gradient_variance",
            np.array([one.variance for one in each]),
            "1",
            "T, weighted mean of the squared distance of agents' gradients to their mean",
            ("round",),
        ),
        Finding("gradient_norm", np.array([one.mean_norm for one in each]), "1", "of the mean gradient", ("round",)),
        Finding(
            "mean_cosine",
            np.array([one.mean_cosine for one in each]),
            "1",
            "mean cosine of pairs of agents",
            ("round",),
        ),
        Finding(
            "cosine_with_mean",
            np.array([one.with_mean for one in each]),
            "1",
            "cosine of each agent's gradient with the mean",
            ("round", "agent"),
        ),
        Finding(
            "cosines", np.array([one.cosines for one in shown]), "1", "of agents' gradients", (along, "agent", "agent")
        ),
    ]
    return Findings("alignment", settings_of(subject, subject.at(rounds[-1]), choices), named(found))
