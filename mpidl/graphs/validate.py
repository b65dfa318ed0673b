"""What an algorithm may ask of a graph before anyone trains: each fails with one sentence and the number at fault."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpidl.errors import ConfigError, choices_sentence
from mpidl.graphs.base import TOLERANCE, Mixing, Topology
from mpidl.graphs.paths import WINDOW, unconnected

# Rounds looked at where each is drawn anew; what one draw satisfies, they all do by construction.
SAMPLE = 8


def _round(topology: Topology, t: int) -> str:
    return "" if topology.period == 1 else f" in round {t}"


def require_connected(topology: Topology) -> None:
    """Everyone's row reaches everyone else, over a period, or over the first 100 rounds of a graph drawn anew."""
    pair = unconnected(topology)
    if pair is None:
        return
    span = {1: "", None: f", in the first {WINDOW} rounds"}.get(
        topology.period, f", in all {topology.period} rounds of its period"
    )
    raise ConfigError(
        f"the graph is not connected: nothing from agent {pair[1]} ever reaches agent {pair[0]}{span}; add edges",
        "graph",
    )


def require_averaging(topology: Topology) -> None:
    """Repeated mixing makes all rows equal.

    Connected graphs with positive weights do so; where some self-weight is not positive, the eigenvalues decide.
    """
    if all(
        min(topology.at(t).self_weights) > 0 and (topology.at(t).entries[2] > 0).all() for t in topology.rounds(SAMPLE)
    ):
        return
    from mpidl.graphs.spectrum import measured_rate, period_product, second_modulus

    if topology.period is None:
        rate = measured_rate(topology)
        reason = f"a round multiplies disagreement by {rate:.6g}, measured over the first ones"
    else:
        rate = second_modulus(period_product(topology))
        reason = f"the second largest eigenvalue has the modulus {rate:.6g}"
    if rate >= 1 - TOLERANCE:
        raise ConfigError(
            f"mixing with these weights never averages: {reason}, not below 1; make the self-weights larger "
            "(weights: lazy)",
            "graph.weights",
        )


def require_doubly_stochastic(topology: Topology, needed_by: str = "gossip") -> None:
    """Rows and columns of every W sum to 1, so that mixing keeps the mean and leaves equal rows alone."""
    cure = f"{needed_by} needs rows and columns that sum to 1: choose weights: metropolis, or an algorithm such as sgp"
    _require_sums(topology, ("row", "column"), f"not doubly stochastic; {cure}")


def require_column_stochastic(topology: Topology, needed_by: str = "push") -> None:
    """Columns of every W sum to 1, so that mixing keeps the sum."""
    cure = f"{needed_by} needs columns that sum to 1: choose weights: out-degree"
    _require_sums(topology, ("column",), f"not column stochastic; {cure}")


def _require_sums(topology: Topology, sides: tuple[str, ...], verdict: str) -> None:
    for t in topology.rounds(SAMPLE):
        mixing = topology.at(t)
        for side in sides:
            sums = mixing.row_sums if side == "row" else mixing.column_sums
            # A NaN is the worst of all.
            off = np.where(np.isnan(sums), np.inf, np.abs(sums - 1))
            if off.max() > TOLERANCE:
                agent = int(off.argmax())
                raise ConfigError(
                    f"the weights in {side} {agent} sum to {sums[agent]:.12g}{_round(topology, t)}, so the graph is "
                    f"{verdict}",
                    "graph.weights",
                )


def require_symmetric(topology: Topology, needed_by: str = "this algorithm") -> None:
    """w_ij = w_ji in every round."""
    for t in topology.rounds(SAMPLE):
        mixing = topology.at(t)
        if not mixing.symmetric:
            _, i, j = mixing.transposed_gap
            there, back = (_weight(mixing, i, j), _weight(mixing, j, i))
            raise ConfigError(
                f"{needed_by} needs symmetric weights, but agent {i} weighs agent {j} by {there:.6g} and agent "
                f"{j} weighs agent {i} by {back:.6g}{_round(topology, t)}; choose an undirected graph",
                "graph",
            )


def _weight(mixing: Mixing, i: int, j: int) -> float:
    return dict(zip(mixing.neighbours[i], mixing.weights[i], strict=True)).get(j, 0.0)


def require_static(topology: Topology, needed_by: str = "this algorithm") -> None:
    """The same W in every round."""
    if topology.period != 1:
        how = "is drawn anew every round" if topology.period is None else f"repeats only every {topology.period} rounds"
        raise ConfigError(f"{needed_by} needs a graph that stays the same, and this one {how}", "graph")


def require_correctable(topology: Topology, needed_by: str, gamma: float, lazy: bool) -> None:
    """D² converges with the matrix that a round applies, I + γ(W − I), or where `lazy` the mean of that and I."""
    modulus, eigenvalue = _correction(topology, gamma, lazy)
    if modulus > 1 + TOLERANCE:
        raise ConfigError(f"{needed_by} diverges on this graph: {_growth(modulus, eigenvalue)}; {_CURE}", "graph")


def correction_warning(topology: Topology, needed_by: str, gamma: float, lazy: bool) -> str | None:
    """A sentence where an error that D² makes on this graph stays for ever."""
    modulus, eigenvalue = _correction(topology, gamma, lazy)
    if modulus < 1 - TOLERANCE:
        return None
    return f"{needed_by} never forgets an error on this graph: {_growth(modulus, eigenvalue)}; {_CURE}"


_CURE = "choose weights: lazy, a smaller gossip.scheme.gamma, or exact-diffusion"


def _correction(topology: Topology, gamma: float, lazy: bool) -> tuple[float, complex]:
    from mpidl.graphs.spectrum import correction_modulus, period_product

    product = period_product(topology)
    # Who stands alone, as those do that are gone, has no error to make.
    meets = [i for i, mixes in enumerate((product != 0).sum(axis=1) > 1) if mixes]
    product = product[np.ix_(meets, meets)] if meets else product
    identity, share = np.eye(len(product)), gamma / 2 if lazy else gamma
    return correction_modulus(identity + share * (product - identity))


def _growth(modulus: float, eigenvalue: complex) -> str:
    written = f"{eigenvalue.real:.6g}" if abs(eigenvalue.imag) < TOLERANCE else f"{eigenvalue:.6g}"
    return f"the eigenvalue {written} of its weights multiplies an error by {modulus:.6g} in each round"


def require_tree(topology: Topology, needed_by: str = "this algorithm") -> None:
    """Static, undirected and connected, with one edge less than agents."""
    require_static(topology, needed_by)
    require_connected(topology)
    mixing = topology.at(0)
    if topology.directed or mixing.messages != 2 * (topology.agents - 1):
        what = "a directed graph" if topology.directed else f"one with {mixing.messages // 2} edges"
        raise ConfigError(
            f"{needed_by} needs a tree, {topology.agents - 1} undirected edges among {topology.agents} agents, "
            f"not {what}; choose chain or binary-tree",
            "graph",
        )


NEEDS: dict[str, Callable[[Topology, str, float], None]] = {
    "connected": lambda topology, _, gamma: require_connected(topology),
    "averaging": lambda topology, _, gamma: require_averaging(topology),
    "doubly stochastic": lambda topology, needed_by, gamma: require_doubly_stochastic(topology, needed_by),
    "column stochastic": lambda topology, needed_by, gamma: require_column_stochastic(topology, needed_by),
    "symmetric": lambda topology, needed_by, gamma: require_symmetric(topology, needed_by),
    "static": lambda topology, needed_by, gamma: require_static(topology, needed_by),
    "tree": lambda topology, needed_by, gamma: require_tree(topology, needed_by),
    "correctable": lambda topology, needed_by, gamma: require_correctable(topology, needed_by, gamma, lazy=False),
    "lazily correctable": lambda topology, needed_by, gamma: require_correctable(topology, needed_by, gamma, lazy=True),
}
"""What an algorithm can ask for, by the words it uses."""


def require(topology: Topology, need: str, needed_by: str, gamma: float = 1.0) -> None:
    """Refuses a graph that is not what this algorithm needs, where mixing is Z + γ(WZ − Z)."""
    if need not in NEEDS:
        raise ConfigError(f"{needed_by!r} asks of its graph what nobody can check: {choices_sentence(need, NEEDS)}")
    NEEDS[need](topology, needed_by, gamma)
