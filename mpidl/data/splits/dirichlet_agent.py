"""A label distribution of its own for each agent."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from mpidl.data.splits.base import Pool, Split, Warn
from mpidl.data.splits.dirichlet_class import log_dirichlet_weights

# Draws made at once: few would be slow, and what follows the end of a class is thrown away.
_FEWEST, _MOST = 64, 8192


class DirichletAgent(Split):
    """Each agent has a label prior ~ Dir(α) and is filled from it [Acar et al. 2021, the authors' code].

    Until all sizes are met: draw one of the agents that are not full, uniformly; draw a label from its prior, again
    while that class is used up; the agent gets an example of it. Towards the end few classes are left, so that agents
    get labels their priors hardly know.

    Decided here: "again while used up" is done by rescaling the prior to the classes left, in logarithms, which is the
    same distribution and needs no repetition however small α is.
    """

    alpha: float = Field(description="α of the Dirichlet distribution; small is uneven", gt=0, le=1e6)

    def deal(self, pool: Pool, sizes: np.ndarray, rng: np.random.Generator, warn: Warn) -> list[np.ndarray]:
        labels = pool.labels
        left = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
        stock = np.array([len(items) for items in left])
        priors = log_dirichlet_weights(self.alpha, (len(sizes), len(left)), rng)
        agents = _agent_order(sizes, rng)
        drawn = np.empty(len(agents), dtype=np.int64)
        start, width = 0, _MOST
        while start < len(agents):
            block = agents[start : start + width]
            labels_of_block = _draw_labels(priors[block], stock, rng)
            counts = np.cumsum(labels_of_block[:, None] == np.arange(len(left)), axis=0)
            # Draws count up to the one that empties a class; after it, the priors are others.
            emptied = np.argmax((counts >= stock) & (stock > 0), axis=0)
            ends = emptied[(counts[-1] >= stock) & (stock > 0)]
            accepted = int(ends.min()) + 1 if len(ends) else len(block)
            drawn[start : start + accepted] = labels_of_block[:accepted]
            stock = stock - counts[accepted - 1]
            start += accepted
            width = min(max(2 * accepted, _FEWEST), _MOST)
        examples = np.empty(len(agents), dtype=np.int64)
        for label, items in enumerate(left):
            places = np.flatnonzero(drawn == label)
            examples[places] = items[: len(places)]
        by_agent = np.argsort(agents, kind="stable")
        return np.split(examples[by_agent], np.cumsum(sizes)[:-1])


def _agent_order(sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Agents in the order of uniform draws among those not yet full.

    Arrivals of independent Poisson processes of one rate come from uniformly random processes; agent i is full after
    its first sizes[i] arrivals, and later ones are simply absent.
    """
    agents = np.repeat(np.arange(len(sizes)), sizes)
    gaps = rng.standard_exponential(len(agents))
    sums = np.cumsum(gaps)
    before = np.concatenate([[0.0], sums[np.cumsum(sizes)[:-1] - 1]])
    return agents[np.argsort(sums - np.repeat(before, sizes), kind="stable")]


def _draw_labels(priors: np.ndarray, stock: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A label from each prior, given in logarithms, among the classes in stock."""
    classes = np.flatnonzero(stock > 0)
    weights = priors[:, classes]
    levels = np.cumsum(np.exp(weights - weights.max(axis=1, keepdims=True)), axis=1)
    level = rng.random(len(levels)) * levels[:, -1]
    # A level rounded up to the last sum would point behind the last class.
    return classes[np.minimum((levels <= level[:, None]).sum(axis=1), len(classes) - 1)]
