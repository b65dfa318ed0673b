"""Where an agent starts: weights drawn from the run's seed, or read from a file."""

from __future__ import annotations

import os
import warnings
import zipfile
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor, nn

from mpidl import accelerator
from mpidl.errors import ConfigError, nearest
from mpidl.files import open_regular
from mpidl.models.base import Model
from mpidl.models.files import SAFETENSORS, read_safetensors
from mpidl.seeding import torch_seed
from mpidl.sentences import told

_KEY = "model.init"


def initial_module(
    model: Model,
    example_shape: tuple[int, ...],
    outputs: int,
    seed: int,
    agent: int = 0,
    dtype: torch.dtype | None = None,
    weights: Weights | None = None,
) -> nn.Module:
    """The module with which this agent starts, the same for every agent unless `init: per-agent`.

    Weights are drawn on the CPU in torch's default precision and then cast, so that float64 starts where float32 does.
    The state of torch's generators is left as it was.
    """
    drawn_for = agent if model.init == "per-agent" else 0
    used = accelerator.in_use()
    devices, kind = ([], "cuda") if used is None else ([used.index], used.type)
    with torch.random.fork_rng(devices=devices, device_type=kind):
        torch.manual_seed(torch_seed(seed, "initial", drawn_for))
        try:
            module = model.build(tuple(example_shape), outputs)
        except RuntimeError as error:
            # torch's, of sizes that no memory holds.
            raise ConfigError(f"cannot be built: {told(error)}", "model") from error
    if dtype is not None:
        module.to(dtype)
    if weights is not None:
        fill(module, weights)
    return module


@dataclass(frozen=True)
class Weights:
    """Tensors by name, out of the file `path`."""

    path: str
    values: dict[str, Tensor]


def fill(module: nn.Module, weights: Weights) -> None:
    """Copy weights into the module's own memory; names and shapes must be the module's."""
    path, given, wanted = weights.path, weights.values, module.state_dict()
    _check_names(given, wanted, path)
    for name, target in wanted.items():
        _check_value(name, given[name], target, path)
    # The tensors of a state_dict share the module's memory, so re-pointed parameters are written where they now live.
    for name, target in wanted.items():
        target.copy_(given[name])
    for name, target in wanted.items():
        if not torch.equal(target, given[name].to(target)):
            raise ConfigError(
                f"{path!r} gives {name!r} values of its own, but in this model it shares them with another tensor; "
                "build the model without sharing (for gpt: tied: false)",
                _KEY,
            )


def expanded(path: str) -> Path:
    """The path with `~` and variables replaced."""
    try:
        return Path(os.path.expandvars(path)).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"cannot read the initial weights {path!r}: {error}", _KEY) from error


def read(path: str) -> Weights:
    """A state_dict that torch.save wrote, or safetensors."""
    file = expanded(path)
    try:
        with FileIO(open_regular(file, os.O_RDONLY)) as opened:
            if file.suffix == SAFETENSORS:
                return Weights(path, read_safetensors(opened.readall()))
            _refuse_packed(opened, path)
            opened.seek(0)
            with warnings.catch_warnings():
                # What torch finds odd in a file it also refuses, or reads in full.
                warnings.simplefilter("ignore")
                content = torch.load(opened, map_location="cpu", weights_only=True)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot read the initial weights {path!r}: {error.strerror or error}", _KEY) from error
    except Exception as error:
        # A damaged or foreign file may fail anywhere inside torch's reader; nothing in it is run.
        raise ConfigError(
            f"{path!r} is not a state_dict written by torch.save(module.state_dict(), …) ({type(error).__name__})", _KEY
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ConfigError(
            f"{path!r} holds something else than a state_dict; write it with torch.save(module.state_dict(), …)", _KEY
        )
    return Weights(path, content)


def _refuse_packed(file: FileIO, path: str) -> None:
    """Refuses a file that would take more memory than it has bytes: torch reserves what a file claims to hold."""
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    size = os.fstat(file.fileno()).st_size
    if sum(entry.file_size for entry in entries) > size or any(entry.compress_type for entry in entries):
        raise ConfigError(
            f"{path!r} claims to hold more than its {size} bytes, or is packed, as torch.save never does", _KEY
        )


def _check_names(given: dict[str, Tensor], wanted: dict[str, Tensor], path: str) -> None:
    surplus = [name for name in given if name not in wanted]
    for name in wanted:
        if name not in given:
            raise ConfigError(f"{path!r} has no {name!r}, which the model needs{_nearest(name, surplus)}", _KEY)
    for name in surplus:
        raise ConfigError(f"{path!r} has {name!r}, which the model lacks{_nearest(name, list(wanted))}", _KEY)


def _nearest(name: str, candidates: list[str]) -> str:
    like = nearest(name, candidates)
    return f" (nearest: {like!r})" if like else ""


def _check_value(name: str, value: Tensor, target: Tensor, path: str) -> None:
    if value.shape != target.shape:
        raise ConfigError(
            f"{name!r} has the shape {tuple(value.shape)} in {path!r} and {tuple(target.shape)} in the model; "
            "give the model the settings and the data that the file was written with",
            _KEY,
        )
    if value.is_floating_point() != target.is_floating_point() or value.is_complex():
        raise ConfigError(f"{name!r} is {value.dtype} in {path!r}, and {target.dtype} in the model", _KEY)
    if not torch.isfinite(value).all():
        raise ConfigError(f"{name!r} in {path!r} holds values that are not finite; take an earlier file", _KEY)
