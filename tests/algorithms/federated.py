"""Settings of every federated method, with the dense recurrence that it must equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.algorithms import averaging, corrected
from tests.algorithms.averaging import ROUNDS
from tests.algorithms.recurrences import DECAY, LR

__all__ = ["CASES", "ROUNDS"]

PART = {"participation": averaging.SHARE, "weight_decay": DECAY, "lr": LR}
K, E = PART | {"local_steps": averaging.STEPS}, PART | {"local_epochs": 2}
ADAPTIVE = {"lr": 0.02, "beta1": 0.6, "tau": 0.01}
SCALED = K | {"name": "scaled-local-sgd", "beta": 0.9, "momentum": 0.5, "lr": 0.01}
MIME = K | {"lr": 0.02}
CASES: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {
    "local-sgd": (K | {"name": "local-sgd", "momentum": averaging.RHO, "nesterov": True}, averaging.local_sgd),
    "fedavg": (E | {"name": "fedavg", "momentum": averaging.RHO}, averaging.fedavg()),
    "fedavg momentum": (
        E
        | {"name": "fedavg", "momentum": averaging.RHO}
        | {"server": {"name": "momentum", "lr": 0.5, "beta": 0.7, "nesterov": True}},
        averaging.fedavg(averaging.momentum_server),
    ),
    **{
        f"fedavg {kind}": (
            E | {"name": "fedavg", "momentum": averaging.RHO, "server": {"name": kind, **ADAPTIVE, **more}},
            averaging.fedavg(averaging.adaptive_server(kind)),
        )
        for kind, more in (("adagrad", {}), ("adam", {"beta2": 0.9}), ("yogi", {"beta2": 0.9}))
    },
    "fedprox stragglers": (
        E | {"name": "fedprox", "mu": 0.3, "straggler": {"share": 0.5, "epochs": "random"}},
        averaging.stragglers,
    ),
    "fedavg drops stragglers": (E | {"name": "fedavg", "straggler": {"share": 0.5, "epochs": 0}}, averaging.dropped),
    "fedavg compressed": (
        K | {"name": "fedavg", "upload": {"compressor": {"name": "topk", "fraction": 0.2}}},
        averaging.compressed,
    ),
    "fedavg post-local": (K | {"name": "fedavg", "post_local": 20}, averaging.post_local),
    **{
        f"scaffold {option} {weighting}": (
            E
            | {
                "name": "scaffold",
                "option": option,
                "weighting": weighting,
                "momentum": averaging.RHO if option == 1 else 0.0,
            }
            | {"server": {"name": "sgd", "lr": 0.9}},
            corrected.scaffold(option, weigh),
        )
        for option in (1, 2)
        for weighting, weigh in (("uniform", averaging.equally), ("data", averaging.by_data))
    },
    "feddyn": (K | {"name": "feddyn", "alpha": 0.5}, corrected.feddyn(averaging.by_data)),
    "feddyn uniform": (
        K | {"name": "feddyn", "alpha": 0.5, "weighting": "uniform"},
        corrected.feddyn(averaging.equally),
    ),
    "feddyn clips as published": (
        K | {"name": "feddyn", "alpha": 0.5, "clip": "official", "clip_norm": 0.2},
        corrected.feddyn(averaging.by_data, 0.2),
    ),
    "gradalign": (
        PART | {"name": "gradalign", "beta": 0.3, "momentum": averaging.RHO, "weighting": "data"},
        corrected.gradalign,
    ),
    "fedga": (K | {"name": "fedga", "beta": 0.3, "weighting": "data"}, corrected.fedga(False)),
    "fedga every step": (
        K | {"name": "fedga", "beta": 0.3, "weighting": "data", "displacement": "every-step"},
        corrected.fedga(True),
    ),
    **{
        f"scaled {kind} {'local' if local else 'global'}{' inside' * inside}": (
            SCALED
            | {"preconditioner": kind, "floor": 0.05, "floor_inside": inside}
            | {"scaling": "local" if local else "global"},
            corrected.scaled(kind, local, 0.05, inside),
        )
        for kind, local, inside in (
            ("adam", False, False),
            ("adam", True, True),
            ("rmsprop", False, True),
            ("oasis", False, False),
            ("oasis", True, True),
            ("adahessian", False, False),
        )
    },
    "fednova": (E | {"name": "fednova"}, averaging.fednova(0.0, 0.0)),
    "fednova momentum and proximal term": (
        E | {"name": "fednova", "momentum": averaging.RHO, "nesterov": True, "mu": 0.3},
        averaging.fednova(averaging.RHO, 0.3, nesterov=True),
    ),
    "mime momentum": (MIME | {"name": "mime"}, corrected.mime(lite=False, adam=False)),
    "mime adam": (
        MIME | {"name": "mime", "server": {"name": "adam", "tau": 0.1}},
        corrected.mime(lite=False, adam=True),
    ),
    "mimelite momentum": (MIME | {"name": "mimelite"}, corrected.mime(lite=True, adam=False)),
    "slowmo": (K | {"name": "slowmo", "momentum": averaging.RHO, "slow_lr": 0.8}, averaging.slowmo),
    "diloco": (
        K | {"name": "diloco", "lr": 0.01, "weight_decay": 0.0},
        averaging.diloco,
    ),
}
