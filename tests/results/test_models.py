"""Every network that mpidl has comes out of a run file as it went in, and one with all that a module can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mpidl import results
from mpidl.errors import ResultsError
from mpidl.layout import FLOATS, INTEGERS, PARAMETERS, Network
from mpidl.parameters import RowModule
from mpidl.results.run_file import RunFile
from mpidl.results.snapshots import SNAPSHOTS, Form, Models
from tests.models.cases import OUTPUTS, batch, built, every_case


def keep(path: Path, module: nn.Module, shape: tuple[int, ...], settings: Any) -> results.Run:
    """A run file that keeps this network."""
    rows = RowModule(module)
    form = Form(Network(rows.entries, shape, OUTPUTS), rows.constants().numpy(), {"server": None})
    values = [rows.flatten(), *rows.flatten_buffers(rows.dtype)]
    row = dict(zip((PARAMETERS, FLOATS, INTEGERS), (value.numpy() for value in values), strict=True))
    run = RunFile.create(path, {"name": "kept", "model": settings}, {"hosts": ["here"]}, None, 1)
    run.keep(SNAPSHOTS, form, Models(1, {"server": [row]}), 1)
    run.finish()
    return results.open(path)


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    """Whether names, in their order, types, shapes and bits are equal."""
    assert list(found) == list(wanted)
    return all(found[name].dtype == value.dtype and torch.equal(found[name], value) for name, value in wanted.items())


@every_case
def test_a_network_is_built_again_and_computes_the_same(
    tmp_path: Path, settings: dict[str, Any], shape: tuple[int, ...]
) -> None:
    module = built(settings, shape, torch.float32)
    x, _ = batch(shape, dtype=torch.float32)
    # Statistics that are not those of the beginning.
    module.train()(x)
    wanted = {name: value.clone() for name, value in module.state_dict().items()}
    run = keep(tmp_path / "run.h5", module, shape, settings)
    assert same(run.state_dict(), wanted)
    again = run.build()
    assert not any(part.training for part in again.modules())
    assert same(again.state_dict(), wanted) and torch.equal(again(x), module.eval()(x))


class Everything(nn.Module):
    """Tied, frozen and untrained tensors of many types."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(3, OUTPUTS).requires_grad_(False)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("steps", torch.tensor([7], dtype=torch.int32))
        self.register_buffer("table", torch.arange(4.0), persistent=False)
        self.scale = nn.Parameter(torch.tensor(0.375, dtype=torch.bfloat16), requires_grad=False)


def test_all_that_a_module_holds_is_kept(tmp_path: Path) -> None:
    module = Everything()
    wanted = {name: value.clone() for name, value in module.state_dict().items()}
    run = keep(tmp_path / "run.h5", module, (3,), {"name": "tests.results.test_models:Everything"})
    assert same(run.state_dict(), wanted)
    with pytest.raises(
        ResultsError, match="'tests.results.test_models:Everything', code that does not come with mpidl"
    ):
        run.build()
    # As for a run, all that is floating is in the type of the rows.
    again = run.build(plug_ins=True).state_dict()
    assert all(torch.equal(again[name].to(value.dtype), value) for name, value in wanted.items())


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"name": "mlp", "hidden": [10**12]}, (3,)),
        ({"name": "gpt", "layers": 10**12, "heads": 1, "width": 8}, (7,)),
    ],
    ids=["too large", "endless"],
)
def test_a_network_of_other_settings_is_refused_before_it_is_built(
    tmp_path: Path, settings: dict[str, Any], shape: tuple[int, ...]
) -> None:
    module = built({"name": "mlp", "hidden": [4]}, (3,), torch.float32)
    run = keep(tmp_path / "run.h5", module, shape, settings)
    with pytest.raises(ResultsError, match="does not fit the network that its configuration describes"):
        run.build()
