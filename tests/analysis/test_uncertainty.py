"""Entropies, mutual information and calibration are those of cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mpidl.analysis import uncertainty
from mpidl.analysis.objective import Objective
from tests.analysis.objectives import drawn, logistic

LOG2 = math.log(2)
# Two agents; of four examples they are sure and agree, sure and disagree, both unsure, one sure and the other not.
P = np.array([[[1, 0], [1, 0], [0.5, 0.5], [1, 0]], [[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5]]])


def test_what_agents_disagree_in_is_told_from_what_each_finds_uncertain() -> None:
    mixed = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert np.allclose(uncertainty.entropy(P.mean(0)), [0, LOG2, LOG2, mixed])
    assert np.allclose(uncertainty.mutual_information(P), [0, LOG2, 0, mixed - LOG2 / 2])
    assert uncertainty.disagreement(P.argmax(2)).tolist() == [0, 1, 0, 0]


def test_disagreement_counts_pairs() -> None:
    assert uncertainty.disagreement(np.array([[0], [0], [1], [2]])).tolist() == [5 / 6]
    assert np.isnan(uncertainty.disagreement(np.array([[0]]))).all()


def test_calibration_error_of_a_case_worked_by_hand() -> None:
    """Ten bins; (0.8, 0.9] has three of which two are right, (0.5, 0.6] two of which none is; the edge 0.6 belongs to
    the lower one."""
    confidence = np.array([0.85, 0.9, 0.81, 0.6, 0.55])
    right = np.array([True, True, False, False, False])
    exact = (abs(2 - 2.56) + abs(0 - 1.15)) / 5
    assert math.isclose(uncertainty.calibration_error(confidence, right, bins=10), exact)


def test_one_who_is_always_sure_and_right_is_calibrated() -> None:
    assert uncertainty.calibration_error(np.ones(3), np.ones(3, dtype=bool)) == 0
    assert uncertainty.calibration_error(np.ones(3), np.zeros(3, dtype=bool)) == 1


@pytest.mark.parametrize("at_once", [None, 1])
def test_a_study_is_what_its_parts_say_of_all_examples(monkeypatch: pytest.MonkeyPatch, at_once: int | None) -> None:
    if at_once:
        monkeypatch.setattr(uncertainty, "_BYTES", at_once)
    L, x, _ = logistic()
    rows = [x + drawn(L.size, purpose=f"agent {agent}") for agent in range(3)]
    averaged = torch.stack(rows).mean(0)
    found = uncertainty.study(L, rows, averaged)
    X, y = (torch.cat(parts) for parts in zip(*L.chunks, strict=True))
    L.rows.point(averaged)

    def said(row: torch.Tensor) -> np.ndarray:
        L.rows.point(row)
        return torch.softmax(L.rows.module(X), 1).detach().numpy()

    p, labels = np.stack([said(row) for row in rows]), y.numpy()
    ensemble, right = p.mean(0), p.mean(0).argmax(1) == labels
    assert math.isclose(found.entropy, uncertainty.entropy(ensemble).mean())
    assert math.isclose(found.mean_entropy, uncertainty.entropy(p).mean())
    assert math.isclose(found.mutual_information, uncertainty.mutual_information(p).mean())
    assert math.isclose(found.disagreement, uncertainty.disagreement(p.argmax(2)).mean())
    assert math.isclose(found.entropy_right, uncertainty.entropy(ensemble)[right].mean())
    for quality, probabilities in zip(
        [found.ensemble, found.averaged, *found.agents], [ensemble, said(averaged), *p], strict=True
    ):
        assert math.isclose(quality.accuracy, (probabilities.argmax(1) == labels).mean())
        assert math.isclose(quality.loss, -np.log(probabilities[np.arange(40), labels]).mean())
        error = uncertainty.calibration_error(probabilities.max(1), probabilities.argmax(1) == labels)
        assert math.isclose(quality.calibration_error, error)
        assert quality.count.sum() == 40


def test_agents_that_are_one_know_nothing_of_each_other() -> None:
    L, x, _ = logistic()
    found = uncertainty.study(L, [x, x, x])
    assert (found.mutual_information, found.disagreement) == (0, 0)
    assert found.averaged is None


def test_tokens_of_texts_are_examples() -> None:
    module = torch.nn.Linear(4, 3, dtype=torch.float64)
    texts, targets = drawn(5, 6, 4), torch.zeros(5, 6, dtype=torch.int64)
    L = Objective(module, lambda module, x, y: module(x).sum((1, 2)), [(texts, targets)])
    found = uncertainty.study(L, [drawn(L.size), drawn(L.size) + 1])
    assert found.ensemble.count.sum() == 30
