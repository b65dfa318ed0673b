"""Initial weights: from the seed, and from a file."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mpidl.errors import ConfigError
from mpidl.models import MODELS
from mpidl.models.initial import fill, initial_module, read


def flat(module: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(module.parameters()).detach()


def start(init: str, agent: int = 0, seed: int = 1, **more: Any) -> torch.Tensor:
    model = MODELS.parse({"name": "mlp", "hidden": [4], "init": init})
    weights = None if model.initial_file is None else read(model.initial_file)
    return flat(initial_module(model, (3,), 2, seed, agent, weights=weights, **more))


def load(module: nn.Module, path: str) -> None:
    fill(module, read(path))


def test_shared_starts_are_equal_and_per_agent_starts_differ() -> None:
    assert torch.equal(start("shared", 0), start("shared", 3))
    assert not torch.equal(start("per-agent", 0), start("per-agent", 3))
    assert torch.equal(start("per-agent", 3), start("per-agent", 3))
    assert not torch.equal(start("shared", seed=1), start("shared", seed=2))


def test_float64_starts_where_float32_does() -> None:
    assert torch.equal(start("shared", dtype=torch.float64), start("shared").double())


def test_sizes_that_no_memory_holds_are_told_in_one_sentence() -> None:
    model = MODELS.parse({"name": "mlp", "hidden": [10**18]})
    with pytest.raises(ConfigError, match="^model: cannot be built: RuntimeError: [^\n]*1000000000000000000"):
        initial_module(model, (3,), 2, seed=1)


def test_building_leaves_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    start("shared")
    assert torch.equal(before, torch.get_rng_state())


def test_a_file_is_every_agents_start(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    saved = MODELS.parse({"name": "mlp", "hidden": [4]}).build((3,), 2)
    torch.save(saved.state_dict(), path)
    assert torch.equal(start(str(path), 5), flat(saved))


def test_a_file_may_lie_in_the_home_folder_or_where_a_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WEIGHTS", str(tmp_path))
    torch.save(net().state_dict(), tmp_path / "good.pt")
    for path in ("~/good.pt", "$WEIGHTS/good.pt"):
        load(net(), path)
    with pytest.raises(ConfigError, match="cannot read the initial weights '~nobody-here/good.pt'"):
        load(net(), "~nobody-here/good.pt")


def test_loading_writes_into_re_pointed_parameters_and_buffers(tmp_path: Path) -> None:
    source = MODELS.parse("resnet20").build((1, 8, 8), 2)
    source(torch.randn(4, 1, 8, 8))
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    module = MODELS.parse("resnet20").build((1, 8, 8), 2)
    row = torch.zeros(sum(parameter.numel() for parameter in module.parameters()))
    begin = 0
    for parameter in module.parameters():
        parameter.data = row[begin : begin + parameter.numel()].view(parameter.shape)
        begin += parameter.numel()
    load(module, str(tmp_path / "weights.pt"))
    assert torch.equal(row, flat(source))
    assert all(torch.equal(a, b) for a, b in zip(module.buffers(), source.buffers(), strict=True))


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: {f"module.{k}": v for k, v in d.items()}, r"no '0.weight'.*nearest: 'module.0.weight'"),
        (lambda d: d | {"2.weights": d["2.weight"]}, r"'2.weights', which the model lacks \(nearest: '2.weight'\)"),
        (lambda d: d | {"2.weight": torch.zeros(5, 4)}, r"'2.weight' has the shape \(5, 4\).*\(2, 4\) in the model"),
        (lambda d: d | {"0.bias": torch.tensor([1, 2, 3, float("nan")])}, "'0.bias'.*not finite"),
        (lambda d: d | {"0.bias": torch.tensor([1, 2, 3, 4])}, "'0.bias' is torch.int64"),
        (lambda d: {"state_dict": d}, "something else than a state_dict"),
        (lambda d: [1, 2], "something else than a state_dict"),
    ],
)
def test_a_file_that_does_not_fit_ends_in_one_sentence(tmp_path: Path, change: Any, words: str) -> None:
    module = net()
    before = flat(module)
    torch.save(change(dict(net().state_dict())), tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=words) as caught:
        load(module, str(tmp_path / "w.pt"))
    assert caught.value.key == "model.init" and "\n" not in str(caught.value)
    assert torch.equal(flat(module), before)


def test_what_torch_finds_odd_in_a_file_is_not_told_beside_the_sentence(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "other.pt", pickle_protocol=4)
    with contextlib.suppress(ConfigError), warnings.catch_warnings(record=True) as told:
        load(net(), str(tmp_path / "other.pt"))
    assert not told


class Malicious:
    def __reduce__(self) -> Any:
        return (Path("executed").touch, ())


def test_damaged_foreign_missing_and_malicious_files_end_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(net().state_dict(), "good.pt")
    Path("short.pt").write_bytes(Path("good.pt").read_bytes()[:300])
    Path("text.pt").write_text("not weights")
    Path("empty.pt").touch()
    Path("evil.pt").write_bytes(pickle.dumps(Malicious(), protocol=2))
    torch.save(Malicious(), "evil2.pt")
    for name in ("short.pt", "text.pt", "empty.pt", "evil.pt", "evil2.pt", "missing.pt", "."):
        with pytest.raises(ConfigError) as caught:
            load(net(), name)
        assert repr(name) in str(caught.value) and "\n" not in str(caught.value)
    assert not Path("executed").exists()


@pytest.mark.parametrize("kind", ["packed", "larger than the file", "pipe", "device"])
def test_a_file_that_would_take_more_than_it_holds_ends_in_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.pt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        torch.save({"weight": torch.zeros(2**20)}, tmp_path / "sound.pt")
        with zipfile.ZipFile(tmp_path / "sound.pt") as sound, zipfile.ZipFile(path, "w") as forged:
            for entry in sound.infolist():
                forged.writestr(entry.filename, sound.read(entry), zipfile.ZIP_DEFLATED if kind == "packed" else None)
        if kind != "packed":
            # In the list at the end of the archive, the largest size is claimed to be larger.
            content = path.read_bytes()
            at = content.rindex(struct.pack("<I", 2**22))
            path.write_bytes(content[:at] + struct.pack("<I", 2**31) + content[at + 4 :])
    with pytest.raises(ConfigError) as caught:
        read(str(path))
    assert "\n" not in str(caught.value)
    words = "no regular file" if kind in ("pipe", "device") else "claims to hold more than its"
    assert words in str(caught.value)


def test_untied_weights_do_not_silently_become_tied(tmp_path: Path) -> None:
    keys = {"name": "gpt", "width": 8, "heads": 2, "layers": 1}
    torch.save(MODELS.parse({**keys, "tied": False}).build((4,), 5).state_dict(), tmp_path / "w.pt")
    with pytest.raises(ConfigError, match="shares them with another tensor"):
        load(MODELS.parse(keys).build((4,), 5), str(tmp_path / "w.pt"))
    tied = MODELS.parse(keys).build((4,), 5)
    torch.save(tied.state_dict(), tmp_path / "w.pt")
    other = MODELS.parse(keys).build((4,), 5)
    load(other, str(tmp_path / "w.pt"))
    assert torch.equal(flat(other), flat(tied))


def test_a_misspelt_init_names_the_choices() -> None:
    with pytest.raises(ConfigError, match="'per-agents' is not known; did you mean 'per-agent'"):
        MODELS.parse({"name": "mlp", "init": "per-agents"})
    assert MODELS.parse({"name": "mlp", "init": "runs/x.pt"}).initial_file == "runs/x.pt"
    assert MODELS.parse("mlp").initial_file is None
