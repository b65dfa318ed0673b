"""The loss of every example of a batch, by the data set's task, by name, or by a user's function.

A loss is a function `(module, x, y) → losses`, one number per example; training averages them over the batch and
evaluation over the data set, so both count every example once.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mpidl.errors import ConfigError, choices_sentence
from mpidl.models.base import signature
from mpidl.registry import Part, keyword_part

if TYPE_CHECKING:
    from torch import Tensor, nn


class Loss(Part):
    """A loss: called with a module, a batch and its targets, it returns one loss per example."""

    @abstractmethod
    def __call__(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The losses, of shape [examples]."""

    def mean(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The mean loss of a batch, which training differentiates."""
        return self(module, x, y).mean()


class CrossEntropy(Loss):
    """Cross entropy of the softmax of the outputs: an example's own, or the mean over a text's tokens.

    Outputs are [examples, classes] with targets [examples], or [examples, length, vocabulary] with targets
    [examples, length].
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of the target spread over all classes")

    def __call__(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        losses = self._compare(module(x), y, "none")
        return losses.reshape(y.shape).flatten(1).mean(1) if y.ndim > 1 else losses

    def mean(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        # Texts of a batch have one length, so that the mean over all tokens is the mean over texts.
        return self._compare(module(x), y, "mean")

    def _compare(self, outputs: Tensor, y: Tensor, reduction: str) -> Tensor:
        from torch.nn import functional

        if outputs.shape[:-1] != y.shape:
            raise ConfigError(
                f"the model's outputs of shape {tuple(outputs.shape)} do not fit targets of shape {tuple(y.shape)}; "
                "choose a model for this kind of data",
                "model",
            )
        if y.ndim > 1:
            outputs, y = outputs.flatten(0, -2), y.flatten()
        return functional.cross_entropy(outputs, y, reduction=reduction, label_smoothing=self.label_smoothing)


class SquaredError(Loss):
    """Squared error, averaged over the outputs as torch.nn.MSELoss does (no factor ½)."""

    def __call__(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        losses = self._compare(module(x), y, "none")
        return losses.flatten(1).mean(1) if losses.ndim > 1 else losses

    def mean(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return self._compare(module(x), y, "mean")

    def _compare(self, outputs: Tensor, y: Tensor, reduction: str) -> Tensor:
        from torch.nn import functional

        if outputs.numel() != y.numel() or outputs.shape[0] != y.shape[0]:
            raise ConfigError(
                f"the model's outputs of shape {tuple(outputs.shape)} do not fit targets of shape {tuple(y.shape)}",
                "model",
            )
        # Targets [examples] against outputs [examples, 1] would broadcast to a square without the reshape.
        return functional.mse_loss(outputs, y.reshape(outputs.shape), reduction=reduction)


_BY_TASK: dict[str, Callable[[], Loss]] = {
    "classification": lambda: CrossEntropy(name="cross-entropy"),
    "regression": lambda: SquaredError(name="squared-error"),
    "language": lambda: CrossEntropy(name="cross-entropy"),
}


def per_example_loss(task: str) -> Loss:
    """The loss of a task: cross entropy for classification and, averaged over tokens, language; else squared error."""
    if task not in _BY_TASK:
        raise ConfigError(f"the data set's task {choices_sentence(task, _BY_TASK)}", "data")
    return _BY_TASK[task]()


def adapt(function: Callable[..., Any]) -> type[Loss]:
    """A loss part from `function(module, x, y, **keys)`, which returns a loss for each example."""
    label = getattr(function, "__name__", repr(function))
    parameters = list(signature(function, label))
    if len(parameters) < 3:
        raise ConfigError(f"{label} takes {len(parameters)} arguments; a loss takes (module, x, y)")
    if "name" in parameters[3:]:
        raise ConfigError(f"{label} has a parameter 'name', a name that mpidl keeps for itself; rename it")

    class PlugIn(Loss):
        __doc__ = inspect.getdoc(function) or f"The loss that {label} returns."

        def __call__(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            losses = function(module, x, y, **{key: value for key, value in self if key != "name"})
            shape = tuple(getattr(losses, "shape", ("no tensor",)))
            if shape != (x.shape[0],):
                raise ConfigError(
                    f"{self.name!r} returned losses of shape {shape} for {x.shape[0]} examples; "
                    "return one loss per example, not their mean",
                    "loss",
                )
            return losses

    return keyword_part(function, PlugIn, tuple(parameters[:3]))
