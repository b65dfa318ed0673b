"""Names to parts: algorithms, graphs, models, data sets, splits, schedules.

A part is registered by one explicit line, `GRAPHS.add("ring", "mpidl.graphs.ring:Ring")`, and imported when it is first
asked for, so that listing names costs nothing. Wherever a name may stand, `package.module:attribute` may stand too.

What is registered is either a `Part` (its settings are its fields) or a class with a `Settings` part inside it.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, Literal, cast

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticSerializationError, core_schema, to_jsonable_python
from typing_extensions import TypeVar

from mpidl.config import Strict, validate
from mpidl.errors import ConfigError, choices_sentence
from mpidl.sentences import PLUG_INS, told


class Part(Strict):
    """Settings of one component: typed, complete, unknown keys refused."""

    name: str = Field(description="which one: a registered name, or package.module:attribute")


# What a registry holds, and what its settings are: the same, where a part is its own settings.
Kind = TypeVar("Kind")
Settings = TypeVar("Settings", default=Kind)
PartType = TypeVar("PartType", bound=Part)


class Registry(Generic[Kind, Settings]):
    """The parts of one kind, in `Registry[Graph]` graphs, in `Registry[Algorithm, AlgorithmSettings]` algorithms.

    `base` is what all of them inherit, as `module:attribute`. `adapt` turns a plain function given as `module:function`
    into a part of this kind. `Annotated[Graph, GRAPHS]` is the type of a setting that holds one part.
    """

    def __init__(self, kind: str, base: str, adapt: Callable[[Callable[..., Any]], type[Kind]] | None = None) -> None:
        self.kind = kind
        self._base = base
        self._adapt = adapt
        self._targets: dict[str, str] = {}

    def add(self, name: str, target: str) -> None:
        """Registers `module:attribute`, which is imported when it is first asked for."""
        if name in self._targets:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._targets[name] = target

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def find(self, name: str) -> type[Kind]:
        """The class registered under this name, or imported from `module:attribute`."""
        target = self._targets.get(name, name)
        if ":" not in target:
            raise ConfigError(f"{self.kind} {choices_sentence(name, self._targets)}{_hint(name)}")
        part = _import_target(target, self.kind)
        if name in self._targets:
            return cast("type[Kind]", part)
        if inspect.isclass(part) and (issubclass(part, Part) or hasattr(part, "Settings")):
            self._check_class(name, part)
            return cast("type[Kind]", part)
        if self._adapt is None:
            raise ConfigError(f"{self.kind} {name!r} must be a class that inherits {self.base.__name__}")
        return self._adapt(part)

    def _check_class(self, name: str, part: Any) -> None:
        """Refuses a part of another kind, and one that is not finished."""
        if not issubclass(part, self.base):
            raise ConfigError(f"{self.kind} {name!r} is no {self.kind}: it does not inherit {self.base.__name__}")
        if inspect.isabstract(part):
            raise ConfigError(f"{self.kind} {name!r} does not define {', '.join(sorted(part.__abstractmethods__))}")
        settings = _settings_of(part)
        if not (inspect.isclass(settings) and issubclass(settings, Part)):
            raise ConfigError(f"{self.kind} {name!r}: its Settings must inherit mpidl.registry.Part")

    @property
    def base(self) -> type[Kind]:
        """What all parts of this kind inherit."""
        return cast("type[Kind]", _import_target(self._base, self.kind))

    def settings(self, name: str) -> type[Settings]:
        """The settings class of a registered or imported part."""
        return cast("type[Settings]", _settings_of(self.find(name)))

    def parse(self, value: Any) -> Settings:
        """Settings from `ring`, `{name: ring, …}` or settings already parsed."""
        if isinstance(value, Part):
            return cast("Settings", value)
        keys = {"name": value} if isinstance(value, str) else value
        if not isinstance(keys, dict):
            raise ConfigError(f"{value!r} is not a {self.kind}; give a name or {{name: …, key: value}}")
        if not isinstance(keys.get("name"), str):
            raise ConfigError(f"'name' is missing ({', '.join(sorted(self))})")
        try:
            settings = _settings_of(self.find(keys["name"]))
        except ConfigError as error:
            raise ConfigError(error.message, "name") from error
        return cast("Settings", validate(settings, keys))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(Part.model_dump)
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        imported = {"type": "string", "pattern": ":"}
        return {
            "anyOf": [
                {"enum": sorted(self)},
                imported,
                *(_schema_of(name, _settings_of(self.find(name))) for name in self),
                {"type": "object", "properties": {"name": imported}, "required": ["name"]},
            ]
        }


def _hint(name: str) -> str:
    """What somebody may have meant who has named a file, or a module with a dot before its attribute."""
    module, dot, attribute = name.rpartition(".")
    if attribute == "py":
        return f"; a part of your own is {module}:attribute"
    if module.isidentifier() and attribute.isidentifier() and Path(f"{module}.py").is_file():
        return f"; did you mean {module}:{attribute}?"
    return f"; a file is given by a key, as in {{name: npz, file: {name}}}" if "/" in name or dot else ""


def _settings_of(part: Any) -> type[Part]:
    """The settings of a part's class, which is its own settings or has them inside."""
    return cast("type[Part]", part if issubclass(part, Part) else part.Settings)


def _schema_of(name: str, settings: type[Part]) -> dict[str, Any]:
    """The JSON schema of one part, free of references so that it can stand anywhere in a larger one."""
    schema: dict[str, Any] = settings.model_json_schema()
    schema.get("properties", {})["name"] = {"const": name}
    return cast("dict[str, Any]", _without_references(schema, schema.pop("$defs", {})))


def _without_references(schema: Any, definitions: dict[str, Any]) -> Any:
    """The same schema, in which definitions stand where they are referred to."""
    if isinstance(schema, list):
        return [_without_references(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]] | {k: v for k, v in schema.items() if k != "$ref"}
    return {key: _without_references(value, definitions) for key, value in schema.items()}


def lazy_attributes(module: str, **targets: str) -> Callable[[str], Any]:
    """A package's `__getattr__`, by which `from mpidl.graphs import Graph` imports `Graph="mpidl.graphs.base"` then.

    So the package offers the classes that plug-ins inherit, and a command that only lists names does not wait for them.
    """

    def get(name: str) -> Any:
        if name not in targets:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(importlib.import_module(targets[name]), name)

    return get


def _import_target(target: str, kind: str) -> Any:
    module_name, _, attribute = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        # It stays there, because a plug-in may import its neighbours as late as when it is called.
        sys.path.insert(0, here)
    root = module_name.partition(".")[0]
    if root != "mpidl":
        PLUG_INS.add(root)
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # A user's module may raise anything while it is imported; whatever it is, the culprit is this name.
        raise ConfigError(f"{kind} {target!r} could not be imported: {told(error)}") from error
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise ConfigError(f"{kind} {target!r}: in module {module_name!r}, {choices_sentence(attribute, public)}")
    return getattr(module, attribute)


def keyword_part(function: Callable[..., Any], base: type[PartType], given: tuple[str, ...] = ()) -> type[PartType]:
    """A part whose keys are the parameters of a plain function; `given` names those that mpidl supplies itself.

    A parameter that no key can express (`*args`, positional-only, `_private`, a class as default) keeps its default.
    """
    from pydantic import create_model

    label = getattr(function, "__name__", type(function).__name__)
    fields: dict[str, Any] = {}
    extra: Literal["allow", "forbid"] = "forbid"
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
        elif parameter.name not in given and parameter.kind is not parameter.VAR_POSITIONAL:
            reachable = parameter.kind is not parameter.POSITIONAL_ONLY and not parameter.name.startswith("_")
            if reachable and parameter.name not in base.model_fields and _is_taken(parameter.name, base):
                raise ConfigError(f"{label}: its parameter {parameter.name!r} has a name that mpidl uses; rename it")
            if parameter.default is parameter.empty and not reachable:
                raise ConfigError(f"{label}: no key can reach its parameter {parameter.name!r}; give it a default")
            if parameter.default is parameter.empty:
                fields[parameter.name] = (Any, ...)
            elif reachable and _is_data(parameter.default):
                fields[parameter.name] = (Any, parameter.default)
    part = create_model(f"{label}_settings", __base__=base, **fields)
    part.model_config["extra"] = extra
    part.model_rebuild(force=True)
    return part


def _is_taken(name: str, base: type[Part]) -> bool:
    """Whether a key of this name would hide something that settings have, or that pydantic keeps for itself."""
    return hasattr(base, name) or name.startswith(("model_dump", "model_validate"))


def _is_data(value: object) -> bool:
    """Whether a configuration file could hold it."""
    try:
        to_jsonable_python(value)
    except PydanticSerializationError:
        return False
    return True
