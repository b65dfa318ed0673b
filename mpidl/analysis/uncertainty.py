"""The agents as a sample of the posterior over models: what they say together, and how unlike each other they are.

p_i(c | e) is what agent i gives class c of example e, and p̄ = 1/N Σ p_i what the ensemble does [Lakshminarayanan et al.
2017]. Its entropy H(p̄) is what is uncertain about e in all; the mean of H(p_i) is what every agent finds uncertain by
itself; the rest, their mutual information with the model, is what they disagree in [Houlsby et al. 2011]. In nats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from mpidl.analysis.objective import Objective
from mpidl.errors import ConfigError

BINS = 15
"""Of confidence, in which calibration is looked at [Guo et al. 2017]."""

# Of probabilities that are kept at once.
_BYTES = 2**28


@dataclass(frozen=True)
class Quality:
    """Of one predictor, over all examples: accuracy, mean −log p of the right class, and calibration error.

    `confidence`, `right` and `count` by bin: the mean of its largest probability, the share of right predictions (both
    NaN in an empty bin), and examples.
    """

    accuracy: float
    loss: float
    calibration_error: float
    confidence: np.ndarray
    right: np.ndarray
    count: np.ndarray


@dataclass(frozen=True)
class Uncertainty:
    """Means over examples. `agents` and `averaged` are the single agents and the model averaged over them."""

    ensemble: Quality
    averaged: Quality | None
    agents: tuple[Quality, ...]
    entropy: float
    mean_entropy: float
    mutual_information: float
    disagreement: float
    """The share of pairs of agents that predict different classes."""
    entropy_right: float
    entropy_wrong: float
    """The ensemble's entropy where it is right, and where it is wrong; NaN where it never is."""


def entropy(p: np.ndarray) -> np.ndarray:
    """H(p) = −Σ p log p over the last axis, in nats."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p), 0.0)
    return -terms.sum(-1)


def mutual_information(p: np.ndarray) -> np.ndarray:
    """H(p̄) − mean H(p_i) of probabilities [agents, examples, classes], for each example."""
    return np.maximum(entropy(p.mean(0)) - entropy(p).mean(0), 0.0)


def disagreement(predicted: np.ndarray) -> np.ndarray:
    """The share of pairs of agents whose classes [agents, examples] differ, for each example; NaN of a single agent."""
    agents, examples = predicted.shape
    if agents < 2:
        return np.full(examples, np.nan)
    alike = np.zeros(examples)
    for one in range(agents):
        alike += (predicted[one] == predicted[one + 1 :]).sum(0)
    return 1 - alike / (agents * (agents - 1) / 2)


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Σ_b n_b/n |share right in b − mean confidence in b|, b of equal width in (0, 1] [Guo et al. 2017]."""
    return _calibration(_binned(confidence, right, bins))


def study(L: Objective, agents: Sequence[Tensor], averaged: Tensor | None = None, bins: int = BINS) -> Uncertainty:
    """What the agents' rows, and a model averaged over them, say of the examples of L, a classification.

    Rows may come from a file when they are asked for: each is asked for once for a lot of examples.
    """
    predictors = len(agents) + (averaged is not None)
    by_chunk = np.zeros((len(L.chunks), predictors + 1, 2 + 3 * bins))
    sums = np.zeros((len(L.chunks), 8))
    for places in _lots(L, predictors):
        said = [
            [(_probabilities(outputs), targets) for outputs, targets in L.outputs(x, places)]
            for x in chain(agents, [] if averaged is None else [averaged])
        ]
        for number, place in enumerate(places):
            y = said[0][number][1].reshape(-1).cpu().numpy()
            p = np.stack([chunks[number][0] for chunks in said])
            own = p[: len(agents)]
            ensemble = own.mean(0)
            for predictor, probabilities in enumerate([ensemble, *p]):
                by_chunk[place, predictor] = _tallied(probabilities, y, bins)
            sums[place] = _summed(own, ensemble, y)
    by_chunk, sums = L.workers.sum(by_chunk), L.workers.sum(sums)
    totals = np.array([sum(column) for column in sums.T.tolist()])
    qualities = [_quality(tally, totals[0], bins) for tally in by_chunk.sum(axis=0)]
    of_averaged = None if averaged is None else qualities.pop()
    means = totals / totals[0]
    with np.errstate(invalid="ignore"):
        by_right = totals[4:6] / totals[6:8]
    return Uncertainty(qualities[0], of_averaged, tuple(qualities[1:]), *_named(means, *by_right))


def _named(means: np.ndarray, right: float, wrong: float) -> tuple[float, ...]:
    total, single, disagreeing = float(means[1]), float(means[2]), float(means[3])
    return total, single, max(0.0, total - single), disagreeing, float(right), float(wrong)


def _lots(L: Objective, predictors: int) -> Iterator[list[int]]:
    """This worker's chunks, so many at a time that what is said of them fits into memory."""
    mine = L.mine
    if not mine:
        return
    ((outputs, _),) = L.outputs(L.row(), mine[:1])
    if outputs.ndim < 2:
        raise ConfigError("uncertainty is about classes; a regression has none")
    at_once = max(1, _BYTES // (8 * predictors * outputs.numel()))
    for begin in range(0, len(mine), at_once):
        yield mine[begin : begin + at_once]


def _probabilities(outputs: Tensor) -> np.ndarray:
    """Of classes [examples, classes]; each token of a text is an example."""
    p: np.ndarray = torch.softmax(outputs.double(), -1).flatten(0, -2).cpu().numpy()
    return p


def _tallied(p: np.ndarray, y: np.ndarray, bins: int) -> np.ndarray:
    """Of a predictor, sums over examples: right, −log p of the right class; by bin: examples, right, confidence."""
    right = p.argmax(1) == y
    with np.errstate(divide="ignore"):
        losses = -np.log(p[np.arange(len(y)), y])
    return np.concatenate([[right.sum(), losses.sum()], _binned(p.max(1), right, bins).ravel()])


def _binned(confidence: np.ndarray, right: np.ndarray, bins: int) -> np.ndarray:
    """[3, bins]: examples, right ones, and sums of confidence."""
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return np.stack([np.bincount(place, weights, bins) for weights in (None, right.astype(float), confidence)])


def _calibration(binned: np.ndarray) -> float:
    count, right, confidence = binned
    return float(np.abs(right - confidence).sum() / count.sum())


def _summed(own: np.ndarray, ensemble: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sums over examples: 1, H(p̄), mean H(p_i), disagreement, H(p̄) where right and wrong, and how many those are."""
    uncertain, right = entropy(ensemble), ensemble.argmax(1) == y
    return np.array(
        [
            *(len(y), uncertain.sum(), entropy(own).mean(0).sum(), disagreement(own.argmax(2)).sum()),
            *(uncertain[right].sum(), uncertain[~right].sum(), right.sum(), (~right).sum()),
        ]
    )


def _quality(tally: np.ndarray, examples: float, bins: int) -> Quality:
    right, loss = tally[:2] / examples
    binned = tally[2:].reshape(3, bins)
    count = binned[0]
    with np.errstate(invalid="ignore"):
        shares, confidence = binned[1] / count, binned[2] / count
    return Quality(float(right), float(loss), _calibration(binned), confidence, shares, count)
