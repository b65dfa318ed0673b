"""Random streams that are never stored: each is derived anew from what it is for.

A stream is named by (seed, purpose, agent, index), where the index is a round or a pass. The name goes straight into
the key and the counter of Philox [Salmon et al. 2011], so that streams never overlap, drawing from one does not move
another, and a resumed run draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import hashlib

import numpy as np

_WORD = 2**64


def _purpose_word(purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")


def stream(seed: int, purpose: str, agent: int = 0, index: int = 0) -> np.random.Generator:
    """A generator for this purpose, agent and index alone; the low 128 bits of the counter are its own to count in."""
    key = np.array([seed % _WORD, _purpose_word(purpose)], dtype=np.uint64)
    counter = np.array([0, 0, index, agent], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def torch_seed(seed: int, purpose: str, agent: int = 0, index: int = 0) -> int:
    """A 63-bit seed for a torch generator (dropout, initial weights) of the same name."""
    return int(stream(seed, purpose, agent, index).integers(2**63))
