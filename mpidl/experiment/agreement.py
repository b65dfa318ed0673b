"""What all ranks must hold alike before they train: versions, configuration, data, shares, and where agents start.

Each is compared before the first step that depends on it, so that ranks which mean different runs are told how they
differ, and neither hang nor train.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

import mpidl
from mpidl.comm.agreement import agree
from mpidl.comm.world import Communicator
from mpidl.config import leaves
from mpidl.data.dataset import Dataset
from mpidl.data.fingerprint import digest, fingerprint, fingerprint_of_shares, fingerprint_of_split
from mpidl.data.shares import Shares
from mpidl.experiment.schema import Config
from mpidl.results import provenance

# Numbers of each tensor that are looked at, evenly spaced; all numbers of a smaller one.
_NUMBERS = 2**16


def agree_on_run(comm: Communicator, config: Config) -> Mapping[str, str]:
    """One version of what the numbers depend on, and one configuration. A collective call, as those below.

    Returned is what tells the plug-ins that it names.
    """
    versions = {"mpidl": mpidl.__version__, "torch": torch.__version__, "numpy": np.__version__}
    agree(comm, versions, "install the same versions for all ranks")
    keys = config.model_dump(mode="json")
    texts = {key: json.dumps(value) for key, value in leaves("", keys)}
    agree(comm, texts, "start all ranks from one configuration")
    known = provenance.plug_ins(keys)
    agree(comm, known, "give all ranks the same plug-ins")
    return known


def agree_on_data(comm: Communicator, dataset: Dataset) -> Mapping[str, str]:
    """One data set, as far as its sizes and a sample of its rows tell: what that is, is returned."""
    known = fingerprint(dataset)
    agree(comm, known, "give all ranks the same data")
    return known


def agree_on_shares(comm: Communicator, shares: Shares) -> Mapping[str, str]:
    """The same examples for every agent; returned is, in a line, which they are."""
    parts = fingerprint_of_shares(shares)
    agree(comm, parts, "make the split depend on nothing but the data and the seed")
    return fingerprint_of_split(parts)


def agree_on_start(comm: Communicator, module: nn.Module) -> None:
    """One initial network, frozen parameters and buffers included."""
    initial = {f"the initial {name}": _described(tensor) for name, tensor in module.state_dict().items()}
    agree(comm, initial, "give all ranks the same model, and make its initial numbers depend on torch's seed alone")


def _described(tensor: torch.Tensor) -> str:
    """Type, shape and a digest of evenly spaced numbers."""
    flat = tensor.detach().reshape(-1)
    sample = digest(flat[:: -(-len(flat) // _NUMBERS) or 1])
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)} with digest {sample}"
