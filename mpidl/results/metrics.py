"""What each metric and meter is: its units and one line about it, stored beside its numbers."""

from __future__ import annotations

from typing import NamedTuple


class Quantity(NamedTuple):
    """Units ("1" for a plain number) and a description."""

    units: str
    description: str


# The models that an algorithm can offer for evaluation, as they are spelt at the end of a metric's name.
MODELS = {
    "consensus": "the average over agents",
    "local": "each agent's own model",
    "server": "the server's model",
    "sampled": "the average over the agents sampled in this round",
    "all": "the average of every agent's last model",
}

_EVALUATED = {
    "test_accuracy": Quantity("1", "fraction of test examples classified correctly by {model}"),
    "test_loss": Quantity("1", "mean loss over the test examples of {model}"),
    "validation_accuracy": Quantity("1", "fraction of validation examples classified correctly by {model}"),
    "validation_loss": Quantity("1", "mean loss over the validation examples of {model}"),
}

METRICS = {
    "round": Quantity("rounds", "calls of the algorithm so far"),
    "epoch": Quantity("epochs", "examples drawn so far over all agents, by the examples that there are"),
    "seconds": Quantity("s", "wall-clock time since the start of training, over all resumes"),
    "bytes": Quantity("bytes", "packed bytes of the messages that all agents have sent so far"),
    "train_loss": Quantity(
        "1", "mean over agents of the mini-batch loss, averaged over the rounds since the record before"
    ),
    "consensus_distance": Quantity("1", "mean over agents of the squared distance to their average: Tr Xi"),
    "gradient_norm": Quantity(
        "1", "mean over agents of the norm of their first gradient of the round, before clipping"
    ),
    "gradient_variance": Quantity("1", "weighted mean of the squared distance of agents' gradients to their average"),
    "bytes_sent": Quantity("bytes", "packed bytes of the messages sent so far, by the algorithm's formula"),
    "lr": Quantity("1", "learning rate of the schedule"),
} | {
    f"{prefix}_{model}": Quantity(quantity.units, quantity.description.format(model=words))
    for prefix, quantity in _EVALUATED.items()
    for model, words in MODELS.items()
}

METERS = {
    "gradient": Quantity("s", "computing gradients"),
    "mixing": Quantity("s", "arithmetic of gossip"),
    "waiting": Quantity("s", "waiting for messages"),
    "packing": Quantity("s", "compressing, casting and copying messages"),
    "reduction": Quantity("s", "sums over all agents"),
    "evaluation": Quantity("s", "evaluating models"),
    "io": Quantity("s", "reading and writing files"),
    "bytes_sent": Quantity("bytes", "packed bytes of the messages of the rank's agents, by the algorithm's formula"),
    "bytes_mpi": Quantity("bytes", "bytes handed to MPI"),
    "bytes_shared": Quantity("bytes", "bytes read from the memory of other ranks"),
    "messages": Quantity("1", "messages handed to MPI"),
}


def metric(name: str) -> Quantity:
    """The metric of this name; one that a plug-in brought has no units and no description."""
    return METRICS.get(name, Quantity("", ""))


def meter(name: str) -> Quantity:
    """The meter of this name."""
    return METERS.get(name, Quantity("", ""))


def higher_is_better(name: str) -> bool:
    """Whether the best value of a metric is its largest."""
    return "accuracy" in name
