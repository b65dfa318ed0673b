"""Carrying an exchange through: a list of waits and work in between, driven by the caller or by a thread meanwhile.

MPI moves most messages only while a process is inside one of its calls. So that they move while a gradient is
computed, a thread looks after them until the caller comes to wait itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING

from mpi4py import MPI

from mpidl.errors import CommunicationError, ConfigError

if TYPE_CHECKING:
    from mpidl.comm.gossip.messages import Batch, BatchGroup
    from mpidl.comm.meters import Meters

Waits = Generator["Batch | BatchGroup", None, None]
"""Yields what must have arrived before it goes on; an error of that wait is thrown into it, to be explained."""

PAUSE = 200e-6
"""Seconds between two looks where nothing has come: short beside a large message, long beside a look."""


def drive(waits: Waits, meters: Meters, awaited: Batch | BatchGroup | None = None) -> None:
    """Goes on to the end, waiting where it must, at first for what is `awaited` already."""
    seconds, begin = meters.seconds, perf_counter()
    while True:
        if awaited is not None:
            try:
                awaited.wait()
            except CommunicationError as error:
                waits.throw(error)
            end = perf_counter()
            seconds["waiting"] += end - begin
            begin = end
        awaited = next(waits, None)
        end = perf_counter()
        seconds["mixing"] += end - begin
        begin = end
        if awaited is None:
            return


class Helper:
    """A thread that carries an exchange through by looking now and then, until `take_back`, which raises its error."""

    def __init__(self) -> None:
        if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
            raise ConfigError(
                "true needs an MPI that several threads may call at a time (MPI_THREAD_MULTIPLE), which this one "
                "was not started as; leave overlap out",
                "gossip.overlap",
            )
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mpidl-gossip")
        self._wanted_back = threading.Event()
        self._pending: Future[Batch | BatchGroup | None] | None = None

    def give(self, waits: Waits) -> None:
        self._wanted_back.clear()
        self._pending = self._pool.submit(self._look_after, waits)

    def take_back(self) -> Batch | BatchGroup | None:
        """What is waited for, or None where the exchange is through."""
        self._wanted_back.set()
        pending, self._pending = self._pending, None
        return pending.result() if pending else None

    def _look_after(self, waits: Waits) -> Batch | BatchGroup | None:
        for batch in waits:
            # A caller that died does not come back for it.
            while not self._wanted_back.is_set() and threading.main_thread().is_alive():
                try:
                    if batch.done():
                        break
                except CommunicationError as error:
                    waits.throw(error)
                time.sleep(PAUSE)
            else:
                return batch
        return None

    def close(self) -> None:
        self._wanted_back.set()
        self._pool.shutdown()
