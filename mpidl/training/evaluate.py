"""Loss and accuracy of models on held-out data, the same numbers on any number of ranks.

Examples come in chunks of a fixed size and sums run over chunks in their order, because a matrix product rounds
differently for another number of rows. A model that every rank holds is measured by all ranks, a chunk each in turn;
agents' own models are measured where they live.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mpidl.errors import ConfigError
from mpidl.seeding import stream

if TYPE_CHECKING:
    from mpidl.data.batches import Batch, EvaluationPart
    from mpidl.training.learner import Learner

OWN = "local"
"""The model that is not one that all ranks hold, but each agent's own."""

LEAST_OWN = 500
"""Examples that an agent's own model is measured on at least, where there are as many."""

MaybePair = tuple[Tensor | None, Tensor | None]


class Together(Protocol):
    """Who measures together, as far as that matters here."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def agents(self) -> int: ...

    @property
    def mine(self) -> tuple[int, ...]: ...

    @property
    def device(self) -> torch.device: ...

    def sum(self, values: np.ndarray) -> np.ndarray: ...


class HasModels(Protocol):
    """What is measured: an algorithm, or what was kept of one."""

    def model(self, name: str) -> Tensor: ...


class HasStatistics(Protocol):
    """The statistics with which its models are measured."""

    def of_agent(self, agent: int) -> MaybePair: ...

    def of_shared_model(self, learner: Learner, row: Tensor) -> MaybePair: ...


class Evaluator:
    """Measures models of an algorithm, called by their names, on parts of the data set ("test", "validation")."""

    def __init__(
        self,
        learner: Learner,
        world: Together,
        statistics: HasStatistics | None,
        models: Sequence[str],
        parts: Sequence[EvaluationPart],
        counts_hits: bool,
        own: int | Literal["share", "all"] = "all",
    ) -> None:
        """`own`: on how many examples of each part agents' own models are measured.

        A share is what makes all of them together see as many as a shared model, or LEAST_OWN if that is more.
        """
        self._learner, self._world, self._statistics = learner, world, statistics
        self._models, self.parts, self._counts_hits = models, parts, counts_hits
        self._quantities = ("loss", "accuracy") if counts_hits else ("loss",)
        self._own_examples = {part: self._chosen(part, own) for part in parts}
        """By part, the examples that agents' own models are measured on, chunk by chunk."""
        sizes = learner.batches.size_of
        self.shared_examples = sum(name != OWN for name in models) * sum(map(sizes, parts))
        self.own_examples = sum(map(len, sum(self._own_examples.values(), []))) if OWN in models else 0
        """How many an evaluation takes of all shared models together, and of one agent's own."""

    def measure(self, algorithm: HasModels, own: bool = True) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """By metric, a number for each shared model, and numbers [k] for each local agent's own. A collective call.

        Without `own`, agents' own models are left out.
        """
        of_shared: dict[str, float] = {}
        of_agents: dict[str, np.ndarray] = {}
        for name in self._models:
            if name == OWN and not own:
                continue
            model = algorithm.model(name)
            for part in self.parts:
                if model.ndim == 2:
                    each = self._own(model, part)
                    of_agents |= {f"{part}_{quantity}_{name}": values for quantity, values in each.items()}
                else:
                    shared = self._shared(model, part)
                    of_shared |= {f"{part}_{quantity}_{name}": value for quantity, value in shared.items()}
        return of_shared, of_agents

    def check(self) -> None:
        """Measures one chunk, so that a network or a loss that fails does so before a run begins."""
        agent = self._world.mine[0]
        statistics: MaybePair = self._statistics.of_agent(agent) if self._statistics else (None, None)
        list(self._measure(self._learner.rows.flatten(), *statistics, self._whole(self.parts[0], range(1))))

    def shared_statistics(self, row: Tensor) -> MaybePair:
        """With which a model that every rank holds is measured. A collective call."""
        if self._statistics is None:
            return None, None
        with self._learner.precision.context(self._world.device):
            return self._statistics.of_shared_model(self._learner, row)

    def _shared(self, row: Tensor, part: EvaluationPart) -> dict[str, float]:
        """Quantities of a model that every rank holds. A collective call."""
        statistics = self.shared_statistics(row)
        chunks = self._learner.batches.test_chunks(part)
        measured = np.zeros((chunks, 3))
        mine = range(self._world.rank, chunks, self._world.size)
        for chunk, sums in self._measure(row, *statistics, self._whole(part, mine)):
            measured[chunk] = sums
        # Every entry is zero on all ranks but one, so this sum is exact in any order.
        return self._means(self._world.sum(measured))

    def _own(self, block: Tensor, part: EvaluationPart) -> dict[str, np.ndarray]:
        """Quantities of every local agent's own model, [k] each."""
        by_agent = []
        for agent, row in zip(self._world.mine, block, strict=True):
            statistics: MaybePair = self._statistics.of_agent(agent) if self._statistics else (None, None)
            chunks = self._measure(row, *statistics, self._picked(part))
            by_agent.append(self._means(np.array([sums for _, sums in chunks])))
        return {quantity: np.array([means[quantity] for means in by_agent]) for quantity in self._quantities}

    def _chosen(self, part: EvaluationPart, own: int | Literal["share", "all"]) -> list[np.ndarray]:
        """Indices of so many examples of a part, each class with its share, in chunks; or of all of them."""
        batches = self._learner.batches
        size, chunk = batches.size_of(part), batches.chunk_size
        count = max(LEAST_OWN, -(-size // self._world.agents)) if own == "share" else own
        if count == "all" or count >= size:
            return [np.arange(begin, min(begin + chunk, size)) for begin in range(0, size, chunk)]
        order = stream(self._learner.seed, f"evaluated {part}").permutation(size)
        labels = batches.labels(part)
        if labels is not None:
            order = order[np.argsort(labels[order], kind="stable")]
        chosen = np.sort(order[(2 * np.arange(count) + 1) * size // (2 * count)])
        return np.split(chosen, range(chunk, count, chunk))

    def _whole(self, part: EvaluationPart, chunks: Iterable[int]) -> Iterator[tuple[int, Batch]]:
        return ((chunk, self._learner.batches.test(part, chunk)) for chunk in chunks)

    def _picked(self, part: EvaluationPart) -> Iterator[tuple[int, Batch]]:
        return ((n, self._learner.batches.picked(part, indices)) for n, indices in enumerate(self._own_examples[part]))

    def _means(self, measured: np.ndarray) -> dict[str, float]:
        """From chunks' (examples, sum of losses, sum of hits) the means over examples, added in the chunks' order."""
        examples, losses, hits = (sum(column) for column in measured.T.tolist())
        means = {"loss": losses / examples, "accuracy": hits / examples}
        return {quantity: means[quantity] for quantity in self._quantities}

    def _measure(
        self, row: Tensor, floats: Tensor | None, integers: Tensor | None, chunks: Iterable[tuple[int, Batch]]
    ) -> Iterator[tuple[int, tuple[float, float, float]]]:
        """For each chunk the number of examples, the sum of their losses, and of their hits where those are counted."""
        learner = self._learner
        module = learner.rows.module
        learner.point(row, floats, integers)
        with evaluating(module) as outputs, learner.precision.context(self._world.device):
            for chunk, (x, y) in chunks:
                # Some networks draw random numbers even here; which ones must not depend on the placement.
                learner.seed_torch("evaluation", index=chunk)
                try:
                    losses = learner.loss(module, x, y).double().sum().item()
                except Exception as error:
                    raise learner.blamed(error) from error
                if self._counts_hits and not outputs:
                    raise ConfigError("it never calls the network as a whole, whose hits are to be counted", "loss")
                hits = count_hits(outputs[-1], y) if self._counts_hits else 0.0
                yield chunk, (len(x), losses, hits)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, the module is in evaluation mode, nothing is differentiated, and its latest output is in the list."""
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[:] = [output]

    catching = module.register_forward_hook(keep)
    try:
        with evaluation_mode(module), torch.no_grad():
            yield outputs
    finally:
        catching.remove()


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Inside, the module is in evaluation mode."""
    # One by one: a network may keep some of its layers (a frozen BatchNorm) in evaluation mode for good.
    flags = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for layer, training in flags:
            layer.training = training


def count_hits(outputs: Tensor, y: Tensor) -> float:
    """The number of examples whose largest output is the target; for texts, each counts its share of right tokens."""
    right = (outputs.argmax(-1) == y).double()
    return (right.flatten(1).mean(1) if y.ndim > 1 else right).sum().item()
