"""All keys of a configuration: where each stands, and which one was meant by another word.

Nothing of any part is known here. A key that holds a part has a registry in its annotation, and that knows the keys of
each part; which one is chosen, the configuration says.
"""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mpidl.errors import ConfigError, choices_sentence, nearest, quoted

# What other programs and papers call a key, and what it may be here.
_ALSO_CALLED = {
    ("learning_rate", "step_size", "eta"): ("lr",),
    ("batch_size", "batchsize", "bs"): ("batch",),
    ("path", "filename", "files"): ("file", "root"),
    ("dir", "directory", "folder", "data_dir"): ("root",),
    ("nodes", "workers", "clients", "learners", "num_clients", "num_nodes", "world_size"): ("agents",),
    ("dataset",): ("data",),
    ("net", "network", "arch", "architecture"): ("model",),
    ("topology",): ("graph",),
    ("optimizer", "optim"): ("direction", "algorithm"),
    ("method", "strategy"): ("algorithm",),
    ("iterations", "iters", "steps", "max_steps", "num_rounds"): ("rounds",),
    ("num_epochs", "max_epochs"): ("epochs",),
    ("random_seed",): ("seed",),
    ("scheduler", "lr_scheduler"): ("schedule",),
    ("wd", "l2"): ("weight_decay",),
    ("clip", "grad_clip", "max_norm", "max_grad_norm"): ("clip_norm",),
    ("partition", "partitioner"): ("split",),
    ("compression",): ("compressor",),
    ("dtype",): ("precision",),
    ("gpu", "cuda", "xpu"): ("device",),
    ("layers", "width", "hidden_size", "hidden_sizes"): ("hidden",),
    ("freq", "frequency", "interval", "eval_every"): ("every",),
    ("criterion", "objective"): ("loss",),
    ("val", "val_split", "val_fraction"): ("validation",),
    ("client_fraction", "fraction_fit", "sample_fraction"): ("participation",),
}
_MEANT = {word: meant for words, meant in _ALSO_CALLED.items() for word in words}


class UnknownKey(ConfigError):
    """A key that its section does not know; `meant` is the one to suggest instead."""

    def __init__(self, key: str, known: Iterable[str], meant: str | None = None) -> None:
        self.known, (section, _, word) = tuple(known), key.rpartition(".")
        if meant == word:
            # The very same key, of what is around this section.
            choices = ", ".join(sorted(self.known))
            super().__init__(
                f"{quoted(word)} is not known here; did you mean it outside of {section}? ({choices})", key
            )
        else:
            super().__init__(choices_sentence(word, self.known, meant or nearest_key(word, self.known)), key)


def nearest_key(word: str, known: Iterable[str]) -> str | None:
    """The key that a word most likely means, which may be what another program calls it."""
    known = tuple(known)
    return next((meant for meant in _MEANT.get(word, ()) if meant in known), None) or nearest(word, known)


def elsewhere(word: str, known: Iterable[str], schema: type[BaseModel], settings: Any) -> str | None:
    """The dotted path of the key that was meant by a word, unless it is much like one of those `known` here.

    That is the key of this very name, or of what another program calls so, or else of a name like it; of several the
    one that nests least. `name` means another thing in each section, and none of them elsewhere.
    """
    if word == "name":
        return None
    paths = sorted((path for path, _ in walk(schema, settings)), key=lambda path: path.count("."))
    by_name: dict[str, str] = {}
    for path in paths:
        by_name.setdefault(path.rpartition(".")[2], path)
    alike = [] if nearest_key(word, known) else difflib.get_close_matches(word[:100], by_name, n=1, cutoff=0.8)
    return next((by_name[name] for name in (word, *_MEANT.get(word, ()), *alike) if name in by_name), None)


def walk(schema: type[BaseModel], settings: Any, above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a schema with its dotted path, those of the parts included that the settings choose."""
    given = settings if isinstance(settings, Mapping) else {}
    for name, field in schema.model_fields.items():
        path = f"{above}{field.alias or name}"
        yield path, field
        value = given.get(field.alias or name)
        section = chosen(field, value)
        # A duration is written in a word, not by keys.
        if section is not None and "extra" in section.model_config:
            yield from walk(section, value, f"{path}.")


def chosen(field: FieldInfo, value: Any) -> type[BaseModel] | None:
    """The section that a key holds: of the part that its value names, else of all parts of the kind, else its own."""
    name = value.get("name") if isinstance(value, Mapping) else value
    registry = registry_of(field)
    if registry is not None and isinstance(name, str):
        try:
            part: type[BaseModel] = registry.settings(name)
            return part
        except ConfigError:
            # It is told elsewhere that there is no such part; the keys that all parts have are known.
            pass
    return section_of(field.annotation)


def registry_of(field: FieldInfo) -> Any:
    """The registry of the parts that a key may name; None where it names none."""
    nested = [note for option in typing.get_args(field.annotation) for note in getattr(option, "__metadata__", ())]
    return next((note for note in (*field.metadata, *nested) if hasattr(note, "settings")), None)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a key of this type holds, if it holds one."""
    options = [annotation, *(getattr(option, "__origin__", option) for option in typing.get_args(annotation))]
    return next((option for option in options if inspect.isclass(option) and issubclass(option, BaseModel)), None)
