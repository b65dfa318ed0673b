"""The metrics of every run: what the loop and the evaluation record; algorithms declare their own diagnostics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mpidl.metrics import Metric

# The models that an algorithm can offer for evaluation, as they are spelt at the end of a metric's name.
MODELS = {
    "consensus": "the average over agents",
    "local": "each agent's own model",
    "server": "the server's model",
    "sampled": "the average over the agents sampled in this round",
    "all": "the average of every agent's last model",
}

WHOLE_RUN = ("consensus", "server")
"""The models that stand for a whole run, best known first; a run has the one that its algorithm offers."""

_EVALUATED = (
    Metric("test_accuracy", "1", "fraction of test examples classified correctly by {model}"),
    Metric("test_loss", "1", "mean loss over the test examples of {model}"),
    Metric("validation_accuracy", "1", "fraction of validation examples classified correctly by {model}"),
    Metric("validation_loss", "1", "mean loss over the validation examples of {model}"),
)

METRICS = (
    Metric("round", "rounds", "calls of the algorithm so far"),
    Metric("epoch", "epochs", "examples drawn so far over all agents, by the examples that there are"),
    Metric("seconds", "s", "wall-clock time since the start of training, over all resumes"),
    Metric("bytes", "bytes", "packed bytes of the messages that all agents have sent so far"),
    Metric(
        "train_loss", "1", "mean over agents of the mini-batch loss, averaged over the rounds since the record before"
    ),
    Metric("gradient_norm", "1", "mean over agents of the norm of their first gradient of the round, before clipping"),
    Metric(
        "gradient_variance", "1", "T, weighted mean of the squared distance of agents' full gradients to their mean"
    ),
    Metric("gradient_alignment", "1", "mean cosine of agents' full gradients with their mean"),
    Metric("bytes_sent", "bytes", "packed bytes of the messages sent so far, by the algorithm's formula"),
    Metric("lr", "1", "learning rate of the schedule"),
    *(
        Metric(f"{quantity.name}_{model}", quantity.units, quantity.description.format(model=words))
        for quantity in _EVALUATED
        for model, words in MODELS.items()
    ),
)


def best_round(name: str, values: Mapping[int, float], rounds: Iterable[int]) -> int | None:
    """Of these rounds the one with the best value of a metric, the first of equals; None where no value is known."""
    sign = 1 if higher_is_better(name) else -1
    known = [round_ for round_ in rounds if math.isfinite(values.get(round_, math.nan))]
    return max(known, key=lambda round_: (sign * values[round_], -round_), default=None)


def partner(name: str) -> str:
    """The loss that is measured together with an accuracy, the accuracy that is with a loss; of others the same."""
    return name.replace("_accuracy_", "_loss_") if "_accuracy_" in name else name.replace("_loss_", "_accuracy_")


def higher_is_better(name: str) -> bool:
    """Whether the best value of a metric is its largest."""
    return "accuracy" in name
