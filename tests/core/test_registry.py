"""A name is a registered part or `module:attribute`; whatever is wrong with it ends in one sentence."""

from __future__ import annotations

import functools
import importlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpidl.algorithms import ALGORITHMS
from mpidl.data import DATA
from mpidl.errors import ConfigError
from mpidl.graphs import GRAPHS
from mpidl.models import MODELS
from mpidl.registry import Part, Registry, keyword_part
from mpidl.training import SCHEDULES

NAMES = itertools.count()
MODULE = """
import functools
import importlib
from torch import nn
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.training.schedule import Schedule

def network(width, *extra, act=nn.Tanh, example_shape, outputs):
    return nn.Sequential(nn.Linear(example_shape[0], width), *extra, act(), nn.Linear(width, outputs))

fixed = functools.partial(network, 3)
wide = functools.partial(network, width=5)

class Network(nn.Linear):
    def __init__(self, example_shape, outputs, bias=True):
        super().__init__(example_shape[0], outputs, bias)

class Caller:
    def __call__(self, example_shape, outputs, width=2):
        return network(width, example_shape=example_shape, outputs=outputs)

caller = Caller()

def late(example_shape, outputs):
    import {neighbour}
    return Network(example_shape, outputs)

class Unfinished(Decentralized):
    pass

class Loose(Decentralized):
    class Settings:
        lr = 0.1

    def round(self):
        pass

    rows_sent = advance = model = round

def hiding(example_shape, outputs, copy=1):
    return Network(example_shape, outputs)

def hiding_too(example_shape, outputs, model_config):
    return Network(example_shape, outputs)

class Halving(Schedule):
    share: float = 0.5

    def shape(self, t, rounds_per_epoch, total):
        return self.share**t
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module of a name of its own into the current folder, which is not on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])

    def write_module(text: str) -> str:
        name = f"plug_in_{next(NAMES)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write_module


@pytest.fixture
def module(write: Callable[[str], str]) -> str:
    return write(MODULE.replace("{neighbour}", write("")))


@pytest.mark.parametrize(
    ("attribute", "keys", "widths"),
    [
        ("network", {"width": 4}, [4, 2]),
        ("fixed", {}, [3, 2]),
        ("wide", {}, [5, 2]),
        ("wide", {"width": 6}, [6, 2]),
        ("Network", {"bias": False}, [2]),
        ("caller", {}, [2, 2]),
        ("late", {}, [2]),
    ],
)
def test_whatever_can_be_called_is_a_plug_in(module: str, attribute: str, keys: dict[str, Any], widths: list[int]):
    from torch import nn

    part = MODELS.parse({"name": f"{module}:{attribute}", **keys})
    built = part.build((3,), 2)
    assert [layer.out_features for layer in built.modules() if isinstance(layer, nn.Linear)] == widths
    # What is recorded in the run file can be read again, though a default of the function is a class.
    recorded = part.model_dump(mode="json")
    assert MODELS.parse(recorded).model_dump(mode="json") == recorded


def test_settings_stay_as_they_were_read() -> None:
    part = GRAPHS.parse("ring")
    with pytest.raises(ValueError, match="frozen"):
        part.name = "chain"


def test_a_class_of_the_kind_is_a_part_with_its_own_settings(module: str):
    schedule = SCHEDULES.parse({"name": f"{module}:Halving", "share": 0.25, "warmup": 2, "warmup_from": 0})
    assert [schedule.at(t, 1, 4) for t in range(4)] == [0, 0.125, 0.0625, 0.015625]


@pytest.mark.parametrize(
    ("registry", "name", "sentence"),
    [
        (MODELS, "mpl", "model 'mpl' is not known; did you mean 'mlp'?"),
        (MODELS, "{module}:netwrk", "in module '{module}', 'netwrk' is not known; did you mean 'network'?"),
        (MODELS, "{module}_:network", "could not be imported: ModuleNotFoundError: No module named '{module}_'"),
        (MODELS, ":network", "could not be imported"),
        (MODELS, "{module}:network", "width: is missing"),
        (MODELS, "mpidl.data.digits:Digits", "is no model: it does not inherit Model"),
        (GRAPHS, "mpidl.data.digits:Digits", "is no graph: it does not inherit Graph"),
        (DATA, "mpidl.graphs.simple:Ring", "is no data: it does not inherit Source"),
        (SCHEDULES, "{module}:network", "must be a class that inherits Schedule"),
        (ALGORITHMS, "{module}:Network", "must be a class that inherits Algorithm"),
        (ALGORITHMS, "{module}:Unfinished", "does not define round"),
        (ALGORITHMS, "{module}:Loose", "its Settings must inherit mpidl.registry.Part"),
        (MODELS, "{module}:hiding", "its parameter 'copy' has a name that mpidl uses; rename it"),
        (MODELS, "{module}:hiding_too", "its parameter 'model_config' has a name that mpidl uses"),
        (ALGORITHMS, "mpidl.graphs.simple:Ring", "is no algorithm: it does not inherit Algorithm"),
    ],
)
def test_a_wrong_name_is_answered_in_one_sentence(module: str, registry: Registry, name: str, sentence: str):
    with pytest.raises(ConfigError) as caught:
        registry.parse(name.replace("{module}", module))
    assert sentence.replace("{module}", module) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_library", "No module named 'no_such_library'"),
        ("raise SystemExit('a script')", "SystemExit: a script"),
    ],
)
def test_a_broken_module_is_named_with_what_broke_it(write: Callable[[str], str], text: str, sentence: str):
    name = write(text)
    with pytest.raises(ConfigError, match=sentence) as caught:
        MODELS.parse(f"{name}:network")
    assert f"model '{name}:network' could not be imported" in str(caught.value)


@pytest.mark.parametrize("value", [3, None, ["mlp"], {"hidden": [3]}, {"name": 3}])
def test_what_names_nothing_is_refused(value: Any):
    with pytest.raises(ConfigError, match="is not a model|'name' is missing"):
        MODELS.parse(value)


def test_the_keys_of_a_function_are_its_parameters_that_a_file_can_express():
    def function(x, /, given, wanted, *rest, word="a", numbers=(1, 2), kind=int, _hidden=1, **more):
        pass

    with pytest.raises(ConfigError, match="no key can reach its parameter 'x'"):
        keyword_part(function, Part, ("given",))
    part = keyword_part(function, Part, ("x", "given"))
    assert set(part.model_fields) == {"name", "wanted", "word", "numbers"}
    dumped = part(name="f", wanted=1, other=2).model_dump()
    assert dumped == {"name": "f", "wanted": 1, "word": "a", "numbers": (1, 2), "other": 2}
    assert "x" not in keyword_part(functools.partial(function, 0), Part).model_fields


def test_a_name_is_registered_once():
    registry = Registry("thing", "module:Thing")
    registry.add("one", "module:One")
    with pytest.raises(ValueError, match="'one' is registered twice"):
        registry.add("one", "module:Other")
    assert list(registry) == ["one"] and "one" in registry and "two" not in registry


BASES = ("algorithms", "graphs", "compressors", "models", "data", "data.splits", "training", "comm.gossip.schemes")


@pytest.mark.parametrize("package", BASES)
def test_what_plug_ins_inherit_is_importable_from_the_package(package: str):
    module = importlib.import_module(f"mpidl.{package}")
    assert all(getattr(module, name) is not None for name in module.__all__)
    for registry in [value for value in vars(module).values() if isinstance(value, Registry)]:
        assert getattr(module, registry.base.__name__) is registry.base
        assert all(issubclass(registry.find(name), registry.base) for name in registry)
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        exec(f"from mpidl.{package} import Nothing")
