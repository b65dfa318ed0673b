"""The keys that every data set shares, and the way from a name to examples, shares and batches."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from mpidl.data.dataset import Dataset
from mpidl.data.pairs import from_pairs, is_pairs
from mpidl.data.shares import Shares
from mpidl.data.splits import SPLITS
from mpidl.data.splits.base import Split
from mpidl.errors import ConfigError, DataError, MpidlError
from mpidl.registry import Part, keyword_part
from mpidl.seeding import stream
from mpidl.sentences import printable, told

if TYPE_CHECKING:
    from mpidl.data.batches import Batches, Storage
    from mpidl.data.transform import Moves

ChosenSplit = Annotated[Split, SPLITS]


class Source(Part):
    """A data set: where it comes from and how its examples reach the agents."""

    root: str = Field("$MPIDL_DATA", description="folder that holds the data sets")
    batch: Annotated[int, Field(ge=1)] | Literal["full"] = Field(
        32, description="examples an agent draws for a step; 'full' is all it has"
    )
    validation: float = Field(0.0, ge=0.0, lt=1.0, description="share of the training examples set aside, by the seed")
    place: Literal["replicate", "own"] = Field(
        "replicate", description="keep every example on every rank, or only those of the rank's own agents"
    )
    stream: bool | None = Field(
        None, description="fetch each batch when it is needed, ahead of time; null: only where the device is too small"
    )
    split: ChosenSplit = Field(
        default_factory=lambda: SPLITS.parse("iid"),
        description="how the training examples are divided among the agents",
    )

    @abstractmethod
    def load(self) -> Dataset:
        """Read or make the examples; where ranks can share memory, one rank of a node does for all of them."""

    def deal(self, dataset: Dataset, agents: int, seed: int) -> Shares:
        """Set the validation part aside and divide the rest among the agents."""
        order = stream(seed, "validation").permutation(len(dataset)) if self.validation else np.arange(len(dataset))
        aside = round(self.validation * len(dataset))
        if self.validation and not aside:
            raise ConfigError(
                f"{self.validation:g} of {len(dataset)} training examples is not one; set aside at least "
                f"{1 / len(dataset):.2g}, or 0 for no validation part",
                "data.validation",
            )
        shares = self.split.assign(dataset, agents, seed, np.sort(order[aside:]))
        shares.validation = np.sort(order[:aside])
        return shares

    def batches(
        self,
        dataset: Dataset,
        shares: Shares,
        seed: int,
        storage: Storage | None = None,
    ) -> Batches:
        """The batches of these shares; this section decides their `place` and whether they are `streamed`."""
        from mpidl.data.batches import Batches, Storage

        storage = replace(storage or Storage(), place=self.place, streamed=self.stream)
        return Batches(dataset, shares, self.batch, seed, storage, self._moves())

    def _moves(self) -> Moves:
        """How examples are moved at random: not at all."""
        from mpidl.data.transform import Moves

        return Moves()


class Augmented(Source):
    """A data set whose examples can be moved at random, if they are images."""

    crop: int = Field(0, ge=0, le=64, description="shift at random by up to so many pixels, zeros moving in")
    flip: bool = Field(False, description="mirror left and right at random")

    def _moves(self) -> Moves:
        from mpidl.data.transform import Moves

        return Moves(self.crop, self.flip)


class Images(Augmented):
    """A data set of images."""

    normalise: bool = Field(True, description="bring each channel to mean 0 and deviation 1 over the training part")


class PlugIn(Source):
    """A data set made by a function of the user's."""

    function: ClassVar[Callable[..., Any]]
    # Keys that are mpidl's own, and the function's only where it names them.
    _common: ClassVar[frozenset[str]] = frozenset(Source.model_fields)

    def load(self) -> Dataset:
        parameters = inspect.signature(self.function).parameters
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        keys = {key: value for key, value in self if key in parameters or open_ended and key not in self._common}
        try:
            dataset = self.function(**keys)
            if is_pairs(dataset):
                return from_pairs(*dataset)
        except MpidlError:
            raise
        except Exception as error:
            # Whatever a user's function raises, the culprit is this name.
            raise DataError(f"data {self.name!r} raised {told(error)}") from error
        if not isinstance(dataset, Dataset):
            kind = type(dataset).__name__
            if isinstance(dataset, list | tuple):
                kind = f"a {kind} of {', '.join(type(part).__name__ for part in dataset[:4]) or 'nothing'}"
            raise DataError(
                f"data {self.name!r} returned {printable(kind, 200)}, neither an mpidl.data.Dataset nor a tuple "
                "(train, test) or (train, test, owner) of data sets as torch has them, which give examples by number"
            )
        return dataset


class AugmentedPlugIn(PlugIn, Augmented):
    """A data set made by a function of the user's."""

    _common = frozenset(Augmented.model_fields)


def adapt(function: Callable[..., Any]) -> type[PlugIn]:
    """A data set part whose keys are the function's parameters; common keys that it names are handed to it as well."""
    if not callable(function):
        raise ConfigError(
            f"a data set must be a function or a class, not {type(function).__name__}; name a function that returns it"
        )
    # A function with a parameter `crop` or `flip` means something of its own, which must not move images as well.
    own = {"crop", "flip"} & set(inspect.signature(function).parameters)
    part = keyword_part(function, PlugIn if own else AugmentedPlugIn, given=tuple(Source.model_fields))
    part.function = staticmethod(function)
    part.__doc__ = function.__doc__ or PlugIn.__doc__
    return part
