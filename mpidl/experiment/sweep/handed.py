"""What the ranks of a sweep are handed at their start: its runs, in their order, as they were read and checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpidl.experiment.schema import Config, received
from mpidl.experiment.sweep.member import Member, Standing


@dataclass(frozen=True)
class Handed:
    """Runs for ranks that take one after another, as plain values: nothing of a user's is imported before its turn.

    `base` is a whole configuration, and each of `runs` has the sections that are other ones. `claims`: a folder where
    launches beside each other, on this host, tell each other what they take; None where there is one at a time.
    `before`: how many ranks of this host belong to launches beside this one that come first.
    """

    base: dict[str, Any]
    runs: list[dict[str, Any]]
    claims: str | None = None
    before: int = 0

    @classmethod
    def of(cls, members: Sequence[Member], claims: Path | None = None, before: int = 0) -> Handed:
        """These runs."""
        base = _sections(members[0].config)
        runs = [
            {
                "number": member.number,
                "label": member.label,
                "output": str(member.output),
                "ranks": member.ranks,
                "standing": member.standing.name,
                "sections": {
                    name: section for name, section in _sections(member.config).items() if base[name] != section
                },
            }
            for member in members
        ]
        return cls(base, runs, None if claims is None else str(claims), before)

    def packed(self) -> str:
        """As a text."""
        return json.dumps(vars(self))

    @classmethod
    def unpacked(cls, text: str) -> Handed:
        """What `packed` has made a text of."""
        return cls(**json.loads(text))

    def number(self, place: int) -> int:
        """That of one of the runs."""
        return int(self.runs[place]["number"])

    def member(self, place: int) -> Member:
        """One of the runs; its parts are imported."""
        run = dict(self.runs[place])
        config = received(json.dumps(self.base | run.pop("sections")))
        output, standing = Path(run.pop("output")), Standing[run.pop("standing")]
        return Member(config=config, output=output, standing=standing, **run)

    def taken(self) -> Iterator[int]:
        """The places of runs that nobody else takes, one after another. For one rank of each launch."""
        for place in range(len(self.runs)):
            if self.claims is None or _take(_claim(Path(self.claims), self.number(place))):
                yield place


def unclaim(claims: Path, numbers: Iterable[int]) -> None:
    """Lets the runs of these numbers be taken again; for when nobody has them."""
    for number in numbers:
        _claim(claims, number).unlink(missing_ok=True)


def _claim(claims: Path, number: int) -> Path:
    """The file that is there once somebody has taken the run of this number."""
    return claims / f"run-{number}"


def _take(claim: Path) -> bool:
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _sections(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="json")
