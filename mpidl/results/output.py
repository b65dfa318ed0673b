"""Files that commands are told to write: whether they can be, before anything is computed for them; and texts whole."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from mpidl.errors import ConfigError
from mpidl.results.checked import is_run_file
from mpidl.results.checkpoints.folder import CheckpointFolder
from mpidl.results.storage import system_words

SUFFIXES = (".h5", ".hdf5")
# Of files of another kind; what follows another dot belongs to the name, as in lr0.1.
_OTHERS = (".txt", ".csv", ".json", ".yaml", ".yml", ".log", ".npz", ".npy", ".pt", ".pth", ".ckpt", ".safetensors")


def check_run_file(path: Path, overwrite: bool = False, resume: bool = False) -> None:
    """Refuses a run file that is in the way of a new run, or whose checkpoints are; or that cannot be gone on with."""
    check_output(path, overwrite or resume, cure="--resume to go on with it, choose another with -o, or --overwrite")
    check_suffix(path)
    folder = CheckpointFolder(path)
    if folder.rounds() and not path.exists() and not overwrite:
        how = "and go on with --resume, choose another with -o, or --overwrite to remove them"
        raise ConfigError(
            f"there are checkpoints in {str(folder.path)!r}, but the run file {str(path)!r} is not there: put it back "
            f"{'to go on with them, choose another with -o, or remove them' if resume else how}"
        )


def check_suffix(path: Path) -> None:
    """Refuses a new HDF5 file that is not called one: `runs/*.h5` would pass it over."""
    if path.suffix.lower() not in SUFFIXES and not path.exists():
        named = path.with_suffix(SUFFIXES[0]) if path.suffix.lower() in _OTHERS else path.with_name(f"{path.name}.h5")
        raise ConfigError(f"the output {str(path)!r} will be an HDF5 file, whose name ends in .h5: give -o {named}")


def check_output(
    path: str | Path,
    overwrite: bool = False,
    is_ours: Callable[[Path], bool] = is_run_file,
    cure: str = "choose another with -o, or --overwrite",
) -> None:
    """Refuses an output that exists, or that cannot be written; leaves nothing behind.

    `is_ours` says of a file whether it is such an output, which alone may be replaced; `cure` what to do about one.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise ConfigError(f"the output {str(path)!r} is a folder; name a file with -o")
        if path.is_symlink() and not path.exists():
            raise ConfigError(
                f"the output {str(path)!r} is a link to {str(path.readlink())!r}, which is not there; "
                "choose another with -o, or remove it"
            )
        if path.exists() and not path.is_file():
            raise ConfigError(f"the output {str(path)!r} is no regular file; choose another with -o")
        if path.exists() and not overwrite:
            raise ConfigError(f"the output {str(path)!r} exists; {cure} to replace it")
        if path.exists() and not is_ours(path):
            raise ConfigError(
                f"the output {str(path)!r} is no such file of mpidl's, and no other is replaced; "
                "choose another with -o, or remove it"
            )
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        # As long as the names of its lock and of its copy: a name can be too long for the system.
        with suppress(FileNotFoundError):
            path.with_name(path.name + ".part").lstat()
        # Only a try tells: permissions do not know of quotas, read-only mounts and root on a network file system.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise unwritable(path, error) from error


def write_text(path: Path, parts: Iterable[str]) -> None:
    """Writes a text, whose file has its name once it is whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="") as file:
            file.writelines(parts)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError | RuntimeError) -> ConfigError:
    """The sentence about an output that cannot be written."""
    return ConfigError(f"the output {str(path)!r} cannot be written: {system_words(error)}; choose another with -o")
