"""Algorithms: one file each, that holds its hyper-parameters and its equations and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.registry import Registry, lazy_attributes

if TYPE_CHECKING:
    from mpidl.algorithms.base import Algorithm, AlgorithmSettings
    from mpidl.algorithms.decentralized.base import Decentralized
    from mpidl.algorithms.federated.base import Federated, FederatedSettings
else:
    __getattr__ = lazy_attributes(
        __name__,
        Algorithm="mpidl.algorithms.base",
        AlgorithmSettings="mpidl.algorithms.base",
        Decentralized="mpidl.algorithms.decentralized.base",
        Federated="mpidl.algorithms.federated.base",
        FederatedSettings="mpidl.algorithms.federated.base",
    )

__all__ = ["ALGORITHMS", "Algorithm", "AlgorithmSettings", "Decentralized", "Federated", "FederatedSettings"]

ALGORITHMS: Registry[Algorithm, AlgorithmSettings] = Registry("algorithm", "mpidl.algorithms.base:Algorithm")
ALGORITHMS.add("csgd", "mpidl.algorithms.federated.csgd:CSGD")
ALGORITHMS.add("dsgd", "mpidl.algorithms.decentralized.dsgd:DSGD")
