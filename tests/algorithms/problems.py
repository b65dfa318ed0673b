"""Small problems, as data sets of the kind that a user plugs in, and runs of them."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mpidl import config as reading
from mpidl.algorithms import ALGORITHMS
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.data import Dataset
from mpidl.errors import ConfigError
from mpidl.experiment import Config
from mpidl.seeding import stream

FEATURES, CLASSES = 5, 4


def classes(agents: int = 7) -> Dataset:
    """Classification, harder for some agents than for others; agent i owns 9 + 2i examples."""
    rng = stream(1, "test classes")
    owner = np.repeat(np.arange(agents), 9 + 2 * np.arange(agents))
    x = rng.normal(size=(len(owner), FEATURES)) + 0.3 * owner[:, None]
    y = (x @ rng.normal(size=(FEATURES, CLASSES)) + rng.normal(size=(len(owner), CLASSES))).argmax(1)
    return Dataset(x, y, x[::3], y[::3], owner=owner, classes=CLASSES)


def copies(agents: int = 7) -> Dataset:
    """Classification; every agent owns the same 12 examples."""
    rng = stream(2, "test copies")
    x, y = rng.normal(size=(12, FEATURES)), rng.integers(CLASSES, size=12)
    owner = np.repeat(np.arange(agents), 12)
    return Dataset(np.tile(x, (agents, 1)), np.tile(y, agents), x, y, owner=owner, classes=CLASSES)


def squares(agents: int = 7) -> Dataset:
    """Least squares; agents differ in curvature, in optimum, and in size (agent i owns 30 + i examples)."""
    rng = stream(3, "test squares")
    owner = np.repeat(np.arange(agents), 30 + np.arange(agents))
    x = rng.normal(size=(len(owner), FEATURES))
    y = x @ rng.normal(size=FEATURES) + (owner - agents / 2) * x[:, 0] + rng.normal(size=len(owner))
    return Dataset(x, y[:, None], x[:5], y[:5, None], owner=owner, task="regression")


def configuration(algorithm: dict[str, Any], problem: str = "classes", agents: int = 7, **sections: Any) -> Config:
    """A run of one of the problems above in float64; `sections` replace or add to what stands here."""
    data = {"name": f"tests.algorithms.problems:{problem}", "agents": agents, "split": "given", "batch": 4}
    keys: dict[str, Any] = {
        "seed": 5,
        "agents": agents,
        "model": {"name": "mlp", "hidden": [6]} if problem != "squares" else "logistic",
        "algorithm": algorithm,
        "train": {"rounds": 12, "precision": "float64", "device": "cpu"},
        "evaluate": {"every": 4},
    }
    if issubclass(ALGORITHMS.find(algorithm["name"]), Decentralized):
        tree = "tree" in ALGORITHMS.find(algorithm["name"]).needs(ALGORITHMS.parse(algorithm))
        keys |= {"graph": "chain" if tree else "ring", "gossip": {"transport": "messages"}}
    keys["data"] = data | sections.pop("data", {})
    return reading.validate(Config, keys | sections)


def variants(name: str) -> Iterator[dict[str, Any]]:
    """Settings of an algorithm worth testing: momentum and decay, clipping, and each choice that it offers.

    Half of the agents take part, with two steps, where an algorithm can be told so. Choices of several keys are made at
    once, the first together with clipping and Nesterov's step: what goes wrong does so alone as well.
    """
    fields = ALGORITHMS.find(name).Settings.model_fields
    wanted = {"momentum": 0.9, "participation": 0.5, "local_steps": 2}
    base = {"name": name, "lr": 0.05, "weight_decay": 0.01} | {key: wanted[key] for key in wanted if key in fields}
    yield accepted(base)
    clipped = {"clip_norm": 0.5} | ({"nesterov": True} if "nesterov" in fields else {})
    choices = {
        key: [choice for choice in typing.get_args(info.annotation) if choice != info.default]
        for key, info in fields.items()
        if typing.get_origin(info.annotation) is Literal
    }
    for number in range(max(map(len, choices.values()), default=1)):
        chosen = {key: others[number] for key, others in choices.items() if number < len(others)}
        yield accepted(base | chosen | (clipped if number == 0 else {}))


def accepted(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, or those nearest to them that go together: with clipping, or without what is refused."""
    for nearest in (dict(settings), settings | {"clip_norm": 0.5}):
        refused: str | None = ""
        while refused is not None:
            nearest.pop(refused, None)
            refused = refusal(nearest)
            if refused not in (None, "momentum", "nesterov", "local_steps"):
                break
        else:
            return nearest
    raise ValueError(f"no variant of {settings} is accepted")


def refusal(settings: dict[str, Any]) -> str | None:
    """The key for which settings of an algorithm are refused, if they are."""
    try:
        ALGORITHMS.parse(settings)
    except ConfigError as error:
        return error.key
    return None


VARIANTS = [settings for name in ALGORITHMS for settings in variants(name)]


def label(settings: dict[str, Any]) -> str:
    """A short name of settings for a test's id."""
    common = ("name", "lr", "weight_decay", "momentum", "participation", "local_steps")
    shown = [f"{value}" for key, value in settings.items() if key not in common]
    return "-".join([settings["name"], *shown])


@dataclass
class Outcome:
    """What a run left: parameters of every agent (or of the server, as one row), records, and counted bytes."""

    rows: np.ndarray
    records: list[dict[str, Any]] = field(default_factory=list)
    bytes_sent: int = 0
    bytes_mpi: int = 0
    bytes_shared: int = 0


def run(
    config: Config,
    comm: Any,
    before: Callable[[Any], None] | None = None,
    after: dict[str, np.ndarray] | None = None,
    placement: Any = None,
) -> Outcome:
    """Trains on these ranks; `before` may change the composed run, `after` takes its models. The same everywhere.

    `placement`: who runs which agent, where that is not all in order.
    """
    from mpidl.experiment.compose import compose
    from mpidl.training.loop import Hook

    class Collect(Hook):
        def __init__(self) -> None:
            self.records: list[dict[str, Any]] = []

        def recorded(self, training: Any, record: dict[str, Any]) -> None:
            self.records.append({key: value for key, value in record.items() if key != "seconds"})

    composed = compose(config, comm, placement=placement)
    collect = Collect()
    composed.training.hooks.append(collect)
    if before is not None:
        before(composed)
    composed.training.run()
    if after is not None:
        algorithm = composed.training.algorithm
        after |= {name: algorithm.model(name).numpy().copy() for name in algorithm.models}
    outcome = Outcome(
        gather_rows(composed, comm),
        collect.records,
        sum(comm.allgather(composed.meters.bytes_sent)),
        sum(comm.allgather(composed.meters.bytes_mpi)),
        sum(comm.allgather(composed.meters.bytes_shared)),
    )
    composed.close()
    return outcome


def gather_rows(composed: Any, comm: Any) -> np.ndarray:
    """Parameters of every agent in their order, or the server's as one row."""
    algorithm = composed.training.algorithm
    block = algorithm.model(algorithm.models[-1]).cpu().numpy()
    if block.ndim == 1:
        return block[None].copy()
    rows = {}
    for part in comm.allgather(dict(zip(algorithm.agents, block.copy(), strict=True))):
        rows |= part
    return np.stack([rows[agent] for agent in sorted(rows)])
