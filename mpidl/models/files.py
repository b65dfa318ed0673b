"""State_dicts as files: those of torch.save, and of safetensors where that is installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from mpidl.errors import ConfigError, MpidlError, SaveError
from mpidl.files import open_regular

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

SAFETENSORS = ".safetensors"
SUFFIXES = (".pt", ".pth", SAFETENSORS)


def is_state_dict(path: Path) -> bool:
    """Whether a file begins as what is written here does."""
    with FileIO(open_regular(path, os.O_RDONLY)) as file:
        beginning = file.read(9)
    return beginning.startswith(b"PK") or (path.suffix == SAFETENSORS and beginning[8:] == b"{")


def check_suffix(path: Path) -> None:
    """Refuses a file that would not be known again for what it is, or cannot be written here."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{str(path)!r} does not end in {', '.join(SUFFIXES)}, which says how it is to be written")
    if path.suffix == SAFETENSORS:
        _safetensors()


def write(path: Path, values: Mapping[str, Tensor]) -> None:
    """Writes a state_dict; the file has its name once it is whole and on the disk."""
    import torch

    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == SAFETENSORS:
            _safetensors().save_file(dict(values), part)
        else:
            torch.save(dict(values), part)
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.replace(path)
    except MpidlError:
        raise
    except (OSError, RuntimeError) as error:
        # torch's writer raises RuntimeError where the system refuses.
        part.unlink(missing_ok=True)
        words = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise SaveError(f"{str(path)!r} could not be written: {words}") from error


def read_safetensors(content: bytes) -> dict[str, Tensor]:
    """The tensors of such a file; whatever is wrong with it raises an error of any kind."""
    values: dict[str, Tensor] = _safetensors().load(content)
    return values


def _safetensors() -> ModuleType:
    try:
        from safetensors import torch as safetensors
    except ModuleNotFoundError as error:
        raise ConfigError("files of this kind need safetensors; `pip install safetensors`, or write a .pt") from error
    module: ModuleType = safetensors
    return module
