"""Algorithms: one file each, that holds its hyper-parameters and its equations and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.registry import Registry, lazy_attributes

if TYPE_CHECKING:
    from mpidl.algorithms.base import Algorithm, AlgorithmSettings, Context
    from mpidl.algorithms.decentralized.base import Decentralized
    from mpidl.algorithms.federated.base import Federated, FederatedSettings
    from mpidl.algorithms.federated.local import Local, LocalSettings
    from mpidl.metrics import Metric
else:
    __getattr__ = lazy_attributes(
        __name__,
        Algorithm="mpidl.algorithms.base",
        AlgorithmSettings="mpidl.algorithms.base",
        Context="mpidl.algorithms.base",
        Decentralized="mpidl.algorithms.decentralized.base",
        Federated="mpidl.algorithms.federated.base",
        FederatedSettings="mpidl.algorithms.federated.base",
        Local="mpidl.algorithms.federated.local",
        LocalSettings="mpidl.algorithms.federated.local",
        Metric="mpidl.metrics",
    )

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "AlgorithmSettings",
    "Context",
    "Decentralized",
    "Federated",
    "FederatedSettings",
    "Local",
    "LocalSettings",
    "Metric",
]

ALGORITHMS: Registry[Algorithm, AlgorithmSettings] = Registry("algorithm", "mpidl.algorithms.base:Algorithm")
ALGORITHMS.add("csgd", "mpidl.algorithms.federated.csgd:CSGD")
ALGORITHMS.add("dsgd", "mpidl.algorithms.decentralized.dsgd:DSGD")
ALGORITHMS.add("noloco", "mpidl.algorithms.decentralized.noloco:NoLoCo")
ALGORITHMS.add("qgm", "mpidl.algorithms.decentralized.qgm:QGM")
ALGORITHMS.add("q-saddle", "mpidl.algorithms.decentralized.q_saddle:QSaddle")
ALGORITHMS.add("ngc", "mpidl.algorithms.decentralized.ngc:NGC")
ALGORITHMS.add("n-saddle", "mpidl.algorithms.decentralized.ngc:NSaddle")
ALGORITHMS.add("gradient-tracking", "mpidl.algorithms.decentralized.gradient_tracking:GradientTracking")
ALGORITHMS.add("d2", "mpidl.algorithms.decentralized.d2:D2")
ALGORITHMS.add("exact-diffusion", "mpidl.algorithms.decentralized.d2:ExactDiffusion")
ALGORITHMS.add("sgp", "mpidl.algorithms.decentralized.sgp:SGP")
ALGORITHMS.add("relaysgd", "mpidl.algorithms.decentralized.relaysgd:RelaySGD")
ALGORITHMS.add("diloco", "mpidl.algorithms.federated.diloco:DiLoCo")
ALGORITHMS.add("fedavg", "mpidl.algorithms.federated.fedavg:FedAvg")
ALGORITHMS.add("feddyn", "mpidl.algorithms.federated.feddyn:FedDyn")
ALGORITHMS.add("fedga", "mpidl.algorithms.federated.fedga:FedGA")
ALGORITHMS.add("fednova", "mpidl.algorithms.federated.fednova:FedNova")
ALGORITHMS.add("fedprox", "mpidl.algorithms.federated.fedprox:FedProx")
ALGORITHMS.add("gradalign", "mpidl.algorithms.federated.gradalign:GradAlign")
ALGORITHMS.add("local-sgd", "mpidl.algorithms.federated.fedavg:LocalSGD")
ALGORITHMS.add("mime", "mpidl.algorithms.federated.mime:Mime")
ALGORITHMS.add("mimelite", "mpidl.algorithms.federated.mime:MimeLite")
ALGORITHMS.add("scaffold", "mpidl.algorithms.federated.scaffold:Scaffold")
ALGORITHMS.add("scaled-local-sgd", "mpidl.algorithms.federated.scaled:ScaledLocalSGD")
ALGORITHMS.add("slowmo", "mpidl.algorithms.federated.slowmo:SlowMo")
