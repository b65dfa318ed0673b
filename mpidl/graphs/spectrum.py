"""How fast a graph averages and what it costs: eigenvalues, singular values, distances, messages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mpidl.errors import ConfigError
from mpidl.graphs.base import Topology
from mpidl.graphs.paths import rounds_to_reach_all, unconnected
from mpidl.seeding import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A matrix of this many agents takes about a minute and half a gigabyte.
LARGEST = 4096
# Below this, what is left of the disagreement after a period is rounding.
EXACT = 1e-12
# Rounds for which a disagreement is followed where each is drawn anew, and messages that this may take.
FOLLOWED = 400
WORK = 2_000_000
# Rounds whose degrees and messages are looked at where each is drawn anew.
SAMPLE = 64


@dataclass(frozen=True)
class Spectrum:
    """Facts about one graph; rates are per round, over a period the geometric mean of its product's."""

    agents: int
    period: int | None
    directed: bool
    doubly_stochastic: bool
    column_stochastic: bool
    symmetric: bool
    connected: bool
    degrees: tuple[int, int]  # fewest and most rows that an agent receives in a round
    messages: float  # rows sent in a round, on average
    least_self_weight: float
    diameter: int | None  # rounds until something of everyone has got to everyone
    sigma: float | None  # largest singular value of W − J; None where each round is drawn anew
    modulus: float  # largest modulus of an eigenvalue but the 1; drawn graphs: what is left of a disagreement, measured
    smallest: float | None  # smallest eigenvalue, where W is symmetric and static

    @property
    def gap(self) -> float:
        """Spectral gap: 1 − the second largest modulus of an eigenvalue."""
        return 1 - self.modulus

    @property
    def exact(self) -> bool:
        """A period averages exactly, to rounding."""
        return self.modulus == 0

    @property
    def rounds_per_digit(self) -> float:
        """Rounds of mixing until a disagreement has shrunk tenfold, in the long run."""
        if self.modulus >= 1:
            return math.inf
        return float(self.period or 1) if self.modulus == 0 else -1 / math.log10(self.modulus)

    def bytes(self, parameters: int, itemsize: int = 4) -> float:
        """Bytes in all messages of a round, uncompressed."""
        return self.messages * parameters * itemsize


def require_small(topology: Topology) -> None:
    """A dense matrix of this graph is no trouble."""
    if topology.agents > LARGEST:
        raise ConfigError(f"eigenvalues are computed for at most {LARGEST} agents, not {topology.agents}", "agents")


def period_product(topology: Topology) -> NDArray[np.float64]:
    """W_{p−1} ⋯ W_1 W_0."""
    require_small(topology)
    product = topology.at(0).dense()
    for t in topology.rounds(1)[1:]:
        product = topology.at(t).dense() @ product
    return product


def eigenvalues(matrix: NDArray[np.float64]) -> NDArray[np.floating | np.complexfloating]:
    """All eigenvalues; real and ascending where the matrix is symmetric."""
    return np.linalg.eigvalsh(matrix) if _symmetric(matrix) else np.linalg.eigvals(matrix)


def second_modulus(matrix: NDArray[np.float64]) -> float:
    """The largest modulus of an eigenvalue but the one nearest to 1."""
    values = eigenvalues(matrix)
    others = np.delete(values, np.abs(values - 1).argmin())
    return float(np.abs(others).max(initial=0.0))


def correction_modulus(matrix: NDArray[np.float64]) -> tuple[float, complex]:
    """By how much D² with this W multiplies an error in the long run, and the eigenvalue λ of W that is to blame.

    The largest modulus of a root of z² − 2λz + λ over all eigenvalues but the one nearest to 1.
    """
    values = eigenvalues(matrix).astype(complex)
    others = np.delete(values, np.abs(values - 1).argmin())
    if not len(others):
        return 0.0, 0j
    root = np.sqrt(others**2 - others)
    moduli = np.maximum(np.abs(others + root), np.abs(others - root))
    worst = int(moduli.argmax())
    return float(moduli[worst]), complex(others[worst])


def _largest_singular(matrix: NDArray[np.float64]) -> float:
    # Ten times faster where it applies.
    return float(np.abs(eigenvalues(matrix)).max() if _symmetric(matrix) else np.linalg.norm(matrix, 2))


def _symmetric(matrix: NDArray[np.float64]) -> bool:
    return bool(np.allclose(matrix, matrix.T, rtol=0, atol=EXACT))


def _per_round(rate: float, period: int) -> float:
    return 0.0 if rate < EXACT else rate ** (1 / period)


def measured_rate(topology: Topology) -> float:
    """By how much a random disagreement shrinks in a round, as the geometric mean over the first rounds."""
    rounds = min(FOLLOWED, max(20, WORK // max(topology.at(0).messages, 1)))
    rows = stream(0, "disagreement").standard_normal(topology.agents)
    rows -= rows.mean()
    logarithm = 0.0
    for t in range(rounds):
        size = float(np.linalg.norm(rows))
        if size < EXACT:
            return 0.0
        mixing = topology.at(t)
        receivers, senders, weights = mixing.entries
        rows /= size
        rows = np.array(mixing.self_weights) * rows + np.bincount(
            receivers, weights * rows[senders], minlength=len(rows)
        )
        rows -= rows.mean()
        logarithm += math.log(size) if t else 0.0
    size = float(np.linalg.norm(rows))
    return 0.0 if size < EXACT else math.exp((logarithm + math.log(size)) / rounds)


def analyse(topology: Topology) -> Spectrum:
    """The facts about this graph."""
    require_small(topology)
    mixings = [topology.at(t) for t in topology.rounds(SAMPLE)]
    degrees = [len(row) for mixing in mixings for row in mixing.neighbours]
    sigma = smallest = None
    if topology.period is None:
        modulus = measured_rate(topology)
    else:
        product = period_product(topology)
        sigma = _per_round(_largest_singular(product - 1 / topology.agents), topology.period)
        modulus = 0.0 if sigma == 0 else _per_round(second_modulus(product), topology.period)
        if topology.period == 1 and mixings[0].symmetric:
            smallest = float(eigenvalues(product).min())
    return Spectrum(
        agents=topology.agents,
        period=topology.period,
        directed=topology.directed,
        doubly_stochastic=all(mixing.row_stochastic and mixing.column_stochastic for mixing in mixings),
        column_stochastic=all(mixing.column_stochastic for mixing in mixings),
        symmetric=all(mixing.symmetric for mixing in mixings),
        connected=unconnected(topology) is None,
        degrees=(min(degrees), max(degrees)),
        messages=sum(mixing.messages for mixing in mixings) / len(mixings),
        least_self_weight=min(min(mixing.self_weights) for mixing in mixings),
        diameter=rounds_to_reach_all(topology),
        sigma=sigma,
        modulus=modulus,
        smallest=smallest,
    )
