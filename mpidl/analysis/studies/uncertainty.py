"""What a run's agents are uncertain of, as a sample of models, on the test part."""

from __future__ import annotations

import numpy as np

from mpidl.analysis import uncertainty
from mpidl.analysis.studies.base import Choices, End, number, settings_of
from mpidl.analysis.subject import Missing, Subject
from mpidl.results.findings import Finding, Findings, named


def study(subject: Subject, choices: Choices, _: End | None = None) -> Findings:
    """Of the agents as a sample, on the test part."""
    if not subject.classifies:
        raise Missing("uncertainty is about classes, and a regression has none")
    moment = subject.at(choices.round)
    seen = uncertainty.study(subject.test, subject.own(choices.round), None if moment.name is None else moment.held)
    single = seen.agents
    found = [
        number("entropy", seen.entropy, "mean entropy of the ensemble's prediction", "nats"),
        number("mean_entropy", seen.mean_entropy, "mean entropy of single agents' predictions", "nats"),
        number("mutual_information", seen.mutual_information, "what agents disagree in: the difference", "nats"),
        number("disagreement", seen.disagreement, "share of pairs of agents that predict different classes"),
        number("entropy_right", seen.entropy_right, "mean entropy where the ensemble is right", "nats"),
        number("entropy_wrong", seen.entropy_wrong, "mean entropy where the ensemble is wrong", "nats"),
    ]
    predictors = {"ensemble": seen.ensemble} | ({} if seen.averaged is None else {"averaged": seen.averaged})
    for name, quality in predictors.items():
        found += [
            number(f"accuracy_{name}", quality.accuracy, f"share of right predictions, {name}"),
            number(f"loss_{name}", quality.loss, f"mean −log p of the right class, {name}", "nats"),
            number(f"calibration_error_{name}", quality.calibration_error, f"expected calibration error, {name}"),
            Finding(f"confidence_{name}", quality.confidence, "1", f"mean confidence in a bin of it, {name}", ("bin",)),
            Finding(f"right_{name}", quality.right, "1", "share of right ones in the bin", (f"confidence_{name}",)),
            Finding(f"examples_{name}", quality.count, "1", "examples in the bin", (f"confidence_{name}",)),
        ]
    for quantity, words in (
        ("accuracy", "share of right predictions of each agent"),
        ("loss", "mean −log p of the right class of each agent"),
        ("calibration_error", "expected calibration error of each agent"),
    ):
        values = np.array([getattr(quality, quantity) for quality in single])
        found.append(Finding(f"{quantity}_agents", values, "nats" if quantity == "loss" else "1", words, ("agent",)))
    return Findings("uncertainty", settings_of(subject, moment, choices), named(found))
