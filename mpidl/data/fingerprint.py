"""Data in a few words and digests, by which ranks see that they hold the same; what it costs is bounded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mpidl.data.checks import in_memory
from mpidl.data.dataset import Dataset
from mpidl.data.reading import row_bytes, take
from mpidl.data.shares import Shares

# Of each array that much is looked at, in whole rows. A row of a file may be a seek, or a chunk to be unpacked.
_BYTES, _ROWS_OF_A_FILE = 2**22, 64
# Indices of all agents together that are looked at.
_INDICES = 2**20


def fingerprint(dataset: Dataset) -> Mapping[str, str]:
    """Sizes and types of the data, how their numbers are read, and a digest of evenly spaced rows of each array."""
    facts = {
        "the task": dataset.task,
        "the number of outputs": str(dataset.outputs),
        "the scale": repr(dataset.scale),
        "the mean": str(dataset.mean),
        "the deviation": str(dataset.std),
    }
    for name in ("x", "y", "x_test", "y_test"):
        rows = getattr(dataset, name)
        facts[f"the shape of {name}"] = str(list(rows.shape))
        facts[f"the type of {name}"] = str(rows.dtype).removeprefix("torch.")
        facts[f"the digest of {name}"] = digest(take(rows, _sample(rows)))
    return facts


def fingerprint_of_shares(shares: Shares) -> Mapping[str, str]:
    """How many examples each agent has, and the validation part, with a digest of which they are."""
    most = max(2, _INDICES // (1 + len(shares)))
    parts = {f"the share of agent {agent}": share for agent, share in enumerate(shares)}
    return {
        name: f"{len(part)} examples with digest {digest(torch.from_numpy(part[_spread(len(part), most)]))}"
        for name, part in (parts | {"the validation part": shares.validation}).items()
    }


def fingerprint_of_split(parts: Mapping[str, str]) -> Mapping[str, str]:
    """The same in one line; `parts` are those that `fingerprint_of_shares` tells."""
    together = hashlib.blake2b(json.dumps(dict(parts)).encode(), digest_size=8).hexdigest()
    # One of them is the validation part.
    return {"the split": f"one over {len(parts) - 1} agents with digest {together}"}


def _sample(rows: Any) -> np.ndarray:
    """The numbers of the rows that are looked at."""
    most = _BYTES // max(1, row_bytes(rows))
    return _spread(int(rows.shape[0]), max(2, most if in_memory(rows) else min(most, _ROWS_OF_A_FILE)))


def _spread(count: int, most: int) -> np.ndarray:
    """Numbers from 0 to `count` - 1, all, or at most so many in even steps, the first and the last among them."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def digest(values: torch.Tensor) -> str:
    """Sixteen hexadecimal digits of all bits of these numbers, in their order."""
    # numpy has no bfloat16, and torch cannot see no numbers as bytes.
    content = values.contiguous().view(-1).view(torch.uint8).cpu().numpy().tobytes() if values.numel() else b""
    return hashlib.blake2b(content, digest_size=8).hexdigest()
