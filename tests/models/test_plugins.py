"""Models and losses that a user names as `module:function`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mpidl.errors import ConfigError
from mpidl.models import LOSSES, MODELS
from tests.models import plugins


def build(value: Any) -> nn.Module:
    return MODELS.parse(value).build((3,), 2)


def test_a_function_gets_its_keys_and_nothing_it_does_not_take() -> None:
    module = build({"name": "tests.models.plugins:network", "width": 4, "depth": 2})
    assert len(module) == 2 and module[0].in_features == 4


def test_a_function_that_takes_them_gets_the_shape_and_the_outputs() -> None:
    module = build({"name": "tests.models.plugins:fitting", "bias": False})
    assert (module.in_features, module.out_features, module.bias) == (3, 2, None)


def test_a_function_with_open_keys_gets_them_all() -> None:
    build({"name": "tests.models.plugins:open_ended", "a": 1, "init": "per-agent"})
    assert plugins.seen == {"a": 1}


def test_a_class_of_module_is_a_model() -> None:
    assert build({"name": "torch.nn:Linear", "in_features": 3, "out_features": 2}).out_features == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("tests.models.plugins:network", "width: is missing"),
        (
            {"name": "tests.models.plugins:network", "width": 1, "dept": 1},
            "dept: 'dept' is not known; did you mean 'depth'",
        ),
        ("tests.models.plugins:wrong", "'tests.models.plugins:wrong' returned a int; it must return a torch.nn.Module"),
        ("tests.models.plugins:failing", "'tests.models.plugins:failing' failed: RuntimeError: no luck"),
        ("tests.models.plugins:clashing", "parameter 'init', a name that mpidl keeps"),
        ("tests.models.plugins:number", "no function with readable parameters"),
        ("tests.models.plugins:netwrk", "did you mean 'network'"),
    ],
    ids=str,
)
def test_a_models_mistakes_end_in_one_sentence(value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(value)


def test_a_loss_function_gets_module_batch_targets_and_its_keys() -> None:
    x, y = torch.randn(4, 2), torch.randn(4, 2)
    loss = LOSSES.parse({"name": "tests.models.plugins:absolute", "scale": 3})
    torch.testing.assert_close(loss(nn.Identity(), x, y), 3 * (x - y).abs().mean(1))


def test_a_losss_mistakes_end_in_one_sentence() -> None:
    x = torch.randn(4, 2)
    with pytest.raises(ConfigError, match="returned losses of shape .* for 4 examples; return one loss per example"):
        LOSSES.parse("tests.models.plugins:averaged")(nn.Identity(), x, x)
    with pytest.raises(ConfigError, match=r"takes 1 arguments; a loss takes \(module, x, y\)"):
        LOSSES.parse("tests.models.plugins:too_short")
    with pytest.raises(ConfigError, match="no function with readable parameters"):
        LOSSES.parse("tests.models.plugins:number")
