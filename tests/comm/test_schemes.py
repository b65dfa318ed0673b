"""Compressed gossip: equal to dense recurrences, the mean kept, the same bits on any ranks and by any way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mpidl.comm.meters import Meters
from mpidl.compressors import COMPRESSORS, Draw
from mpidl.errors import ConfigError
from mpidl.graphs.base import Drawn, Mixing, Topology
from mpidl.layout import Layout
from tests.comm.mixing import LARGE, SMALL, gossip_of, random_matrix, rows, static, topologies, world_of
from tests.compressors.twins import compressed
from tests.ranks import on_ranks, parts

AGENTS, PARAMETERS, ROUNDS, GAMMA = 6, 301, 12, 0.3
COMPRESSORS_TRIED: list[dict[str, Any]] = [
    {"name": "topk", "fraction": 0.1},
    {"name": "sign", "per": 64},
    {"name": "cast", "dtype": "bfloat16"},
]
NAME = "compression of parameters"
LAYOUT = Layout(("row",), ((PARAMETERS,),))
every_compressor = pytest.mark.parametrize("compressor", COMPRESSORS_TRIED, ids=lambda compressor: compressor["name"])


def graphs() -> dict[str, Topology]:
    def at(t: int) -> Mixing:
        return Mixing.from_dense(random_matrix(AGENTS, 0.4, 100 + t))

    periodic = [Mixing.from_dense(random_matrix(AGENTS, 0.4, seed)) for seed in (1, 2, 3)]
    return {
        "irregular": topologies(AGENTS)["irregular"],
        "directed": topologies(AGENTS)["directed"],
        "periodic": type(topologies(AGENTS)["periodic"])(periodic),
        "drawn": Drawn(AGENTS, at, False),
    }


CASES = [
    *(("choco", kind) for kind in ("irregular", "periodic", "drawn")),
    *((name, kind) for name in ("deepsqueeze", "direct") for kind in graphs()),
]
every_case = pytest.mark.parametrize(("scheme", "kind"), CASES)


def push(t: int) -> np.ndarray:
    """What moves the rows between two mixings, as gradients would."""
    return np.random.default_rng([5, t]).normal(size=(AGENTS, PARAMETERS)) * 0.1


def run(
    comm, scheme: str, kind: str, compressor: dict[str, Any], way: dict[str, Any], owners=None
) -> tuple[torch.Tensor, Meters]:
    """All rows after the rounds, on every rank."""
    topology, start, chosen, meters = graphs()[kind], rows(AGENTS, PARAMETERS), dict(way), Meters()
    world, sizes = world_of(comm, AGENTS, owners), chosen.pop("sizes", SMALL)
    settings = {"scheme": {"name": scheme, "gamma": GAMMA}, "compressor": compressor, **chosen}
    gossip = gossip_of(world, topology, PARAMETERS, torch.float64, sizes, meters, **settings)
    exchange, mine = gossip.exchange("parameters", blocks=3), list(world.mine)
    X = exchange.present.copy_(start[mine])
    for t in range(ROUNDS):
        moved = X + torch.from_numpy(push(t)[mine])
        if t % 2:
            X = exchange.mix(X.copy_(moved), t)
        else:
            before = X.clone()
            draft = exchange.draft.copy_(moved)
            kept, X = X, exchange.mix(draft, t)
            assert torch.equal(kept, before)
    result = torch.empty_like(start)
    for agents, block in comm.allgather((mine, X.clone().numpy())):
        result[agents] = torch.from_numpy(block)
    X = kept = draft = None
    gossip.close()
    world.close()
    return result, meters


def dense(scheme: str, kind: str, compressor: dict[str, Any]) -> np.ndarray:
    """The same by matrices, with the compressors' twins."""
    topology, X = graphs()[kind], rows(AGENTS, PARAMETERS).numpy()
    errors, hats, edge_hats = np.zeros_like(X), np.zeros_like(X), {}

    def C(v: np.ndarray, agent: int, t: int, receiver: int | None = None) -> np.ndarray:
        whom = "" if receiver is None else f" for {receiver}"
        return compressed(v, Draw(3, f"{NAME}{whom}", agent, t), LAYOUT, **compressor)

    for t in range(ROUNDS):
        W, Z = topology.at(t).dense(), X + push(t)
        if scheme == "choco" and topology.period == 1:
            hats = hats + np.stack([C(Z[i] - hats[i], i, t) for i in range(AGENTS)])
            X = Z + GAMMA * (W @ hats - hats)
        elif scheme == "choco":
            X = Z.copy()
            for i, j in zip(*np.nonzero(W - np.diag(np.diag(W))), strict=True):
                hat = edge_hats.setdefault((i, j), np.zeros(PARAMETERS))
                hat += C(Z[i] - hat, i, t, j)
            for i, j in zip(*np.nonzero(W - np.diag(np.diag(W))), strict=True):
                X[i] += GAMMA * W[i, j] * (edge_hats[j, i] - edge_hats[i, j])
        else:
            v = Z + errors if scheme == "deepsqueeze" else Z
            c = np.stack([C(v[i], i, t) for i in range(AGENTS)])
            errors = v - c
            X = Z + GAMMA * (W @ c - c)
    return X


@every_compressor
@every_case
@on_ranks(1, 3)
def test_a_scheme_equals_its_dense_recurrence_and_keeps_the_mean(comm, scheme, kind, compressor):
    found, _ = run(comm, scheme, kind, compressor, {"transport": "messages"})
    assert np.abs(found.numpy() - dense(scheme, kind, compressor)).max() <= 1e-12
    kept = rows(AGENTS, PARAMETERS).numpy().mean(0) + sum(push(t) for t in range(ROUNDS)).mean(0)
    assert np.abs(found.numpy().mean(0) - kept).max() <= 1e-12
    # Or nothing was tested: without any mixing the rows would be elsewhere.
    assert np.abs(found.numpy() - rows(AGENTS, PARAMETERS).numpy() - sum(map(push, range(ROUNDS)))).max() > 0.1


# Low rank, which needs matrices, is tried so in tests/algorithms/test_compressed.py.
PLACED = [
    *((scheme, kind, compressor) for scheme, kind in CASES for compressor in COMPRESSORS_TRIED),
    *(
        (scheme, "irregular", compressor)
        for scheme in ("choco", "deepsqueeze", "direct")
        for compressor in ({"name": "qsgd", "bits": 4, "per": 64}, {"name": "randomk", "fraction": 0.1})
    ),
]


@pytest.mark.parametrize(
    ("scheme", "kind", "compressor"), PLACED, ids=[f"{scheme}-{kind}-{c['name']}" for scheme, kind, c in PLACED]
)
@on_ranks(4)
def test_bits_and_bytes_depend_neither_on_placement_nor_on_transport(comm, scheme, kind, compressor):
    found, bytes_sent = [], []
    for ranks, owners in ((1, None), (2, (0, 1, 0, 1, 1, 0)), (3, None), (4, (3, 0, 0, 1, 2, 0))):
        for part in parts(comm, (ranks,)):
            # Rows of edges of a graph that is drawn anew share no memory.
            shared = "auto" if (scheme, kind) == ("choco", "drawn") else "shared"
            ways: list[dict[str, Any]] = [{"transport": "messages"}]
            ways += [{"transport": shared}] * (ranks > 1) + [{"transport": "messages", "sizes": LARGE}] * (ranks == 4)
            for way in ways:
                result, meters = run(part, scheme, kind, compressor, way, owners)
                found.append(result)
                bytes_sent.append(sum(part.allgather(meters.bytes_sent)))
    if comm.rank == 0:
        assert len(found) == 8
        assert all(torch.equal(other, found[0]) for other in found)
        row = COMPRESSORS.parse(compressor).codec(LAYOUT, torch.float64, torch.device("cpu")).nbytes
        assert set(bytes_sent) == {sum(graphs()[kind].at(t).messages for t in range(ROUNDS)) * row}


@pytest.mark.parametrize("scheme", ["choco", "deepsqueeze", "direct"])
@on_ranks(1, 3)
def test_neighbours_are_known_by_what_was_packed_of_them(comm, scheme):
    """On a static graph: hats under choco, C(v) under the others; the same as the mean of what was mixed says."""
    topology, compressor = graphs()["irregular"], COMPRESSORS_TRIED[0]
    world = world_of(comm, AGENTS)
    settings = {"scheme": {"name": scheme, "gamma": GAMMA}, "compressor": compressor}
    gossip = gossip_of(world, topology, PARAMETERS, torch.float64, **settings)
    exchange, mine = gossip.exchange("parameters", readable=True), list(world.mine)
    X, start = exchange.present, rows(AGENTS, PARAMETERS).numpy()
    errors, known_rows = np.zeros_like(start), np.zeros_like(start)
    for t in range(3):
        X = exchange.mix(X.copy_(torch.from_numpy(start + t)[mine]), t)
        v = start + t + errors - (known_rows if scheme == "choco" else 0)
        c = np.stack([compressed(row, Draw(3, NAME, i, t), LAYOUT, **compressor) for i, row in enumerate(v)])
        errors = v - c if scheme == "deepsqueeze" else errors
        known_rows = known_rows + c if scheme == "choco" else c
        for i in mine:
            known = exchange.neighbours(i)
            assert tuple(sorted(known)) == topology.at(t).neighbours[i]
            assert all(np.abs(row.numpy() - known_rows[j]).max() <= 1e-12 for j, row in known.items())
    gossip.close()


@on_ranks(1)
def test_under_choco_nobody_reads_a_neighbour_s_row_on_a_graph_that_changes(comm):
    settings = {"scheme": {"name": "choco", "gamma": GAMMA}, "compressor": COMPRESSORS_TRIED[0]}
    gossip = gossip_of(world_of(comm, AGENTS), graphs()["periodic"], PARAMETERS, torch.float64, **settings)
    with pytest.raises(ValueError, match="on a graph that changes nobody knows all of a neighbour's row"):
        gossip.exchange("parameters", readable=True).neighbours(0)
    gossip.close()


def test_graphs_on_which_choco_would_drift_are_refused():
    from mpidl.comm.gossip.schemes import SCHEMES

    choco = SCHEMES.parse({"name": "choco", "gamma": 0.2})
    with pytest.raises(ConfigError, match="'choco' needs weights whose rows and columns sum to 1"):
        choco.check(graphs()["directed"])
    shifted = static(np.roll(np.eye(4), 1, 0) / 2 + np.eye(4) / 2)
    choco.check(shifted)
    alternating = type(topologies(2)["periodic"])([shifted.at(0), static(np.full((4, 4), 0.25)).at(0)])
    with pytest.raises(ConfigError, match="a hat for each edge of a graph that changes, which needs symmetric weights"):
        choco.check(alternating)


def test_schemes_and_compressors_that_do_not_fit_are_refused():
    from mpidl.comm.gossip.settings import GossipSettings
    from mpidl.config import validate

    for keys, told in (
        ({"scheme": {"name": "choco", "gamma": 0.1}}, "gossip.compressor: is missing; 'choco' needs one"),
        ({"compressor": {"name": "sign"}}, "'sign' packs nothing under the scheme 'exact'"),
        ({"scheme": "choco", "compressor": "sign"}, "gamma"),
        ({"scheme": {"name": "chocko", "gamma": 1}}, "did you mean 'choco'"),
        ({"scheme": {"name": "choco", "gamma": 0.1}, "compressor": "topkk"}, "did you mean 'topk'"),
    ):
        with pytest.raises(ConfigError, match=told.removeprefix("gossip.")):
            validate(GossipSettings, keys)
