"""The folder of a run's checkpoints: which there are, how one comes into it, and which ones go."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from mpidl.results.storage import sync

_COMPLETE = re.compile(r"round-(\d{9,15})")
_UNFINISHED, _REMOVED = ".part", ".old"


def part_name(rank: int) -> str:
    """The file of a rank."""
    return f"rank-{rank:05}.h5"


class CheckpointFolder:
    """The checkpoints beside one run file."""

    def __init__(self, run_file: Path) -> None:
        stem = run_file.name.removesuffix(".h5").removesuffix(".hdf5")
        self.path = run_file.with_name(f"{stem}.ckpt")

    def of_round(self, round: int) -> Path:
        """Where the complete checkpoint of a round lies."""
        return self.path / f"round-{round:09}"

    def unfinished(self, round: int) -> Path:
        """Where it lies until it is complete."""
        return self.of_round(round).with_suffix(_UNFINISHED)

    def rounds(self) -> list[int]:
        """The rounds of which there are complete checkpoints, the newest first."""
        matches = (_COMPLETE.fullmatch(entry.name) for entry in self._entries())
        rounds = (int(match[1]) for match in matches if match)
        return sorted({round for round in rounds if _is_folder(self.of_round(round))}, reverse=True)

    def complete(self, round: int) -> None:
        """Gives a checkpoint, all of whose files are on the disk, its name."""
        unfinished, place = self.unfinished(round), self.of_round(round)
        sync(unfinished)
        if place.exists():
            # A damaged one, which the run has passed over and now comes to again.
            self._remove(place)
        unfinished.rename(place)
        sync(self.path)

    def keep(self, rounds: Collection[int]) -> None:
        """Removes all others; none is ever seen half removed."""
        for round in set(self.rounds()) - set(rounds):
            self._remove(self.of_round(round))

    def forget(self, round: int) -> None:
        """Removes what was written of a checkpoint that is not to be."""
        shutil.rmtree(self.unfinished(round), ignore_errors=True)

    def tidy(self) -> None:
        """Removes what a run that was killed has left half done; only who holds the run file's lock may."""
        for entry in self._entries():
            name = entry.name.removesuffix(_UNFINISHED).removesuffix(_REMOVED)
            if name != entry.name and _COMPLETE.fullmatch(name) and _is_folder(entry):
                shutil.rmtree(entry, ignore_errors=True)

    def clear(self) -> None:
        """Removes all checkpoints, and the folder if nothing else lies in it."""
        self.keep(())
        self.tidy()
        if _is_folder(self.path) and not self._entries():
            self.path.rmdir()

    def _remove(self, place: Path) -> None:
        old = place.with_suffix(_REMOVED)
        shutil.rmtree(old, ignore_errors=True)
        place.rename(old)
        shutil.rmtree(old, ignore_errors=True)

    def _entries(self) -> list[Path]:
        try:
            return sorted(self.path.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []


def _is_folder(path: Path) -> bool:
    """Whether it is a folder itself: what a link leads to is none of this run's."""
    return path.is_dir() and not path.is_symlink()
