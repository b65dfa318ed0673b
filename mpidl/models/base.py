"""What every model is: settings that build a torch module, and the adaptation of a plain function to that."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from mpidl.errors import ConfigError, choices_sentence
from mpidl.registry import Part, keyword_part
from mpidl.sentences import told

if TYPE_CHECKING:
    from torch import nn

_STARTS = ("shared", "per-agent")
_GIVEN = ("example_shape", "outputs")
_RESERVED = ("name", "init", "build")


class Model(Part):
    """A network. `build` draws the initial weights from torch's generator, so whoever calls it seeds that first.

    A module's parameters are re-pointed into rows of the agents × parameters matrix between calls, so a module holds no
    copy of a parameter, no flattened weights, and nothing computed from them.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "language")

    init: str = Field(
        default="shared",
        description="where the agents start: shared (one draw for all), per-agent (one draw for each), or a file: "
        "a state_dict (of torch or safetensors), or a run file that keeps models",
    )

    @field_validator("init")
    @classmethod
    def _known_start_or_path(cls, value: str) -> str:
        # A word without a dot or a slash is a misspelt choice far more often than a file.
        if value in _STARTS or "/" in value or "." in value:
            return value
        raise ValueError(
            f"{choices_sentence(value, _STARTS)}; a file is given by a path with a slash or a suffix in it"
        )

    @property
    def initial_file(self) -> str | None:
        """The file that the initial weights are read from, or None where they are drawn."""
        return None if self.init in _STARTS else self.init

    def check_task(self, task: str) -> None:
        """Refuse a data set whose task this model is not made for."""
        if task not in self.tasks:
            raise ConfigError(
                f"{self.name!r} is made for {' and '.join(self.tasks)}, and this data set's task is {task}; "
                "choose another model or other data",
                "model",
            )

    @abstractmethod
    def build(self, example_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """A module for examples of this shape: images (channels, height, width), vectors (features,), texts (length,).

        `outputs` is the number of classes, the width of a regression, or the size of the vocabulary.
        """


def signature(function: Callable[..., Any], label: str) -> dict[str, inspect.Parameter]:
    """The parameters of something that a user calls a function, by name and in order."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{label} is no function with readable parameters; give module:function") from error


def adapt(function: Callable[..., Any]) -> type[Model]:
    """A model part from `function(**keys)`, which returns a module; the keys are those of its signature.

    `example_shape` and `outputs` are given to it where its signature names them. A class of module will do as well.
    """
    label = getattr(function, "__name__", repr(function))
    parameters = signature(function, label)
    for taken in _RESERVED:
        if taken in parameters:
            raise ConfigError(f"{label} has a parameter {taken!r}, a name that mpidl keeps for itself; rename it")
    wanted = [key for key in _GIVEN if key in parameters]

    class PlugIn(Model):
        __doc__ = inspect.getdoc(function) or f"The model that {label} returns."

        def build(self, example_shape: tuple[int, ...], outputs: int) -> nn.Module:
            from torch import nn

            keys = {key: value for key, value in self if key not in _RESERVED}
            facts = {"example_shape": tuple(example_shape), "outputs": outputs}
            try:
                module = function(**keys, **{key: facts[key] for key in wanted})
            except Exception as error:
                # The function is the user's and may raise anything; whatever it is, the culprit is this name.
                raise ConfigError(f"{self.name!r} failed: {told(error)}", "model") from error
            if not isinstance(module, nn.Module):
                raise ConfigError(
                    f"{self.name!r} returned a {type(module).__name__}; it must return a torch.nn.Module", "model"
                )
            return module

    return keyword_part(function, PlugIn, _GIVEN)
