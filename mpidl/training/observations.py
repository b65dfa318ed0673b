"""What is seen of gradients while they are computed: losses, norms, and examples drawn, by agent."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass
class _Losses:
    """Losses of one agent in a row, summed in their order; on a GPU the sum stays there."""

    count: int = 0
    total: float | Tensor = 0.0

    def add(self, loss: float | Tensor) -> None:
        self.count += 1
        self.total = self.total + loss


@dataclass
class Observations:
    """The first gradient of an agent's step counts, further ones on the same batch (at a perturbed point) do not.

    Agents may be run now by one rank and now by another. So what was seen of an agent is kept by `visit`, a stretch
    that one rank ran: the round where agents move, and 0 where they never do. Sums over visits, in their order, are
    then the same bits whoever ran which.
    """

    device: torch.device
    movable: bool = False
    """Whether agents are run now by one rank and now by another."""
    norms: dict[int, Tensor] | None = None
    """The norm of each agent's first gradient of the round, where the round began with that wish."""
    round: int = 0
    examples: int = 0
    """Drawn by this rank's agents since they were collected last."""
    _steps: dict[int, int] = field(default_factory=dict)
    _losses: defaultdict[tuple[int, int], _Losses] = field(default_factory=lambda: defaultdict(_Losses))
    _bad: dict[int, int] = field(default_factory=dict)
    _suspect: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))
    """On a GPU, by agent the round in which its loss first was not finite, or infinity."""

    def begin(self, t: int, norms: bool) -> None:
        """Round t begins; whether norms of its gradients are wanted."""
        self.round, self.norms = t, {} if norms else None

    def is_first(self, agent: int, step: int) -> bool:
        """Whether no gradient of this step of the agent was seen before."""
        return step > self._steps.get(agent, -1)

    def see(self, agent: int, step: int, loss: Tensor, gradient: Tensor, examples: int) -> None:
        """Take note of a gradient; of a step's first one only."""
        if not self.is_first(agent, step):
            return
        self._steps[agent] = step
        self.examples += examples
        if self.norms is not None and agent not in self.norms:
            self.norms[agent] = gradient.norm()
        if self.device.type == "cpu":
            value = loss.item()
            self._losses[agent, self.round if self.movable else 0].add(value)
            if not math.isfinite(value):
                self._bad.setdefault(agent, self.round)
        else:
            # Nothing waits for the host: a sum that was ever not finite stays so.
            self._losses[agent, self.round if self.movable else 0].add(loss.double())
            bad = torch.where(torch.isfinite(loss), torch.inf, float(self.round)).double()
            self._suspects(agent, bad)

    def first_bad(self) -> dict[int, int]:
        """By agent, the round in which its loss first was not finite."""
        rounds = self._suspect.cpu().numpy()
        self._bad.update((agent, int(t)) for agent, t in enumerate(rounds) if math.isfinite(t))
        return self._bad

    def losses(self) -> np.ndarray:
        """Rows (agent, visit, number of losses, their sum) of what this rank saw since they were collected last."""
        rows = [(agent, visit, seen.count, float(seen.total)) for (agent, visit), seen in self._losses.items()]
        return np.array(rows, dtype=np.float64).reshape(-1, 4)

    def collect(self) -> np.ndarray:
        """The same rows, which from now on do not count any more."""
        rows = self.losses()
        self._losses.clear()
        return rows

    def go_on(self, agent: int, count: int, total: float) -> None:
        """As if so many losses of an agent had been seen here, and nothing else of it."""
        # Before all rounds, where sums of later rounds are added to it; else as the sum to which losses are added.
        self._losses[agent, -1 if self.movable else 0] = _Losses(count, total)

    def collect_examples(self) -> int:
        """Examples drawn since the last call."""
        examples, self.examples = self.examples, 0
        return examples

    def forget(self) -> None:
        """As if nothing had been seen."""
        self._steps.clear()
        self._losses.clear()
        self._bad.clear()
        self._suspect, self.examples = self._suspect[:0], 0

    def _suspects(self, agent: int, bad: Tensor) -> None:
        have = len(self._suspect)
        if agent >= have:
            grown = torch.full((max(agent + 1, 2 * have),), torch.inf, dtype=torch.float64, device=self.device)
            grown[:have] = self._suspect[:have]
            self._suspect = grown
        self._suspect[agent] = torch.minimum(self._suspect[agent], bad)


def summed_losses(rows: np.ndarray) -> dict[int, tuple[int, float]]:
    """By agent, how many losses were seen and their sum, from the rows of all ranks in any order."""
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    sums: dict[int, tuple[int, float]] = {}
    for agent, _, count, total in rows[order].tolist():
        seen = sums.get(int(agent), (0, 0.0))
        sums[int(agent)] = (seen[0] + int(count), seen[1] + total)
    return sums


def mean_losses(rows: np.ndarray) -> dict[int, float]:
    """By agent, the mean of its losses, from the same rows."""
    return {agent: total / count for agent, (count, total) in summed_losses(rows).items()}
