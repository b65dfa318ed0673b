"""Algorithms: one file each, that holds its hyper-parameters and its equations and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.registry import Registry

if TYPE_CHECKING:
    from mpidl.algorithms.base import Algorithm, AlgorithmSettings

ALGORITHMS: Registry[Algorithm, AlgorithmSettings] = Registry("algorithm", "mpidl.algorithms.base:Algorithm")
ALGORITHMS.add("csgd", "mpidl.algorithms.federated.csgd:CSGD")
ALGORITHMS.add("dsgd", "mpidl.algorithms.decentralized.dsgd:DSGD")
