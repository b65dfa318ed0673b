"""Reading a configuration: YAML, overrides, durations, and every error as one sentence.

No key of any part is known here: `experiment/` assembles the schema from the registries and calls `validate`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidationError,
    WithJsonSchema,
    model_serializer,
)
from pydantic_core import ErrorDetails, core_schema

from mpidl import files, notation
from mpidl.errors import ConfigError, beginning, quoted, suggestion
from mpidl.keys import UnknownKey, elsewhere, section_of


def read(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        text = files.read(Path(path), notation.LARGEST).decode()
    except FileNotFoundError as error:
        beside = [str(Path(path).with_name(file.name)) for file in Path(path).parent.glob("*.y*ml")]
        hint = suggestion(path, beside)
        raise ConfigError(f"cannot read the configuration {str(path)!r}: {error.strerror}{hint}") from error
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        more = f"; with it, --resume and -o {path} a run goes on" if Path(path).suffix in (".h5", ".hdf5") else ""
        raise ConfigError(f"{str(path)!r} is not a text file; give a configuration, in YAML{more}") from error
    content = notation.load(text, str(path))
    if not isinstance(content, dict):
        raise ConfigError(f"{str(path)!r} holds no 'key: value' lines")
    return content


def override(config: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy of the configuration with each `dotted.key=value` set; a value is read as YAML."""
    result = dict(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(f"-s wants key=value, not {quoted(assignment)}")
        if len(keys) > notation.DEEPEST:
            raise ConfigError(f"-s {quoted(assignment)}: nests deeper than {notation.DEEPEST} levels")
        value = notation.load(text, f"-s {quoted(assignment)}")
        place = result
        for key in keys[:-1]:
            below = place.get(key)
            if isinstance(below, str):
                # `graph: ring` is short for `graph: {name: ring}`.
                below = {"name": below}
            place[key] = dict(below) if isinstance(below, Mapping) else {}
            place = place[key]
        place[keys[-1]] = value
    return result


def expand(value: Any) -> Any:
    """The same structure with a `$NAME` at the start of a string replaced; an unset variable stays as written."""
    if isinstance(value, dict):
        return {key: expand(item) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item) for item in value]
    if isinstance(value, str) and value.startswith("$"):
        return os.path.expandvars(value)
    return value


def leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every plain value with its dotted path; so is an empty section or list."""
    below = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(below, dict) or not below:
        yield path, value
        return
    for key, item in below.items():
        yield from leaves(f"{path}.{key}" if path else str(key), item)


def _be_strict(schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("type") in ("int", "float", "bool", "str"):
            schema["strict"] = True
        for below in schema.values():
            _be_strict(below)
    elif isinstance(schema, list):
        for below in schema:
            _be_strict(below)


class Strict(BaseModel):
    """A section of a configuration: typed, complete, unknown keys refused.

    Numbers are numbers, words are words and truth is truth; only a whole number may stand where any number may.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        schema = handler(source)
        # pydantic's own strict mode would refuse lists for tuples and mappings for sections as well.
        _be_strict(handler.resolve_ref_schema(schema))
        return schema


_BYTES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _bytes(value: Any) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kMGT]?B|)\s*", str(value))
    if match is None or isinstance(value, bool):
        raise ValueError(f"{quoted(value)} is not an amount of memory; write '4 GB', '500 MB', or a number of bytes")
    return int(float(match[1]) * _BYTES[match[2]])


# Of memory.
Bytes = Annotated[
    int,
    BeforeValidator(_bytes),
    WithJsonSchema({"type": ["integer", "string"], "description": "bytes, 'N MB', or 'N GB'"}),
]


class Duration(BaseModel):
    """A stretch of training: so many rounds, so many epochs, or a fraction of the run."""

    model_config = {"frozen": True}

    amount: float
    unit: str  # "rounds", "epochs" or "run"

    def rounds(self, rounds_per_epoch: float, total_rounds: int) -> int:
        """The number of rounds, to the nearest one."""
        scale = {"rounds": 1, "epochs": rounds_per_epoch, "run": total_rounds}[self.unit]
        return round(self.amount * scale)

    @model_serializer
    def written(self) -> float | str:
        """As a configuration has it."""
        return self.amount if self.unit == "run" else str(self)

    def __str__(self) -> str:
        return f"{self.amount:.15g}" if self.unit == "run" else f"{self.amount:.15g} {self.unit}"


# Rounds or epochs.
_LONGEST = 1e18


def _duration(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    if isinstance(value, bool):
        raise ValueError(f"{quoted(value)} is not a duration")
    if isinstance(value, int):
        duration = Duration(amount=value, unit="rounds")
    elif isinstance(value, float) and value <= 1:
        duration = Duration(amount=value, unit="run")
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(round|epoch)s?\s*", str(value))
        if match is None:
            raise ValueError(f"{quoted(value)} is not a duration; write 100 (rounds), '5 epochs', or 0.5 (of the run)")
        duration = Duration(amount=float(match[1]), unit=match[2] + "s")
    if duration.amount > _LONGEST:
        raise ValueError(f"{quoted(value)} is longer than any run")
    if duration.amount < 0:
        raise ValueError(f"{quoted(value)} is negative")
    return duration


Rounds = Annotated[
    Duration,
    BeforeValidator(_duration),
    WithJsonSchema({"type": ["integer", "number", "string"], "description": "rounds, 'N epochs', or a fraction"}),
]

_UNITS = {"s": 1, "min": 60, "h": 3600}
# How a sweep is written elsewhere, and pydantic's names for what is no number.
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?"
_SEVERAL = re.compile(rf"{_NUMBER}((\s*[,;:-]\s*|\s+|\.\.+){_NUMBER})+", re.IGNORECASE)
_OF_A_NUMBER = ("int_type", "int_parsing", "float_type", "float_parsing")


def _seconds(value: Any) -> float:
    if not isinstance(value, bool) and isinstance(value, int | float):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(s|min|h)\s*", str(value))
    if match is None:
        raise ValueError(f"{quoted(value)} is not a time; write 90 (seconds), '55 min' or '12 h'")
    return float(match[1]) * _UNITS[match[2]]


# Of a clock.
Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema({"type": ["number", "string"], "description": "seconds, 'N min', or 'N h'"}),
]

Model = TypeVar("Model", bound=BaseModel)


def validate(schema: type[Model], settings: Mapping[str, Any]) -> Model:
    """The settings as an instance of the schema, or one sentence about the first thing that is wrong with them."""
    try:
        return schema.model_validate(settings)
    except ValidationError as error:
        # What a part has raised knows where that was; pydantic's own error does not.
        cause = _first(error.errors()).get("ctx", {}).get("error") or error
        raise _explain(error.errors(), schema, settings) from cause


def _first(errors: Sequence[ErrorDetails]) -> ErrorDetails:
    # A missing key is often the shadow of a misspelt one, so it is named last.
    return min(errors, key=lambda item: item["type"] == "missing")


def _explain(errors: Sequence[ErrorDetails], schema: type[BaseModel], settings: Any) -> ConfigError:
    details = _first(errors)
    steps = [beginning(step) for step in _path(schema, details)]
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, UnknownKey):
        # A part knows its own keys only; another section may have one of this name.
        meant = elsewhere(cause.key.rpartition(".")[2], cause.known, schema, settings)
        return UnknownKey(".".join([*steps, cause.key]), cause.known, meant)
    if isinstance(cause, ConfigError):
        return ConfigError(cause.message, ".".join(filter(None, [*steps, cause.key])))
    if details["type"] == "extra_forbidden":
        known = list(_section_at(schema, steps[:-1]).model_fields)
        return UnknownKey(".".join(steps), known, elsewhere(steps[-1], known, schema, settings))
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "missing":
        field = _section_at(schema, steps[:-1]).model_fields.get(steps[-1])
        message = f"is missing: {field.description}" if field and field.description else "is missing"
    elif details["type"] != "value_error":
        # Where a key takes one thing or another, pydantic has an error for each.
        alike = [error for error in errors if _path(schema, error) == _path(schema, details)]
        wishes = dict.fromkeys(_wish(error, list(_section_at(schema, steps).model_fields)) for error in alike)
        message = f"{quoted(details['input'])} is not allowed: input should be {' or '.join(wishes)}"
        if details["type"] in _OF_A_NUMBER and _is_several(details["input"]):
            message += "; mpidl sweep takes several, as in 1,2,3 or 1:3"
    return ConfigError(message, ".".join(steps))


def _is_several(given: Any) -> bool:
    """Whether this was meant as several numbers, or as a range."""
    if isinstance(given, list):
        return len(given) > 1
    # A longer one would take long.
    return isinstance(given, str) and len(given) < 100 and _SEVERAL.fullmatch(given.strip()) is not None


def _wish(details: ErrorDetails, known: Sequence[str]) -> str:
    """What would have been right, as the end of 'input should be'; `known` are the keys of a section, if one was."""
    given = details["input"]
    if details["type"] == "int_type" and isinstance(given, float) and given.is_integer() and abs(given) < 2**53:
        return f"a whole number, written {int(given)}"
    if details["type"] == "model_type":
        return f"a section, with keys of its own ({', '.join(known)})"
    if details["type"] in ("tuple_type", "list_type"):
        items = given.split(",") if isinstance(given, str) else [given]
        single = isinstance(given, bool | int | float | str)
        return f"a list, such as [{', '.join(quoted(item) for item in items)}]" if single else "a list"
    message = details["msg"]
    return message.removeprefix("Input should be ") if message.startswith("Input should be ") else f"right: {message}"


def _path(schema: type[BaseModel], details: ErrorDetails) -> list[str]:
    """The keys that lead to an error; pydantic puts the names of a union's choices between them."""
    steps: list[str] = []
    place: type[BaseModel] | None = schema
    for step in details["loc"]:
        if isinstance(step, int):
            steps.append(str(step))
        elif place is not None:
            steps.append(step)
            place = section_of(place.model_fields[step].annotation) if step in place.model_fields else None
    return steps


def _section_at(schema: type[BaseModel], steps: list[str]) -> type[BaseModel]:
    """The section at this path, or the last one on the way to it."""
    for step in steps:
        field = schema.model_fields.get(step)
        schema = (section_of(field.annotation) if field else None) or schema
    return schema
