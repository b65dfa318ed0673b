"""Algorithms: one file each, that holds its hyper-parameters and its equations and nothing else."""

from mpidl.registry import Registry

ALGORITHMS = Registry("algorithm")
ALGORITHMS.add("csgd", "mpidl.algorithms.federated.csgd:CSGD")
ALGORITHMS.add("dsgd", "mpidl.algorithms.decentralized.dsgd:DSGD")
