"""What a run starts from, and its rehearsal too: data that are dealt to agents, networks, and how long it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from mpidl import results
from mpidl.config import Duration
from mpidl.data.dataset import Dataset
from mpidl.data.fingerprint import fingerprint, fingerprint_of_shares, fingerprint_of_split
from mpidl.data.shares import Shares, batches_per_pass
from mpidl.errors import ConfigError, ResultsError
from mpidl.experiment.schema import Config
from mpidl.models import initial
from mpidl.models.initial import Weights, initial_module
from mpidl.results.checked import is_run_file
from mpidl.training.precision import Precision


@dataclass(frozen=True)
class Length:
    """How long a run is: in rounds, and how many of them draw as many examples as there are."""

    rounds: int
    rounds_per_epoch: float
    steps: int
    """Of an agent that takes part in every round."""

    def every(self, often: Duration) -> int:
        """How many rounds lie between two of what happens so often; at least one."""
        return max(1, often.rounds(self.rounds_per_epoch, self.rounds))


@dataclass(frozen=True)
class Inputs:
    """Data, split, and initial weights of a configuration, once they are seen to be there and to fit."""

    config: Config
    agents: int
    dataset: Dataset
    shares: Shares
    weights: Weights | None

    @classmethod
    def read(cls, config: Config, ranks: int) -> Inputs:
        """The inputs of this configuration on so many ranks."""
        return cls.of(config, ranks, config.data.load())

    @classmethod
    def of(cls, config: Config, ranks: int, dataset: Dataset) -> Inputs:
        """The same where the data set has been loaded."""
        agents = config.agents_on(ranks)
        config.model.check_task(dataset.task)
        if dataset.task == "regression" and "accuracy" in (config.checkpoint.best or ""):
            raise ConfigError("a regression has no accuracy; choose a loss", "checkpoint.best")
        shares = config.data.deal(dataset, agents, config.seed)
        batch, most = config.data.batch, int(shares.sizes.max())
        # Where some agents can fill a batch, those with fewer examples take all that they have.
        if batch != "full" and batch > most:
            raise ConfigError(
                f"{batch:,} is more than the {most:,} examples that any agent has; give at most so many, or 'full' for "
                "all of each agent's own",
                "data.batch",
            )
        return cls(config, agents, dataset, shares, _weights(config.model.initial_file))

    @property
    def precision(self) -> Precision:
        """The numbers that rows and networks hold."""
        return Precision.named(self.config.train.precision, self.config.train.loss_scale)

    @cached_property
    def sizes(self) -> dict[int, int]:
        """Examples of each agent."""
        return dict(enumerate(self.shares.sizes.tolist()))

    @cached_property
    def length(self) -> Length:
        """From what the configuration says in rounds or epochs, and the numbers of examples."""
        config, examples, batch = self.config, sum(self.sizes.values()), self.config.data.batch
        steps_per_epoch = 1 if batch == "full" else max(1, round(examples / (self.agents * batch)))
        rounds_per_epoch = config.algorithm.rounds_per_epoch(steps_per_epoch)
        rounds = config.train.rounds or max(1, round((config.train.epochs or 0) * rounds_per_epoch))
        return Length(rounds, rounds_per_epoch, max(rounds, round(rounds / rounds_per_epoch * steps_per_epoch)))

    @cached_property
    def known(self) -> Mapping[str, str]:
        """What tells these data, and their split, from others."""
        return {**fingerprint(self.dataset), **fingerprint_of_split(fingerprint_of_shares(self.shares))}

    def steps_per_pass(self, agent: int) -> int:
        """Batches in one pass of an agent over its examples."""
        return batches_per_pass(self.sizes[agent], self.config.data.batch)

    def network(self, agent: int = 0) -> nn.Module:
        """The network with which an agent starts."""
        config, shape, outputs = self.config, self.dataset.example_shape, self.dataset.outputs
        return initial_module(config.model, shape, outputs, config.seed, agent, self.precision.rows, self.weights)


def _weights(path: str | None) -> Weights | None:
    """From a state_dict that torch.save wrote, or the newest model that another run has kept in its file."""
    if path is None:
        return None
    file = initial.expanded(path)
    if not is_run_file(file):
        return initial.read(path)
    try:
        return Weights(path, results.open(file).state_dict())
    except ResultsError as error:
        raise ConfigError(str(error), "model.init") from error
