"""What keeps the hooks of a federated method honest: nearly their names, and more rows than were announced."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.algorithms.federated.base import Federated

HOOKS = ("survey", "prepare", "begin", "point", "local_gradient", "upload", "server")


def refuse_misspelt(algorithm: Federated, base: type[Federated]) -> None:
    """Refuses a method with nearly the name of a hook: nothing would call it, and the run would be another one."""
    for name in dir(type(algorithm)):
        meant = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.85)
        if meant and not name.startswith("_") and not hasattr(base, name):
            raise algorithm.refused(
                f"has {name!r}, which is no hook; did you mean {meant[0]!r}? else call it otherwise"
            )


def write_rows(
    algorithm: Federated, out: Tensor, declared: str, hook: Callable[..., object], *arguments: object
) -> None:
    """Has a hook write the rows that an agent sends into `out`; those that it leaves out add nothing."""
    out.zero_()
    try:
        algorithm.perform(hook, *arguments, out)
    except IndexError as error:
        if f"dimension 0 with size {len(out)}" not in str(error):
            raise
        name = hook.__name__
        raise algorithm.refused(f"writes more rows in {name}() than its `{declared}` says ({len(out)})") from error
