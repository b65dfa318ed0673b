"""Servers: how x moves by what agents send. Each is registered by one line below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.registry import Registry, lazy_attributes

if TYPE_CHECKING:
    from mpidl.algorithms.federated.servers.base import Server
else:
    __getattr__ = lazy_attributes(__name__, Server="mpidl.algorithms.federated.servers.base")

__all__ = ["SERVERS", "Server"]

SERVERS: Registry[Server] = Registry("server", "mpidl.algorithms.federated.servers.base:Server")
SERVERS.add("sgd", "mpidl.algorithms.federated.servers.plain:SGD")
SERVERS.add("momentum", "mpidl.algorithms.federated.servers.plain:Momentum")
SERVERS.add("adagrad", "mpidl.algorithms.federated.servers.adaptive:Adagrad")
SERVERS.add("adam", "mpidl.algorithms.federated.servers.adaptive:Adam")
SERVERS.add("yogi", "mpidl.algorithms.federated.servers.adaptive:Yogi")
