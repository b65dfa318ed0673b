"""What all ranks must hold alike before they train: versions, configuration, data, shares, and where agents start.

Each is compared before the first step that depends on it, so that ranks which mean different runs are told how they
differ, and neither hang nor train.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import mpidl
from mpidl.comm.agreement import agree
from mpidl.comm.world import Communicator
from mpidl.config import leaves
from mpidl.data.dataset import Dataset
from mpidl.data.fingerprint import digest, fingerprint, fingerprint_of_shares
from mpidl.data.shares import Shares
from mpidl.experiment.schema import Config

# Numbers of each tensor that are looked at, evenly spaced; all numbers of a smaller one.
_NUMBERS = 2**16


def agree_on_run(comm: Communicator, config: Config) -> None:
    """One version of what the numbers depend on, and one configuration. A collective call, as those below.

    A plug-in is known by the file of its module: what that imports may still differ.
    """
    versions = {"mpidl": mpidl.__version__, "torch": torch.__version__, "numpy": np.__version__}
    agree(comm, versions, "install the same versions for all ranks")
    keys = dict(leaves("", config.model_dump(mode="json")))
    agree(comm, {key: json.dumps(value) for key, value in keys.items()}, "start all ranks from one configuration")
    agree(comm, dict(_sources(keys)), "give all ranks the same plug-ins")


def agree_on_data(comm: Communicator, dataset: Dataset) -> Mapping[str, str]:
    """One data set, as far as its sizes and a sample of its rows tell: what that is, is returned."""
    known = fingerprint(dataset)
    agree(comm, known, "give all ranks the same data")
    return known


def agree_on_shares(comm: Communicator, shares: Shares) -> Mapping[str, str]:
    """The same examples for every agent; returned is, in a line, which they are."""
    known = fingerprint_of_shares(shares)
    agree(comm, known, "make the split depend on nothing but the data and the seed")
    together = hashlib.blake2b(json.dumps(known).encode(), digest_size=8).hexdigest()
    return {"the split": f"one over {len(shares)} agents with digest {together}"}


def agree_on_start(comm: Communicator, module: nn.Module) -> None:
    """One initial network, frozen parameters and buffers included."""
    initial = {f"the initial {name}": _described(tensor) for name, tensor in module.state_dict().items()}
    agree(comm, initial, "give all ranks the same model, and make its initial numbers depend on torch's seed alone")


def _sources(keys: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The file of every plug-in, which has been imported by now, by its digest."""
    for key, value in keys.items():
        if key.endswith(".name") and ":" in str(value):
            file = getattr(sys.modules.get(value.partition(":")[0]), "__file__", None)
            # Some modules have no file: they come with the interpreter, or were made while it ran.
            yield f"the digest of {value}", hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else "none"


def _described(tensor: torch.Tensor) -> str:
    """Type, shape and a digest of evenly spaced numbers."""
    flat = tensor.detach().reshape(-1)
    sample = digest(flat[:: -(-len(flat) // _NUMBERS) or 1])
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)} with digest {sample}"
