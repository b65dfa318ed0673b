"""Small models to be kept in a run file."""

from __future__ import annotations

import numpy as np

from mpidl.layout import CONSTANTS, FLOATS, INTEGERS, PARAMETERS, Entry, Network
from mpidl.results.snapshots import Form, Models

AGENTS = 2
NETWORK = Network(
    (
        Entry("weight", "float32", (2, 3), PARAMETERS, 0),
        Entry("bias", "float32", (2,), PARAMETERS, 6),
        Entry("tied", "float32", (2, 3), PARAMETERS, 0),
        Entry("norm.mean", "float32", (2,), FLOATS, 0),
        Entry("norm.count", "int32", (), INTEGERS, 0),
        Entry("mask", "bool", (3,), CONSTANTS, 0),
        Entry("scale", "float64", (), CONSTANTS, 3),
    ),
    (3,),
    2,
)
FORM = Form(
    NETWORK,
    np.frombuffer(bytes([1, 0, 1]) + np.float64(0.25).tobytes(), dtype=np.uint8),
    {"consensus": None, "local": AGENTS},
)
# The smallest that there is.
PLAIN = Form(Network(NETWORK.entries[:2], (3,), 2), np.empty(0, dtype=np.uint8), {"consensus": None})


def row(round: int, agent: int = 0) -> dict[str, np.ndarray]:
    """What an agent's model is after so many rounds."""
    return {
        PARAMETERS: np.arange(8, dtype=np.float32) + round + agent / 2,
        FLOATS: np.array([round, agent], dtype=np.float32),
        INTEGERS: np.array([round]),
    }


def models(round: int, form: Form = FORM) -> Models:
    """All of them."""
    rows = {name: [row(round, agent) for agent in range(agents or 1)] for name, agents in form.models.items()}
    return Models(round, rows)
