"""Batches fetched ahead from host memory or a file, in a thread of their own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

Fetched = tuple[torch.Tensor, torch.Tensor]


class Prefetch:
    """Runs `fetch` for what is expected next while the caller computes; what it returns is the same either way."""

    def __init__(self, fetch: Callable[..., Fetched], device: torch.device, agents: int) -> None:
        """For a caller that takes turns with so many agents."""
        self._fetch = fetch
        # Batches that nobody came for (an agent not sampled again) are dropped beyond this number, oldest first. Where
        # agents take turns the oldest is needed next, so there must be room for one of each.
        self._kept = max(64, 2 * agents)
        self._device = device
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mpidl-data")
        self._ready: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._side = None if device.type == "cpu" else torch.Stream(device)

    def get(self, wanted: tuple[int, ...], expected: tuple[int, ...] | None) -> Fetched:
        """The batch wanted now, on the device; the expected one is begun."""
        future = self._ready.pop(wanted, None) or self._pool.submit(self._move, wanted)
        if expected is not None and expected not in self._ready:
            self._ready[expected] = self._pool.submit(self._move, expected)
            if len(self._ready) > self._kept:
                self._ready.popitem(last=False)[1].cancel()
        batch, done = future.result()
        if done is not None:
            current = torch.accelerator.current_stream(self._device)
            current.wait_event(done)
            for part in batch:
                # Allocated on the side stream: its memory must not be reused before this stream is through with it.
                part.record_stream(current)
        return batch

    def _move(self, key: tuple[int, ...]) -> tuple[Fetched, torch.Event | None]:
        batch = self._fetch(*key)
        if self._side is None:
            return batch, None
        with self._side:
            x, y = (part.pin_memory().to(self._device, non_blocking=True) for part in batch)
            return (x, y), self._side.record_event()

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._ready.clear()
