"""What an area of the check-up is, and what can come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mpidl.comm.world import World
from mpidl.errors import ExitCode

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Site:
    """The ranks that are checked, a folder that all of them may write into, and why their GPUs cannot be used, if so.

    `world` has at least two agents per rank, of which ranks have not all the same number, and computes on the CPU.
    """

    world: World
    folder: Path
    gpu_problem: str = ""


class Fault(Exception):
    """What is wrong in an area, and what to do about it."""

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(f"{cause}; {cure}")


class NotHere(Exception):
    """Why there is nothing to check in an area."""


@dataclass(frozen=True)
class Area:
    """`check` says on every rank what has passed, or raises there what is wrong. It is a collective call to its end:
    a rank that finds something wrong goes on with the others first, as long as they can.

    `code`: with what the command ends where this area is the first that failed. `needs`: without what it is skipped.
    """

    name: str
    check: Callable[[Site], str]
    code: ExitCode
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What came of an area."""

    area: str
    outcome: Outcome
    text: str

    def __str__(self) -> str:
        return f"{self.area:<14}  {self.outcome:<7}  {self.text}"
