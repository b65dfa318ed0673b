"""The JSON schema accepts what mpidl accepts, and refuses what an editor should underline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mpidl import config as reading
from mpidl.experiment import Config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
SCHEMA = Config.model_json_schema()
TYPES = {
    "object": Mapping,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": int | float,
}
BOUNDS = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value obeys a JSON schema, as far as the words that pydantic writes go."""
    if "$ref" in schema:
        return fits(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    own = [isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in kinds]
    if kinds and not any(own):
        return False
    if "const" in schema and value != schema["const"] or "enum" in schema and value not in schema["enum"]:
        return False
    if "anyOf" in schema and not any(fits(value, option) for option in schema["anyOf"]):
        return False
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return False
    if isinstance(value, int | float) and not all(BOUNDS[b](value, schema[b]) for b in BOUNDS if b in schema):
        return False
    if isinstance(value, list):
        return all(fits(item, schema.get("items", {})) for item in value)
    if isinstance(value, Mapping):
        known = schema.get("properties", {})
        more = schema.get("additionalProperties", True)
        return set(schema.get("required", [])) <= set(value) and all(
            fits(item, known[key]) if key in known else more is not False for key, item in value.items()
        )
    return True


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_fits(path: Path):
    assert fits(reading.read(path), SCHEMA)


@pytest.mark.parametrize(
    ("assignment", "right"),
    [
        ("graph=ring", True),
        ("graph={name: ring}", True),
        ("graph=null", True),
        ("graph=own:Graph", True),
        ("graph={name: own:Graph, anything: 3}", True),
        ("evaluate.every=3", True),
        ("evaluate.every=2 epochs", True),
        ("graph=rign", False),
        ("graph={name: ring, anything: 3}", False),
        ("algorithm.lrr=1", False),
        ("algorithm.lr=fast", False),
        ("agents=0", False),
    ],
)
def test_short_forms_and_plug_ins_fit_and_mistakes_do_not(assignment: str, right: bool):
    path = next(path for path in CONFIGS if path.stem == "quickstart-dsgd")
    assert fits(reading.override(reading.read(path), [assignment]), SCHEMA) == right


def test_defaults_are_written_as_in_a_configuration():
    every = SCHEMA["$defs"]["EvaluateSettings"]["properties"]["every"]
    assert every["default"] == "1 epochs"
    assert SCHEMA["properties"]["evaluate"]["default"]["every"] == "1 epochs"
    assert SCHEMA["properties"]["schedule"]["default"]["warmup"] == "0 rounds"
