"""What a configuration requires of the machine it runs on: asked by ranks, and before there are any by a dry run."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from mpidl.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from mpidl.experiment.schema import Config


def require_main_memory(config: Config, device: torch.device) -> None:
    """Refuses on a GPU what is for main memory alone: state beyond a budget, and rows that ranks share."""
    if device.type == "cpu":
        return
    if config.train.state_memory is not None:
        raise ConfigError(f"is for state in main memory, not on {device}", "train.state_memory")
    if config.gossip is not None:
        config.gossip.require_reach(device)


def require_compiler(config: Config) -> None:
    """Refuses to compile a network where torch would find no compiler."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if config.train.compile and shutil.which(compiler) is None:
        raise ConfigError(f"needs a C++ compiler, and there is no {compiler!r}; name another in CXX", "train.compile")


def require_outliving(config: Config, ranks: int, able: bool, library: str) -> None:
    """Refuses a policy for ranks that die which this MPI, as it is started, cannot carry out."""
    policy = config.failures.policy if config.failures.outliving else "abort"
    if policy in ("adopt", "drop") and ranks > 1 and not able:
        raise ConfigError(
            f"{policy!r} needs Open MPI 5 and mpirun --with-ft ulfm, but the ranks run with {library}; say auto",
            "failures.policy",
        )
